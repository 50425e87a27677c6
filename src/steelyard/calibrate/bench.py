"""The bench on which a calibration trains: a study of inner and one of outer folds, on one runner and store."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from steelyard.calibrate.nested import Nested, nest
from steelyard.calibrate.objective import Objective
from steelyard.calibrate.prices import EQUAL, Prices, loss_with
from steelyard.calibrate.results import tally_of
from steelyard.calibrate.tally import Tally
from steelyard.errors import BadSpec, RunsFailed, unknown_name
from steelyard.labels import LabelSet
from steelyard.runstore import RunFolder
from steelyard.study.folds import Fold
from steelyard.study.plan import Plan, Run, make_plan
from steelyard.study.spec import CalibrateTable, Part, StudySpec

RIVALS = ("iou11", "iou0515", "cross_entropy", "crossE", "dice_ce")  # always in the table, whatever [grid] names
CROSS_ENTROPY = Part(name="cross_entropy")

K = TypeVar("K", bound=Hashable)
CarryOut = Callable[[Plan], object]  # trains what is not done yet, with the engine that was asked for


@dataclass
class Bench:
    """A calibration's study, splits and runs. `carry_out` trains a plan; every run already asked for stays in it."""

    base: Plan
    table: CalibrateTable
    nested: Nested
    objective: Objective
    carry_out: CarryOut
    _asked: dict[str, dict[str, Run]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the calibration's card and its studies `inner`, `outer` and `final` lie."""
        return self.base.folder

    @property
    def label_set(self) -> LabelSet:
        return self.base.dataset.label_set

    @property
    def organs(self) -> int:
        return self.label_set.class_count - 1

    @property
    def epochs(self) -> int:
        """Of a full training."""
        return self.base.spec.train.epochs

    @property
    def seeds(self) -> Sequence[int]:
        return self.base.spec.grid.seed

    @cached_property
    def default(self) -> Part:
        """The loss whose misses cost as much as its spills."""
        return self.loss(Prices((EQUAL,)))

    @cached_property
    def rivals(self) -> tuple[Part, ...]:
        """The fixed losses that every calibration is held against, the default first, then those of [grid]."""
        every = [self.default, *(Part(name=name) for name in RIVALS), *self.base.spec.grid.loss]
        return tuple({part.model_dump_json(): part for part in every}.values())

    @cached_property
    def decided_later(self) -> tuple[Part, ...]:
        """The losses of the networks whose decisions are moved afterwards, instead of training anew."""
        return (CROSS_ENTROPY, self.default)

    def loss(self, prices: Prices) -> Part:
        """The loss that charges those prices."""
        return loss_with(prices, self.table.loss, organs=self.organs)

    def candidates(self) -> list[Prices]:
        """One per r of [calibrate] values, the same r for every organ."""
        return [self.candidate(ratio) for ratio in self.table.values]

    def candidate(self, ratio: float) -> Prices:
        """r for every organ; with `per_organ`, the background keeps equal weights."""
        return Prices((ratio,) * self.organs, True) if self.table.per_organ else Prices((ratio,))

    def run(self, part: str, loss: Part, fold: Fold, seed: int, **changes: Any) -> Run:
        """The named run of a loss on a fold, of the study `inner`, `outer` or `final`."""
        keeps = {"keeps_probabilities": True} if loss in self.decided_later and part != "final" else {}
        network = self.base.spec.grid.network[0]
        return self._plan(part, ()).named(Run("", network, loss, fold, seed, **keeps | changes))

    def train(self, part: str, runs: Iterable[Run]) -> None:
        """Carry out what is not done of these runs. Some may fail: `looked_at` tells which.

        Raises:
            Interrupted, BadData: as the study's own runner; the same command goes on.
        """
        runs = list(runs)
        asked = self._asked.setdefault(part, {})
        asked |= {run.name: run for run in runs}
        for start in self._starts_to_do_again(part, runs):
            (self.run_folder(part, start).path / "DONE").unlink(missing_ok=True)
            with contextlib.suppress(RunsFailed):
                self.carry_out(self._plan(part, (start,)))
        try:
            self.carry_out(self._plan(part, tuple(asked.values())))
        except RunsFailed:  # they were tried once; a later stretch of trainings does not wait for them
            for name in [run.name for run in asked.values() if not self.run_folder(part, run).is_done]:
                del asked[name]

    def asked(self, part: str) -> list[Run]:
        """The runs of that study that were asked for and did not fail."""
        return list(self._asked.get(part, {}).values())

    def _starts_to_do_again(self, part: str, runs: Iterable[Run]) -> list[Run]:
        """Runs, each after the one that it starts from, whose state is wanted and was deleted when it was used up.

        That happens where a training that started from it failed, or where the study's values were changed since.
        """
        asked = self._asked[part]
        again: dict[str, Run] = {}
        for run in runs:
            chain: list[Run] = []
            wanted = None if self.run_folder(part, run).is_done else run.start
            while wanted is not None and wanted in asked and not self._has_state(part, asked[wanted]):
                chain.append(asked[wanted])
                wanted = asked[wanted].start
            again |= {start.name: start for start in reversed(chain)}
        return list(again.values())

    def _has_state(self, part: str, run: Run) -> bool:
        folder = self.run_folder(part, run)
        return folder.state.exists() or folder.checkpoint.exists()

    def looked_at(self, part: str, runs: Mapping[K, Sequence[Run]]) -> tuple[dict[K, Tally], dict[K, str]]:
        """What trainings gave, by whatever they are told apart: counts where all are done, else why one failed."""
        failed = {key: reason for key, own in runs.items() if (reason := self.failure(part, own)) is not None}
        return {key: self.tally(part, own) for key, own in runs.items() if key not in failed}, failed

    def failure(self, part: str, runs: Iterable[Run]) -> str | None:
        """Why one of these runs failed; None when all are done."""
        for run in runs:
            folder = self.run_folder(part, run)
            if not folder.is_done:
                reason = folder.failure_reason() or "not done"
                return f"the training {run.name} failed: {reason}"
        return None

    def run_folder(self, part: str, run: Run) -> RunFolder:
        """Where its files lie."""
        return RunFolder(self.folder / part / run.name)

    def tally(self, part: str, runs: Iterable[Run]) -> Tally:
        """The counts of all held-out cases of those runs."""
        return tally_of(self.run_folder(part, run) for run in runs)

    def _plan(self, part: str, runs: tuple[Run, ...]) -> Plan:
        spec = self.base.spec
        changes: dict[str, Any] = {
            "study": spec.study.model_copy(update={"out": str(spec.folder), "name": part}),
            "grid": spec.grid.model_copy(update={"loss": list(self.rivals)}),
            "compare": spec.compare.model_copy(update={"baseline": self.default.title, "losses": None}),
        }
        if part == "inner":  # whose networks are compared by what they say themselves
            changes["crf"] = None
        if part == "outer":  # whose patients are looked at once, at the end
            changes["train"] = spec.train.model_copy(update={"validate_every": spec.train.epochs})
        return replace(self.base, spec=spec.model_copy(update=changes), runs=runs, warnings=())


def make_bench(spec: StudySpec, *, objective_of: Callable[[Part, LabelSet], Objective], carry_out: CarryOut) -> Bench:
    """The bench of a study with a [calibrate] table; looks at the data and tries every loss once.

    Raises:
        BadSpec: what does not fit, all at once where it can be told.
        BadData: the data's folder is missing or broken.
    """
    table = spec.calibrate
    if table is None:
        raise BadSpec(f"study {spec.study.name} has no [calibrate] table. Add one, or use `steelyard run`.")
    errors = []
    if len(spec.grid.network) != 1:
        errors.append(f"[calibrate] needs one network; [grid] network names {len(spec.grid.network)}. Keep one.")
    if spec.grid.task != ["multiclass"]:
        errors.append(f'[calibrate] needs [grid] task = ["multiclass"]; came {spec.grid.task}.')
    if spec.folds.by != "patient":
        errors.append('[calibrate] splits patients; came [folds] by = "sequence". Write by = "patient".')
    if errors:
        raise BadSpec(*errors)
    base = make_plan(_with_every_loss(spec))
    label_set = base.dataset.label_set
    nested = nest(
        sorted(base.data_hashes),
        outer=spec.folds.count,
        inner=table.inner_folds,
        use=spec.folds.use,
        seed=spec.folds.seed,
        bound_patients=_bound_patients(table, len({key.patient_id for key in base.data_hashes}), label_set),
    )
    return Bench(replace(base, spec=spec), table, nested, objective_of(table.objective, label_set), carry_out)


def _with_every_loss(spec: StudySpec) -> StudySpec:
    """The study with the rivals in its grid, so that all of it is checked before anything is trained."""
    losses = {part.model_dump_json(): part for part in [*(Part(name=name) for name in RIVALS), *spec.grid.loss]}
    return spec.model_copy(update={"grid": spec.grid.model_copy(update={"loss": list(losses.values())})})


def _bound_patients(table: CalibrateTable, patients: int, label_set: LabelSet) -> int:
    """How many patients to set aside: none without a bound, else those named, or the fewest that can certify it.

    A tenth of all patients more than that, where there are so many, since the fewest allow no miss at all.
    """
    if table.max_miss is None:
        if table.bound_patients is not None:
            raise BadSpec("[calibrate] bound_patients is for max_miss, which is not there. Add it or leave both out.")
        return 0
    ((organ, max_miss),) = table.max_miss.items()
    if organ not in label_set.class_names[1:]:
        raise BadSpec(f"[calibrate] max_miss: {unknown_name('organ', organ, label_set.class_names[1:])}")
    fewest = math.ceil(1 / max_miss - 1 - 1e-9)
    wanted = table.bound_patients if table.bound_patients is not None else fewest + patients // 10
    if wanted < fewest:
        raise BadSpec(
            f"max_miss {organ} = {max_miss:g} needs {fewest} patients set aside, since n can certify no less than "
            f"1 / (n + 1); bound_patients is {wanted}. Raise one of the two."
        )
    if wanted > patients // 2:
        most = patients // 2 - (0 if table.bound_patients is not None else patients // 10)
        least = math.ceil(100 / (most + 1)) / 100  # rounded up, so that asking for it is enough
        raise BadSpec(
            f"max_miss {organ} = {max_miss:g} would set {wanted} of {patients} patients aside, which leaves too few to "
            f"train on. Ask for {least:g} or more, or add patients."
        )
    return wanted
