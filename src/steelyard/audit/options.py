"""What libraries call the options that an audit turns: the price of a spill, of a miss, the background, the scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.audit.named import Named
from steelyard.errors import BadSpec

# (FP weight, FN weight). alpha and beta are taken as in Salehi et al., MONAI and segmentation-models-pytorch, and only
# together: an alpha alone is a focal loss's balance of classes. A library that swaps them fails, and says how to tell.
PRICES = (("fp_weight", "fn_weight"), ("alpha", "beta"))

BACKGROUND = ("background", "include_background")  # true: class 0 has a term
CLASSES = "classes"  # segmentation-models-pytorch: the list of classes that have a term

# name: (value that pools counts over the batch, value that takes each sample by itself)
SCOPE: Mapping[str, tuple[Any, Any]] = {
    "scope": ("batch", "slice"),
    "batch": (True, False),
    "per_image": (False, True),
}

ABSENT = "absent"  # the option by which a loss declares what an absent class does
ALIVE = "penalise"  # its value that is asked for a living gradient


@dataclass(frozen=True)
class Options:
    """The names of a loss's options by what they do; None where it has none."""

    fp: str | None
    fn: str | None
    background: str | None
    scope: str | None
    absent: str | None

    def with_background(self, kept: bool, classes: int) -> dict[str, Any]:
        """The change that gives class 0 a term, or takes it."""
        assert self.background is not None
        if self.background == CLASSES:
            return {CLASSES: None if kept else list(range(1, classes))}
        return {self.background: kept}


def options_of(loss: Named, *, fp: str | None = None, fn: str | None = None, background: str | None = None) -> Options:
    """The options by name; those given are taken as they are.

    Raises:
        BadSpec: the loss has no option of a name that was given.
    """
    for flag, option in (("--fp-option", fp), ("--fn-option", fn), ("--background-option", background)):
        if option is not None and not _offered(loss, option, within=True):
            raise BadSpec(f"{flag} {option}: {loss.name} has no such option. Check the spelling.")
    known = (pair for pair in PRICES if all(_offered(loss, option, within=True) for option in pair))
    known_fp, known_fn = next(known, (None, None))
    if background is None:
        background = next((option for option in BACKGROUND if _offered(loss, option)), None)
        if background is None and loss.library == "segmentation_models_pytorch" and loss.takes(CLASSES):
            background = CLASSES
    return Options(
        fp=fp or known_fp,
        fn=fn or known_fn,
        background=background,
        scope=next((option for option in SCOPE if _offered(loss, option)), None),
        absent=ABSENT if _offered(loss, ABSENT, within=True) else None,
    )


def _offered(loss: Named, option: str, *, within: bool = False) -> bool:
    """Prices and absence are also turned in a loss within the loss; background and scope are the whole loss's."""
    return loss.takes(option) or loss.keeps(option, within=within)
