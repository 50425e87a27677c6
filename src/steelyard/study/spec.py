"""What a study's TOML file may say, checked whole before anything runs: all errors at once."""

from __future__ import annotations

import contextlib
import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from steelyard.datasets import DATASETS
from steelyard.errors import BadSpec, unknown_name
from steelyard.losses import LOSSES
from steelyard.networks import NETWORKS
from steelyard.postprocess.crf import DenseCrf
from steelyard.registry import Registry

Task = Literal["multiclass", "uniclass"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Part(BaseModel):
    """A network or a loss by name, with its options: `"iou11"`, or `{ name = "tversky", fp_weight = 0.3 }`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def title(self) -> str:
        """The name as tables show it: `tversky(fp_weight=0.3, fn_weight=1.7)`, `per_organ(tversky 0.3/1.7, dice)`."""
        options = ", ".join(_shown(key, value) for key, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


def _shown(key: str, value: Any) -> str:
    """An option as tables show it: files by name, a list of losses as it stands."""
    if key == "organs" and isinstance(value, list):
        return ", ".join(map(_entry, value))
    return f"{key}={Path(value).name if isinstance(value, str) else _entry(value)}"


def _entry(value: Any) -> str:
    """A loss within a loss, shortly: two prices and nothing else as FP/FN, `tversky 0.3/1.7`."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return str(value)
    part = Part.model_validate(value)
    prices = [part.options.get(key) for key in ("fp_weight", "fn_weight")]
    if len(part.options) == len(prices) and all(isinstance(price, int | float) for price in prices):
        return f"{part.name} {prices[0]}/{prices[1]}"
    return part.title


def _part(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


PartOrName = Annotated[Part, BeforeValidator(_part)]


class StudyTable(_Table):
    """[study]: what it is called and where it goes."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    out: str = "runs"


class DataTable(_Table):
    """[data]: which cases. `root` may hold `~` and environment variables; `options` go to the data set."""

    dataset: str
    root: str
    sequences: Annotated[list[str], Field(min_length=1)]
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _each_once(self) -> DataTable:
        if len({frozenset(sequence.split("+")) for sequence in self.sequences}) < len(self.sequences):
            raise ValueError(f"sequences must differ, or cases count twice; came {self.sequences}")
        return self


class PreprocessTable(_Table):
    """[preprocess]: see `steelyard.preprocess.cache.Preprocessing`."""

    size: Annotated[int, Field(ge=32, le=2048)] = 256
    spacing_mm: Annotated[float, Field(gt=0)] | None = None
    context: Annotated[int, Field(ge=0, le=4)] = 0


class FoldsTable(_Table):
    """[folds]: `count` folds dealt by `seed`; `use` names the ones that are run, all when left out."""

    count: Annotated[int, Field(ge=2)] = 5
    by: Literal["patient", "sequence"] = "patient"
    seed: int = 1
    use: list[Annotated[int, Field(ge=0)]] | None = None

    @model_validator(mode="after")
    def _use_exists(self) -> FoldsTable:
        if self.use is not None and (not self.use or max(self.use) >= self.count or len(set(self.use)) < len(self.use)):
            raise ValueError(f"use must list different folds from 0 to {self.count - 1}; came {self.use}")
        return self


class TrainTable(_Table):
    """[train]: see `steelyard.train.Schedule`; the defaults are the study's."""

    epochs: Annotated[int, Field(ge=1)] = 500
    batch_size: Annotated[int, Field(ge=1)] = 32
    optimiser: Literal["sgdm", "adamw"] = "sgdm"
    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    drop_factor: Annotated[float, Field(gt=0, le=1)] = 0.9
    drop_every: Annotated[int, Field(ge=1)] = 20
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    l2: Annotated[float, Field(ge=0)] = 1e-4
    augment: Literal["study", "strong", "none"] = "study"
    validate_every: Annotated[int, Field(ge=1)] = 5
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    devices: Annotated[int, Field(ge=1, le=64)] = 1


class GridTable(_Table):
    """[grid]: every combination of these is one run per fold; with task `uniclass`, one run per fold and organ."""

    network: Annotated[list[PartOrName], Field(min_length=1)]
    loss: Annotated[list[PartOrName], Field(min_length=1)]
    seed: Annotated[list[int], Field(min_length=1)] = [1]
    task: Annotated[list[Task], Field(min_length=1)] = ["multiclass"]


class CrfTable(_Table):
    """[crf]: decide every held-out case once more, with a fully connected CRF; see `steelyard.postprocess.crf`.

    Trains nothing and changes no run: its predictions and scores lie beside the run's own, in `<run>/crf`. The defaults
    are those of `DenseCrf`, which says where they come from; an empty table asks for them.
    """

    smoothness_weight: Annotated[float, Field(ge=0)] = DenseCrf.smoothness_weight
    smoothness_mm: Annotated[float, Field(gt=0)] = DenseCrf.smoothness_mm
    appearance_weight: Annotated[float, Field(ge=0)] = DenseCrf.appearance_weight
    appearance_mm: Annotated[float, Field(gt=0)] = DenseCrf.appearance_mm
    appearance_contrast: Annotated[float, Field(gt=0)] = DenseCrf.appearance_contrast
    iterations: Annotated[int, Field(ge=1)] = DenseCrf.iterations

    @model_validator(mode="after")
    def _pulls(self) -> CrfTable:
        if self.smoothness_weight == self.appearance_weight == 0:
            raise ValueError("one of smoothness_weight and appearance_weight must be above 0; leave [crf] out instead")
        return self


class CompareTable(_Table):
    """[compare]: the family of comparisons; declare it before any number is seen. Changes no run.

    Every loss of `losses` (by its name as tables show it; all others when left out) is compared with `baseline` (the
    first loss of the grid when left out) on `metric`, organ by organ of `organs` (all when left out).
    """

    baseline: str | None = None
    metric: str = "iou"
    losses: Annotated[list[str], Field(min_length=1)] | None = None
    organs: Annotated[list[str], Field(min_length=1)] | None = None


class CalibrateTable(_Table):
    """[calibrate]: which FP/FN weights to try, and by what to choose; read by `steelyard calibrate`, changes no run.

    Each r of `values` is fn_weight / (fp_weight + fn_weight), with fp_weight + fn_weight = 2: 0.5 is IoU, 0.75 the
    study's iou0515. Every outer fold of [folds] chooses for itself, on `inner_folds` folds of its training patients.

    Args:
        strategy: `grid` trains every value in full; `search` gives up the worse ones early (successive halving) and
            may propose values of its own; `warm` branches off from one shared start.
        values: the r to try.
        per_organ: choose r for each organ; the background keeps equal weights.
        loss: what takes the weights: `tversky`, or `per_organ` with one tversky per organ, with further options.
        objective: `iou` or `dice` (mean over organs), or a table: { name = "recall", organ = "liver", at_least = 0.95 }
            (then the least volume spilled), { name = "cost", fn_per_ml = 3, fp_per_ml = 1 }, { name = "volume_bias",
            within_ml = 20 } (then the best mean IoU).
        proposals: how many further values `search` proposes, after those of `values`.
        budget_epochs, budget_hours: the most that all trainings together may take (hours of one worker).
        max_miss: for one organ, the share of it that may be missed on average: `{ liver = 0.1 }`.
        bound_patients: how many patients are set aside for that bound, and for nothing else.
    """

    strategy: Literal["grid", "search", "warm"] = "grid"
    values: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=2)] = [
        0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
    ]  # fmt: skip
    inner_folds: Annotated[int, Field(ge=2)] = 3
    per_organ: bool = False
    loss: PartOrName = Part(name="tversky")
    objective: PartOrName = Part(name="iou")
    proposals: Annotated[int, Field(ge=0)] = 0
    budget_epochs: Annotated[int, Field(ge=1)] | None = None
    budget_hours: Annotated[float, Field(gt=0)] | None = None
    max_miss: Annotated[dict[str, Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1, max_length=1)] | None = None
    bound_patients: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> CalibrateTable:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"values must differ; came {self.values}")
        if self.proposals and self.strategy != "search":
            raise ValueError(f'proposals are for strategy = "search"; came "{self.strategy}"')
        if self.loss.name not in ("tversky", "per_organ"):
            raise ValueError(f'loss must be "tversky" or "per_organ"; came "{self.loss.name}"')
        set_here = {"tversky": ("fp_weight", "fn_weight"), "per_organ": ("organs",)}[self.loss.name]
        if given := [option for option in set_here if option in self.loss.options]:
            raise ValueError(f"loss must leave {', '.join(given)} to the calibration; came {self.loss.title}")
        return self


