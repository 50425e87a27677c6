"""One case and many: which rows come out, and that pooling adds voxels, not scores."""

import numpy as np
import pytest

from masks import TWO_ORGANS, grid, label_map
from steelyard.errors import BadData, BadSpec
from steelyard.evaluate import evaluate_case, pool
from steelyard.evaluate.case import ALL_CONVENTIONS, OF_STUDIES
from steelyard.labels import LabelSet, Organ
from steelyard.metrics import METRICS
from steelyard.metrics.score_histogram import histogram_scores
from steelyard.volume import LabelMap

SHAPE = (3, 10, 8)


def labels(**places) -> np.ndarray:
    """A label array with `heart` (1) and `lung` (2) voxels at the given indices."""
    found = np.zeros(SHAPE, np.uint8)
    for index, organ in enumerate(("heart", "lung"), start=1):
        found[places.get(organ, np.s_[0:0])] = index
    return found


REFERENCE = labels(heart=np.s_[1, 2:5, 2:6], lung=np.s_[0:2, 7:9, 1:3])  # 12 and 8 voxels
PREDICTION = labels(heart=np.s_[1, 2:5, 3:6], lung=np.s_[0:2, 7:10, 1:3])  # 9 and 12, all right but 4


def evaluated(reference=REFERENCE, prediction=PREDICTION, *, case_id="a", **options):
    return evaluate_case(
        label_map(reference), label_map(prediction), case_id=case_id, patient_id=f"p-{case_id}", **options
    )


def value(scores, metric, organ, *, convention=None, case_id=None):
    found = [
        score
        for score in scores
        if (score.metric, score.organ, score.case_id) == (metric, organ, case_id)
        and convention in (None, score.convention)
    ]
    assert len(found) == 1, f"{len(found)} rows of {metric} for {organ}"
    return found[0].value


def test_organs_are_scored_apart_with_values_worked_by_hand():
    case = evaluated()
    assert value(case.scores, "iou", "heart", case_id="a") == pytest.approx(9 / 12)
    assert value(case.scores, "precision", "heart", case_id="a") == 1
    assert value(case.scores, "sensitivity", "lung", case_id="a") == 1
    assert value(case.scores, "precision", "lung", case_id="a") == pytest.approx(8 / 12)
    assert value(case.scores, "ravd", "lung", case_id="a") == pytest.approx(50)
    assert value(case.scores, "volume_error_ml", "lung", case_id="a") == pytest.approx(0.024)
    assert value(case.scores, "mssd_mm", "heart", case_id="a") == pytest.approx(3)  # one column
    assert value(case.scores, "mssd_mm", "lung", case_id="a") == pytest.approx(2)  # one row


def test_counts_hold_the_background_first():
    counts = evaluated().counts
    assert counts.tp.tolist() == [240 - 20 - 4, 9, 8]
    assert counts.fp.tolist() == [3, 0, 4]
    assert counts.fn.tolist() == [4, 3, 0]
    assert counts.tn.tolist() == [20 - 3, 228, 228]


def test_global_rows_have_no_organ_and_count_the_background():
    scores = evaluated().scores
    assert value(scores, "accuracy", None, case_id="a") == pytest.approx(233 / 240)
    assert value(scores, "mean_iou", None, case_id="a") == pytest.approx((216 / 223 + 9 / 12 + 8 / 12) / 3)


def test_mean_bf_score_takes_the_background_and_each_slice_in_turn():
    """At a threshold of .75 % of 12.8 pixels only identical pixels match. On the untouched slice 2 only background."""
    heart = np.zeros(SHAPE, np.uint8)
    heart[1, 4, 4] = 1
    scores = evaluated(heart, heart * 0).scores
    rim, ring = 2 * (10 + 8) - 4, 4  # background boundary: the image edge, and the neighbours of the hole
    with_hole = 2 * (rim / (rim + ring)) / (1 + rim / (rim + ring))
    expected = (1 + with_hole + 1) / 3
    assert value(scores, "mean_bf_score", None, convention="matlab", case_id="a") == pytest.approx(expected)
    missing = (1 + (with_hole + 0) / 2 + 1) / 3
    assert value(scores, "mean_bf_score", None, convention="missing_as_zero", case_id="a") == pytest.approx(missing)


