"""The scores of one case that MedPy and CHAOS define alike, beside MedPy."""

from __future__ import annotations

from benchmarks.line import Line, Work
from benchmarks.lines.d1_scores import case, limit

LINE = Line(
    "all scores of the same case by CHAOS's and MATLAB's definitions",
    "MedPy, nine of each organ that it defines alike: five from counts, RAVD, both directed means and the maximum",
    wanted=1.0,
    repeats=3,
    needs=("medpy",),
)
ALIKE = 1e-9  # relative: both are float64

__all__ = ["LINE", "limit"]


def ours() -> Work:
    from steelyard.evaluate import evaluate_case

    reference, prediction = case()
    return lambda: evaluate_case(reference, prediction, case_id="1", patient_id="1")


def peer() -> Work:
    reference, prediction = case()
    return lambda: their_scores(reference, prediction)


def their_scores(reference, prediction) -> dict[tuple[str, str], float]:
    """(organ, our name of the metric) → value in our unit: one function for each, as its documentation calls them."""
    from medpy.metric import binary

    spacing = reference.geometry.spacing_mm
    found: dict[tuple[str, str], float] = {}
    for organ in reference.label_set.organs:
        truth, answer = (m.labels == organ.index for m in (reference, prediction))
        found |= {
            (organ.name, "dice"): binary.dc(answer, truth),
            (organ.name, "iou"): binary.jc(answer, truth),
            (organ.name, "sensitivity"): binary.sensitivity(answer, truth),
            (organ.name, "specificity"): binary.specificity(answer, truth),
            (organ.name, "precision"): binary.precision(answer, truth),
            (organ.name, "ravd"): 100 * abs(binary.ravd(answer, truth)),
            (organ.name, "mssd_mm"): binary.hd(answer, truth, spacing),
            (organ.name, "from_prediction"): binary.asd(answer, truth, spacing),
            (organ.name, "from_reference"): binary.asd(truth, answer, spacing),
        }
    return found


def same() -> None:
    from steelyard.evaluate import evaluate_case
    from steelyard.metrics.organ_pair import OrganPair

    reference, prediction = case()
    scores = evaluate_case(reference, prediction, case_id="1", patient_id="1").scores
    own = {(score.organ, score.metric): score.value for score in scores if score.convention in ("counts", "chaos")}
    for organ in reference.label_set.organs:
        masks = (m.labels == organ.index for m in (reference, prediction))
        distances = OrganPair(*masks, reference.geometry).distances
        assert distances is not None
        own[organ.name, "from_prediction"] = distances.from_prediction.mean()
        own[organ.name, "from_reference"] = distances.from_reference.mean()
    for key, value in their_scores(reference, prediction).items():
        if abs(own[key] - value) > ALIKE * abs(value):
            raise AssertionError(f"{' '.join(key)}: {own[key]} and {value}")
