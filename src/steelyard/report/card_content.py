"""What a decision card holds, as its page reads it: typed, checked, and with nothing computed."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from steelyard.calibrate.read_card import read_card
from steelyard.errors import BadData

CHOSEN = "calibrated"  # the title of the chosen weights among the methods
EQUAL_R = 0.5  # of the default: a miss costs as much as a spill
SHARE_UNIT = ""  # of values between 0 and 1, whose differences are printed in points


def _defined(value: Any) -> Any:
    """A number that is none is undefined: null."""
    return None if isinstance(value, float) and not isfinite(value) else value


Known = Annotated[float | None, BeforeValidator(_defined)]  # null where undefined


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Comparison(_Read):
    """The chosen weights against one method, in the unit of what is judged; `difference` is chosen − other."""

    against: str
    patients: int
    mean_chosen: Known
    mean_other: Known
    difference: Known
    low: float | None  # may be infinite
    high: float | None
    p_holm: Known
    minimum_detectable: Known
    verdict: Literal["better", "worse", "undecided", "too few"]


class OrganWeights(_Read):
    fp_weight: float
    fn_weight: float


class Chosen(_Read):
    """r and weights per organ, of the final choice or of one outer fold."""

    label: str
    per_organ: bool
    r: dict[str, float]
    weights: dict[str, OrganWeights]


class OrganMeans(_Read):
    iou: Known
    sensitivity: Known
    missed_ml: Known
    spilled_ml: Known


class Method(_Read):
    """Means over the outer patients; `shortfall` is how far what the objective demands is missed."""

    title: str
    value: Known
    shortfall: Known
    of_patients: list[Known]
    organs: dict[str, OrganMeans]


class Trial(_Read):
    """One candidate on the inner folds; a merit's value rises with what is better, whatever the objective's sign."""

    label: str
    ratios: list[float]
    epochs: int
    shortfall: Known
    value: Known
    given_up: str | None


class Rule(_Read):
    """A decision moved afterwards: offsets per class, or the slopes and thresholds of the optimal rule."""

    title: str
    rule: str
    values: list[float] = []
    slopes: list[float] = []
    thresholds: list[float] = []


class FoldChoice(_Read):
    fold: int
    chosen: Chosen
    train: list[str]
    test: list[str]
    trials: list[Trial]
    rules: list[Rule]
    notes: list[str]


class AgainstSweep(_Read):
    """What a sweep spills where it misses as much as some trained weights do; null where it never misses just that."""

    missed_ml: Known
    spilled_ml: Known
    spilled_ml_on_sweep: Known


class FrontWeight(_Read):
    label: str
    r: float
    missed_ml: Known
    spilled_ml: Known
    against_sweeps: dict[str, AgainstSweep] = {}  # cards of the first days hold it for the chosen weights alone


class SweepPoint(_Read):
    offset: float
    missed_ml: Known
    spilled_ml: Known


class OrganFront(_Read):
    organ: str
    chosen_r: float
    weights: list[FrontWeight]
    sweeps: dict[str, list[SweepPoint]]
    against_sweeps: dict[str, AgainstSweep]


class BoundChange(_Read):
    organ: str
    iou_before: Known
    iou_after: Known
    missed_ml_before: Known
    missed_ml_after: Known
    spilled_ml_before: Known
    spilled_ml_after: Known


class Bound(_Read):
    organ: str
    max_miss: float
    offset: float
    patients: int
    smallest_certifiable: float
    miss_before: Known
    miss_after: Known
    promise: str
    changes: list[BoundChange]


class Objective(_Read):
    title: str
    unit: str
    higher_is_better: bool


class Judged(_Read):
    """The quantity of all comparisons: the objective's value, or how well its demand is met."""

    title: str
    unit: str
    higher_is_better: bool


class Cost(_Read):
    strategy: str
    strategy_epochs: int
    full_grid_epochs: int
    share_of_full_grid: float
    decided_later_epochs: int
    outer_epochs: int
    hours: float


class Data(_Read):
    dataset: str
    sequences: list[str]
    hash: str
    cases: int
    patients: int
    bound_patients: list[str]


class Loss(BaseModel):
    """A loss as a study's TOML names it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Card(_Read):
    """A whole card; `judged` is missing in cards of the first days, which judged by the objective itself."""

    study: str
    made: str
    steelyard: str
    commit: str | None = None
    decision: Literal["change", "keep the default"]
    reason: str
    loss: Loss
    chosen: Chosen
    default: str
    classes: Annotated[list[str], Field(min_length=2)]
    objective: Objective
    judged: Judged | None = None
    gain: Comparison
    rivals: list[Comparison]
    methods: Annotated[list[Method], Field(min_length=1)]
    patients: list[str]
    folds: list[FoldChoice]
    front: list[OrganFront]
    bound: Bound | None
    cost: Cost
    data: Data
    limits: list[str]
    precision: str
    spec: dict[str, Any]

    @property
    def organs(self) -> list[str]:
        return self.classes[1:]

    @property
    def by(self) -> Judged:
        return self.judged or Judged(**self.objective.model_dump())

    @property
    def epochs(self) -> int | None:
        """Of a full training; None where the study's spec does not say."""
        train = self.spec.get("train")
        epochs = train.get("epochs") if isinstance(train, dict) else None
        return epochs if isinstance(epochs, int) else None

    @property
    def later_titles(self) -> list[str]:
        """Of the decisions moved afterwards, in the order of the folds' rules."""
        return list(dict.fromkeys(rule.title for fold in self.folds for rule in fold.rules))

    @property
    def later(self) -> list[Comparison]:
        return [found for found in self.rivals if found.against in self.later_titles]

    @property
    def trained(self) -> list[Comparison]:
        """Rivals that were trained as they are."""
        return [found for found in self.rivals if found.against not in self.later_titles]

    def method(self, title: str) -> Method | None:
        return next((method for method in self.methods if method.title == title), None)


def read_content(path: Path) -> Card:
    """The card at `path`.

    Raises:
        BadData: no card, a damaged one, or one without something that the page shows.
    """
    content = read_card(path)
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        wrong = [".".join(map(str, found["loc"])) for found in error.errors()]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BadData(
            f"{path} lacks what its page shows, or holds it in another form: {', '.join(wrong[:3])}{more}. "
            "Run the same `steelyard calibrate` again: what is trained is kept, and the card is written anew."
        ) from None


def organ_title(name: str) -> str:
    """As people write it: `right kidney`."""
    return name.replace("_", " ")