def test_every_row_says_whose_it_is():
    case = evaluated(sequence="t1_in")
    assert {(s.case_id, s.patient_id, s.sequence) for s in case.scores} == {("a", "p-a", "t1_in")}
    assert (case.case_id, case.patient_id, case.sequence) == ("a", "p-a", "t1_in")


def test_a_missed_organ_is_marked_and_its_rows_stay():
    scores = evaluated(prediction=np.where(PREDICTION == 2, 0, PREDICTION)).scores
    lung = {score.metric: score for score in scores if score.organ == "lung" and score.convention != "matlab"}
    assert (lung["dice"].value, lung["dice"].status) == (0, "missed")
    assert (lung["precision"].value, lung["precision"].status) == (None, "undefined")
    assert lung["hd95_mm"].value == pytest.approx((3**2 + 20**2 + 24**2) ** 0.5)


@pytest.mark.parametrize(
    ("conventions", "wanted"),
    [
        (["chaos"], {"chaos"}),
        (["matlab"], {"matlab", "missing_as_zero"}),
        (["monai", "deepmind"], {"monai", "deepmind"}),
        (OF_STUDIES, {"chaos", "matlab", "missing_as_zero"}),
    ],
)
def test_a_convention_brings_its_own_metrics_and_those_from_counts(conventions, wanted):
    case = evaluated(conventions=conventions)
    assert {score.convention for score in case.scores} == wanted | {"counts"}
    assert {score.convention for score in pool([case])} == {"counts"} | wanted & {"matlab", "missing_as_zero"}


def test_what_studies_score_holds_no_other_tools_conventions():
    """A study's table of scores must not change, nor its runs take longer, because another tool is known, too."""
    assert evaluated().conventions == OF_STUDIES == ("chaos", "matlab")
    assert {score.convention for score in evaluated().scores} == {"counts", "chaos", "matlab", "missing_as_zero"}


def test_all_registered_metrics_come_out_for_every_organ():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1, 1, 1], SHAPE).transpose(3, 0, 1, 2)
    histograms = histogram_scores(probabilities, label_map(REFERENCE))
    case = evaluated(histograms=histograms, conventions=ALL_CONVENTIONS)
    for organ in ("heart", "lung", None):
        rows = {(score.metric, score.convention) for score in case.scores if score.organ == organ}
        level = [m for m in (METRICS[name] for name in METRICS) if (m.reads == "classes") == (organ is None)]
        assert rows == {(metric.name, metric.convention) for metric in level}


def test_areas_under_curves_read_the_organs_own_histogram():
    """The heart's probabilities are perfect, the lung's upside down; the decision (PREDICTION) is neither."""
    heart = (REFERENCE == 1).astype(float)
    lung = np.where(REFERENCE == 2, 0, 0.5) * (1 - heart)
    probabilities = np.stack([1 - heart - lung, heart, lung])
    case = evaluated(histograms=histogram_scores(probabilities, label_map(REFERENCE)))
    assert value(case.scores, "roc_auc", "heart", case_id="a") == 1
    assert value(case.scores, "roc_auc", "lung", case_id="a") == pytest.approx(0.5 * 12 / 232)  # 12 ties, at 0
    assert value(pool([case, case]), "roc_auc", "heart") == 1


def test_without_probabilities_there_are_no_areas_not_even_undefined_ones():
    with_one = evaluated(histograms=histogram_scores(np.full((3, *SHAPE), 1 / 3), label_map(REFERENCE)))
    assert "roc_auc" not in {score.metric for score in evaluated().scores}
    assert "roc_auc" not in {score.metric for score in pool([with_one, evaluated()])}


