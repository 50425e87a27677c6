"""All scores of one case in the conventions of MONAI and DeepMind, beside these tools themselves."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.machine import copy_bytes_per_second
from benchmarks.scenes import phantom_labels

SHAPE = (36, 256, 256)
CONVENTIONS = ("monai", "deepmind")
OVERLAP = {  # our names of what MONAI's ConfusionMatrixMetric calls
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "false_positive_rate": "fall out",
    "accuracy": "accuracy",
}
ALIKE = 2e-5  # relative: MONAI's distances are float32

LINE = Line(
    "all scores of one case of 36 × 256 × 256 voxels, 4 organs, as MONAI and DeepMind define them",
    "MONAI's metrics and surface-distance, the same 16 scores of each organ",
    wanted=15.0,
    repeats=9,
    needs=("monai", "surface_distance"),
)


def case():
    """A phantom's reference, and the same drawn two rows and three columns off with a ragged border."""
    import numpy as np

    from steelyard.volume import LabelMap

    reference = phantom_labels(size=SHAPE[1], slices=SHAPE[0])
    moved = np.roll(reference.labels, (2, 3), axis=(1, 2))
    ragged = np.where(np.random.default_rng(0).random(SHAPE) < 0.5, moved, np.roll(moved, 1, axis=2))
    return reference, LabelMap(ragged.astype(np.uint8), reference.geometry, reference.label_set)


def ours() -> Work:
    from steelyard.evaluate import evaluate_case

    reference, prediction = case()
    return lambda: evaluate_case(reference, prediction, case_id="1", patient_id="1", conventions=CONVENTIONS)


def peer() -> Work:
    reference, prediction = case()
    return lambda: their_scores(reference, prediction)


def their_scores(reference, prediction) -> dict[tuple[str, str, str], float]:
    """(organ, metric, convention) → value: metric objects on one-hot batches as MONAI's docs call them, then
    surface-distance organ by organ as its README does, its surfaces measured once for all."""
    import monai.metrics
    import numpy as np
    import surface_distance
    import torch
    from monai.networks.utils import one_hot

    organs = [organ.name for organ in reference.label_set.organs]
    classes, spacing = len(organs) + 1, list(reference.geometry.spacing_mm)
    truth, answer = (one_hot(torch.from_numpy(m.labels.astype(np.int64))[None, None], classes) for m in (reference, prediction))  # fmt: skip # noqa: E501
    found: dict[tuple[str, str, str], float] = {}

    def keep(metric: str, convention: str, values) -> None:
        for organ, value in zip(organs, values.flatten().tolist(), strict=True):
            found[organ, metric, convention] = value

    keep("dice", "counts", monai.metrics.DiceMetric(include_background=False)(answer, truth))
    keep("iou", "counts", monai.metrics.MeanIoU(include_background=False)(answer, truth))
    confusion = monai.metrics.get_confusion_matrix(answer, truth, include_background=False)
    for metric, name in OVERLAP.items():
        keep(metric, "counts", monai.metrics.compute_confusion_matrix_metric(name, confusion))
    hausdorff = monai.metrics.HausdorffDistanceMetric
    keep("mssd_mm", "monai", hausdorff(include_background=False)(answer, truth, spacing=spacing))
    keep("hd95_mm", "monai", hausdorff(include_background=False, percentile=95)(answer, truth, spacing=spacing))
    surface = monai.metrics.SurfaceDistanceMetric(include_background=False, symmetric=True)
    keep("assd_mm", "monai", surface(answer, truth, spacing=spacing))
    dice = monai.metrics.SurfaceDiceMetric(class_thresholds=[2.0] * len(organs), include_background=False)
    keep("nsd_2mm", "monai", dice(answer, truth, spacing=spacing))
    for organ in reference.label_set.organs:
        masks = (m.labels == organ.index for m in (reference, prediction))
        surfels = surface_distance.compute_surface_distances(*masks, spacing)
        of_reference, of_prediction = surface_distance.compute_average_surface_distance(surfels)
        found[organ.name, "assd_from_reference_mm", "deepmind"] = of_reference
        found[organ.name, "assd_from_prediction_mm", "deepmind"] = of_prediction
        found[organ.name, "mssd_mm", "deepmind"] = surface_distance.compute_robust_hausdorff(surfels, 100)
        found[organ.name, "hd95_mm", "deepmind"] = surface_distance.compute_robust_hausdorff(surfels, 95)
        found[organ.name, "nsd_2mm", "deepmind"] = surface_distance.compute_surface_dice_at_tolerance(surfels, 2.0)
    return found


def same() -> None:
    from steelyard.evaluate import evaluate_case

    reference, prediction = case()
    theirs = their_scores(reference, prediction)
    scores = evaluate_case(reference, prediction, case_id="1", patient_id="1", conventions=CONVENTIONS).scores
    own = {(score.organ, score.metric, score.convention): score.value for score in scores}
    for key, value in theirs.items():
        if abs(own[key] - value) > ALIKE * abs(value):
            raise AssertionError(f"{' '.join(key)}: {own[key]} and {value}")


def limit() -> Limit:
    """Both masks, eight bits a voxel, seen once."""
    voxels = 2 * SHAPE[0] * SHAPE[1] * SHAPE[2]
    return Limit(voxels / copy_bytes_per_second(), f"{voxels / 1e6:.1f} MB of labels read once")


def notes() -> list[str]:
    """What the same case takes in each set of conventions, and all together."""
    import statistics
    import time

    from steelyard.evaluate import ALL_CONVENTIONS, OF_STUDIES, evaluate_case

    reference, prediction = case()
    said = []
    sets = {"MONAI": ("monai",), "DeepMind": ("deepmind",), "CHAOS and MATLAB": OF_STUDIES, "all four": ALL_CONVENTIONS}
    for name, conventions in sets.items():
        times = []
        for _ in range(5):
            started = time.perf_counter()
            evaluate_case(reference, prediction, case_id="1", patient_id="1", conventions=conventions)
            times.append(time.perf_counter() - started)
        said.append(f"{name} {1e3 * statistics.median(times):.0f} ms")
    return [f"ours by conventions: {', '.join(said)}"]