class StudySpec(_Table):
    """A whole study file."""

    study: StudyTable
    data: DataTable
    preprocess: PreprocessTable = PreprocessTable()
    folds: FoldsTable = FoldsTable()
    train: TrainTable = TrainTable()
    grid: GridTable
    compare: CompareTable = CompareTable()
    crf: CrfTable | None = None
    calibrate: CalibrateTable | None = None

    @property
    def folder(self) -> Path:
        """Where the study's runs and its report go."""
        return Path(self.study.out).expanduser() / self.study.name

    @property
    def root(self) -> Path:
        """The data's folder, with `~` and environment variables filled in."""
        return Path(os.path.expandvars(self.data.root)).expanduser()


def read_spec(path: Path) -> StudySpec:
    """The study in a TOML file; `BadSpec` with one line per error."""
    return parse_spec(read_toml(path), source=str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables, unchecked."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadSpec(f"no study file is at {path}. Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path} cannot be read as a study file: {error}.") from error
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        raise BadSpec(f"{path} is not valid TOML: {error}.") from error


def known_parts(content: dict[str, Any], kind: Literal["network", "loss"]) -> list[Part]:
    """Those networks or losses of an unchecked study that at least have a known name."""
    registry: Registry[Any] = {"network": NETWORKS, "loss": LOSSES}[kind]
    listed = _at(content, "grid", kind)
    found = []
    for value in listed if isinstance(listed, list) else []:
        with contextlib.suppress(ValidationError):
            part = Part.model_validate(_part(value))
            if part.name in registry:
                found.append(part)
    return found