def test_pooling_adds_voxels_so_that_a_large_case_weighs_more():
    """Hearts: 9 of 12 found, and 2 voxels all missed. Pooled IoU 9 / 14; the mean of the cases would be 3 / 8."""
    second = evaluated(labels(heart=np.s_[2, 0, 0:2]), labels(), case_id="b")
    pooled = pool([evaluated(), second])
    assert value(pooled, "iou", "heart") == pytest.approx(9 / 14)
    assert value(pooled, "sensitivity", "heart") == pytest.approx(9 / 14)
    assert value(pooled, "accuracy", None) == pytest.approx((233 + 238) / 480)
    assert {(score.case_id, score.patient_id, score.sequence) for score in pooled} == {(None, None, None)}


def test_pooled_bf_scores_are_means_over_all_slices_of_all_cases():
    """The heart is right on its one slice in a. In b it has three: half an outline found (F = 2/3), and two missed."""
    one, three = labels(heart=np.s_[1, 4, 4]), labels(heart=np.s_[:, 4, 4:8:3])
    pooled = pool([evaluated(one, one), evaluated(three, labels(heart=np.s_[0, 4, 4]), case_id="b")])
    assert value(pooled, "bf_score", "heart", convention="matlab") == pytest.approx((1 + 2 / 3) / 2)
    assert value(pooled, "bf_score", "heart", convention="missing_as_zero") == pytest.approx((1 + 2 / 3) / 4)


def test_the_background_has_pooled_rows_from_counts_only():
    pooled = pool([evaluated()])
    assert value(pooled, "iou", "background") == pytest.approx(216 / 223)
    assert {score.convention for score in pooled if score.organ == "background"} == {"counts"}
    assert "background" not in {score.organ for score in evaluated().scores}


def test_distances_and_volumes_are_not_pooled():
    assert not {"assd_mm", "ravd", "volume_error_ml", "chaos_score"} & {score.metric for score in pool([evaluated()])}


def test_a_prediction_on_another_grid_is_refused_in_one_line_that_shows_both():
    shifted = LabelMap(PREDICTION, grid(SHAPE, (1.0, 2.0, 3.3)), TWO_ORGANS)
    with pytest.raises(BadData) as error:
        evaluate_case(label_map(REFERENCE), shifted, case_id="a", patient_id="p")
    assert str(error.value).startswith("case a: reference (3 × 10 × 8 voxels of 1 × 2 × 3 mm) and prediction (")
    assert "3.3 mm" in str(error.value)
    assert "\n" not in str(error.value)


def test_maps_of_different_organs_are_refused():
    other = LabelSet((Organ("heart", 1, 10, (0, 0, 0)), Organ("spleen", 2, 30, (0, 0, 0))))
    with pytest.raises(BadData, match="spleen"):
        evaluate_case(label_map(REFERENCE), label_map(PREDICTION, other), case_id="a", patient_id="p")
    with pytest.raises(BadData, match="a and b"):
        pool([evaluated(), evaluated(conventions=["chaos"], case_id="b")])


def test_nothing_to_pool_is_said():
    with pytest.raises(BadData, match="at least one case"):
        pool([])


def test_an_unknown_convention_is_answered_with_the_known_ones():
    with pytest.raises(BadSpec, match="Did you mean 'chaos'"):
        evaluated(conventions=["caos"])


def test_outlines_are_matched_only_where_matlabs_conventions_are_asked_for():
    others, studies = evaluated(conventions=("monai", "deepmind")), evaluated()
    assert (len(others.slices.matlab), len(studies.slices.matlab)) == (0, len(REFERENCE))
    rows = rows_of(pool([others, others]))
    assert rows == {key: value for key, value in rows_of(pool([studies, studies])).items() if key in rows}
    assert {convention for _, _, convention in rows} == {"counts"}


def rows_of(scores):
    return {(s.organ, s.metric, s.convention): s.value for s in scores}
