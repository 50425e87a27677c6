"""The price of a miss as one number: r = fn_weight / (fp_weight + fn_weight), with fp_weight + fn_weight = 2."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.study.spec import Part

EQUAL = 0.5  # a miss costs as much as a spill: IoU, the default that a calibration has to beat
NAMED = {0.25: "iou1505", 0.5: "iou11", 0.75: "iou0515"}  # so that equal losses are one run, in every study
DECIMALS = 9  # 2 · (1 − .7) and .6 must be one weight, in one run


@dataclass(frozen=True, order=True)
class Prices:
    """r of every class alike (`per_organ` False, one ratio), or of each organ, the background's weights being equal."""

    ratios: tuple[float, ...]
    per_organ: bool = False

    @property
    def label(self) -> str:
        """As pages show it: `r = .75`, or `r = .75, .5, .5, .6`."""
        return "r = " + ", ".join(f"{ratio:.3g}".removeprefix("0") for ratio in self.ratios)

    @property
    def is_default(self) -> bool:
        return set(self.ratios) == {EQUAL}

    def of_organ(self, position: int) -> float:
        """r of the organ at that position among the organs."""
        return self.ratios[position] if self.per_organ else self.ratios[0]


def weights(ratio: float) -> tuple[float, float]:
    """(fp_weight, fn_weight) of r; .75 gives the study's (.5, 1.5)."""
    return round(2 * (1 - ratio), DECIMALS), round(2 * ratio, DECIMALS)


def loss_with(prices: Prices, family: Part, *, organs: int) -> Part:
    """The loss of that family that charges those prices: `tversky`, or `per_organ` with one tversky per organ."""
    each = [weights(prices.of_organ(position)) for position in range(organs)]
    if family.name == "per_organ":
        losses = [{"name": "tversky", "fp_weight": fp, "fn_weight": fn} for fp, fn in each]
        return Part(name="per_organ", organs=losses, **family.options)  # type: ignore[call-arg]
    if not family.options and prices.is_default:
        return Part(name=NAMED[EQUAL])
    if not prices.per_organ:
        if not family.options and prices.ratios[0] in NAMED:
            return Part(name=NAMED[prices.ratios[0]])
        fp_weight, fn_weight = weights(prices.ratios[0])
        return Part(name="tversky", fp_weight=fp_weight, fn_weight=fn_weight, **family.options)  # type: ignore[call-arg]
    fp, fn = (list(column) for column in zip(*each, strict=True))
    return Part(name="tversky", fp_weight=[1.0, *fp], fn_weight=[1.0, *fn], **family.options)  # type: ignore[call-arg]
