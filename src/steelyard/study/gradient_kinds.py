"""The kinds of pixels on which a loss can spend its gradient: wrong ones to be changed, right ones to be made surer."""

from __future__ import annotations

from dataclasses import dataclass

# Pixels to either side of a boundary that count as near it. About what the BF score tolerates on a grid of 256 × 256
# (0.75 % of the diagonal is 2.7 pixels), where two pixels of an abdominal MRI are some 3 mm.
BAND_PX = 2


@dataclass(frozen=True)
class Kind:
    """One kind of pixel. `name` is its word in histories, `title` the words of a chart, `meaning` what counts as it.

    `of_organs`, `of_background`: whether its pixels can belong to an organ, or to the background.
    """

    name: str
    title: str
    meaning: str
    wrong: bool
    of_organs: bool
    of_background: bool

    @property
    def quantity(self) -> str:
        """The history's name for the share of the gradient on these pixels."""
        return f"gradient_{self.name}"


# Every pixel of a slice is of exactly one kind: the shares of the kinds add up to 1.
KINDS = (
    Kind(
        "missed",
        "missed",
        "reference organ, decided as background or as another organ",
        wrong=True,
        of_organs=True,
        of_background=False,
    ),
    Kind(
        "spilled",
        "spilled",
        "reference background, decided as an organ, on a slice that holds an organ",
        wrong=True,
        of_organs=True,
        of_background=False,
    ),
    Kind(
        "spilled_organ_free",
        "spilled, organ-free",
        "decided as an organ on a slice whose reference holds none",
        wrong=True,
        of_organs=True,
        of_background=False,
    ),
    Kind(
        "boundary",
        "right, boundary",
        f"rightly decided, within {BAND_PX} pixels (rows or columns) of a pixel of another reference class",
        wrong=False,
        of_organs=True,
        of_background=True,
    ),
    Kind(
        "interior",
        "right, inside organ",
        "rightly decided as the organ, further from its boundary",
        wrong=False,
        of_organs=True,
        of_background=False,
    ),
    Kind(
        "background",
        "right, background",
        "rightly decided as background, further from any organ, on a slice that holds one",
        wrong=False,
        of_organs=False,
        of_background=True,
    ),
    Kind(
        "background_organ_free",
        "right, organ-free",
        "rightly decided as background on a slice whose reference holds no organ",
        wrong=False,
        of_organs=False,
        of_background=True,
    ),
)