def parse_spec(content: dict[str, Any], *, source: str) -> StudySpec:
    """The study in a parsed TOML document; `source` opens every error line."""
    try:
        spec = StudySpec.model_validate(content)
    except ValidationError as error:
        lines = [f"{source}: {_explain(details)}" for details in error.errors()]
        raise BadSpec(*lines, *_name_errors(content, source), *_unset_variables(content, source)) from None
    errors = [*_name_errors(content, source), *_unset_variables(content, source)]
    if errors:
        raise BadSpec(*errors)
    return spec


def _unset_variables(content: dict[str, Any], source: str) -> list[str]:
    root = os.path.expandvars(str(_at(content, "data", "root")))
    return [
        f"{source}: [data] root uses {part}, which is not set. Set it to the folder of the data."
        for part in Path(root).parts
        if part.startswith("$")
    ]


def _name_errors(content: dict[str, Any], source: str) -> list[str]:
    """Unknown names of data set, networks and losses, looked up without building any of them."""
    errors = []
    for registry, names in (
        (DATASETS, [_at(content, "data", "dataset")]),
        (NETWORKS, _at(content, "grid", "network")),
        (LOSSES, _at(content, "grid", "loss")),
    ):
        for name in names if isinstance(names, list) else []:
            name = name.get("name") if isinstance(name, dict) else name
            is_import_path = registry is NETWORKS and isinstance(name, str) and ":" in name
            if isinstance(name, str) and name not in registry and not is_import_path:
                errors.append(f"{source}: {unknown_name(registry.kind, name, registry)}")
    return errors


def _at(content: dict[str, Any], table: str, key: str) -> Any:
    found = content.get(table)
    return found.get(key) if isinstance(found, dict) else None


def _explain(error: Any) -> str:
    """One line for one of pydantic's errors: place, what was wanted, what came."""
    location = [str(part) for part in error["loc"]]
    place = f"[{location[0]}]" + (f" {'.'.join(location[1:])}" if len(location) > 1 else "")
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        near = get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        where = f"[{location[0]}] has no key" if len(location) > 1 else "a study has no table"
        return f"{where} {location[-1]!r}.{hint} Known: {', '.join(known)}."
    if error["type"] == "missing":
        return f"{place} is missing. Add it."
    came = "" if isinstance(error["input"], dict | StudySpec) else f"; came {error['input']!r}"
    wanted = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{place}: wanted {wanted}{came}."


def _keys_at(location: list[str]) -> list[str]:
    fields = StudySpec.model_fields
    for part in location:
        annotation = fields[part].annotation
        kinds = (annotation, *get_args(annotation))  # a table, or one that may be left out
        fields = next((k.model_fields for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), {})
    return sorted(fields)
