"""What each metric says of a failure, on label maps small enough to count."""

import numpy as np
import pytest

from masks import label_map
from steelyard.errors import BadData
from steelyard.evaluate import evaluate_case
from steelyard.labels import LabelSet, Organ
from steelyard.metrics import METRICS
from steelyard.metrics.metric import STUDY_CONVENTIONS
from steelyard.study.damage import DAMAGES, Damage, shifted
from steelyard.study.metric_audit import AuditCase, AuditRow, MetricAudit, audit_metrics, drop_of, verdict_of

SHAPE = (5, 20, 24)  # 2400 voxels of 1 × 2 × 3 mm
BODY = LabelSet(
    (
        Organ("liver", 1, 63, (0, 0, 0)),
        Organ("right_kidney", 2, 126, (0, 0, 0)),
        Organ("left_kidney", 3, 189, (0, 0, 0)),
    )
)
PLACES = {
    "liver": np.s_[1:4, 2:12, 2:10],  # 240 voxels
    "right_kidney": np.s_[1:3, 14:18, 3:6],  # 24
    "left_kidney": np.s_[2:4, 13:18, 15:18],  # 30
}


def body(**places) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for name, place in places.items():
        labels[place] = BODY.organ(name).index
    return labels


REFERENCE = body(**PLACES)
# The left kidney one slice too high: half of it is right, IoU 15 / 45.
PREDICTION = body(**PLACES | {"left_kidney": np.s_[3:5, 13:18, 15:18]})


def case(reference=REFERENCE, prediction=PREDICTION, *, case_id="a") -> AuditCase:
    return AuditCase(case_id, label_map(reference, BODY), label_map(prediction, BODY))


def audited(*cases: AuditCase, damages: tuple[str, ...] = ("removed",)) -> MetricAudit:
    return audit_metrics(cases or (case(),), damages=[d for d in DAMAGES if d.name in damages])


def row(
    audit: MetricAudit, metric, organ, *, damage="removed", scope="organ", convention=None, over="mean of cases"
) -> AuditRow:
    found = [
        r
        for r in audit.rows
        if (r.damage, r.metric, r.organ, r.scope, r.over) == (damage, metric, organ, scope, over)
        and convention in (None, r.convention)
    ]
    assert len(found) == 1, f"{len(found)} rows of {metric}"
    return found[0]


def test_a_removed_small_organ_leaves_accuracy_and_takes_all_of_its_iou():
    audit = audited()
    own = row(audit, "iou", "right_kidney")
    assert (own.before, own.after, own.drop, own.share, own.verdict) == (1, 0, 1, 1, "reveals")
    accuracy = row(audit, "accuracy", "right_kidney")
    assert accuracy.after == pytest.approx(1 - 24 / 2400)
    assert accuracy.drop == pytest.approx(0.01)
    whole = row(audit, "accuracy", "left_kidney", scope="all classes")
    assert whole.before == pytest.approx(1 - 30 / 2400)  # 15 missed, 15 spilled
    assert whole.after == pytest.approx(1 - 30 / 2400)  # 30 missed
    assert whole.verdict == "hardly moves"
    assert row(audit, "specificity", "right_kidney").drop == 0
    assert row(audit, "auc_of_one_point", "right_kidney").after == 0.5


def test_weighted_iou_hardly_sees_a_small_organ_go():
    audit = audited(case(REFERENCE, REFERENCE))
    weighted = row(audit, "weighted_iou", "right_kidney", scope="all classes")
    background = 2400 - 294
    after = (background * background / (background + 24) + 240 + 30) / 2400
    assert weighted.after == pytest.approx(after)
    mean = row(audit, "mean_iou", "right_kidney", scope="all classes")
    assert mean.after == pytest.approx((background / (background + 24) + 1 + 0 + 1) / 4)
    assert mean.verdict == "reveals"
    assert weighted.drop < mean.drop / 10


def test_the_bf_mean_that_skips_a_missing_organ_rises_and_the_other_falls():
    """The prediction draws the left kidney's outline nowhere near on one of its slices' reference."""
    wrong = body(**PLACES | {"left_kidney": np.s_[2:4, 1:5, 18:23]})
    audit = audited(case(prediction=wrong))
    matlab = row(audit, "mean_bf_score", "left_kidney", scope="all classes", convention="matlab")
    assert matlab.after > matlab.before + 0.05
    assert (matlab.drop < 0, matlab.verdict) == (True, "looks better")
    right = audited(case(REFERENCE, REFERENCE))
    strict = row(right, "mean_bf_score", "left_kidney", scope="all classes", convention="missing_as_zero")
    assert strict.after < strict.before
    assert (strict.drop > 0, strict.verdict) == (True, "reveals")


def test_the_organs_own_bf_score_and_precision_lose_their_value():
    audit = audited()
    for metric, convention in (("bf_score", "matlab"), ("precision", "counts")):
        own = row(audit, metric, "right_kidney", convention=convention)
        assert (own.before, own.after, own.drop, own.verdict) == (None, None, None, "undefined")
        assert (own.cases, own.lost) == (1, 1)


def test_swapped_kidneys_are_neither_hit_nor_miss_nor_spill_of_the_pooled_counts():
    audit = audited(case(REFERENCE, REFERENCE), damages=("swapped",))
    pooled = [r for r in audit.rows if r.scope == "pooled multiclass counts" and r.organ == "right_kidney"]
    assert {r.metric for r in pooled} == {
        "accuracy", "sensitivity", "specificity", "precision", "iou", "dice", "auc_of_one_point",
    }  # fmt: skip
    assert {(r.before, r.after, r.drop, r.verdict) for r in pooled} == {(1, 1, 0, "hardly moves")}
    assert row(audit, "iou", "right_kidney", damage="swapped").after == 0


def test_with_spills_about_a_mistaken_organ_lowers_the_pooled_hits_alone():
    """Left kidney: 15 right, 15 missed, 15 spilled. The right one, 24 voxels, is called a left one or liver."""
    audit = audited(damages=("mistaken",))
    iou = row(audit, "iou", "right_kidney", damage="mistaken", scope="pooled multiclass counts")
    assert iou.before == pytest.approx((240 + 24 + 15) / (240 + 24 + 15 + 15 + 15))
    assert iou.after == pytest.approx((240 + 15) / (240 + 15 + 15 + 15))


def test_volumes_do_not_see_a_shift():
    audit = audited(case(REFERENCE, REFERENCE), damages=("shifted",))
    # "left" is the slice axis of this grid: 20 slices of 1 mm, out of the image
    assert row(audit, "ravd", "liver", damage="shifted").after == 100
    near = audit_metrics([case(REFERENCE, REFERENCE)], damages=[_half_shift()])
    assert row(near, "ravd", "liver", damage="near").drop == 0
    assert row(near, "volume_error_ml", "liver", damage="near").verdict == "hardly moves"
    assert row(near, "iou", "liver", damage="near").verdict == "reveals"


def test_every_registered_metric_is_audited_and_equals_an_evaluation_of_the_damaged_map():
    audit = audited(damages=("spilled",))
    spilled = next(d for d in DAMAGES if d.name == "spilled")
    damaged = spilled(label_map(PREDICTION, BODY), BODY.organ("left_kidney"))
    scores = evaluate_case(label_map(REFERENCE, BODY), damaged, case_id="a", patient_id="a").scores
    expected = {(s.metric, s.convention, s.organ is None): s.value for s in scores if s.organ in ("left_kidney", None)}
    found = {
        (r.metric, r.convention, r.scope == "all classes"): r.after
        for r in audit.rows
        if r.organ == "left_kidney" and r.over == "mean of cases" and "one_point" not in r.metric
        and r.scope != "pooled multiclass counts"
    }  # fmt: skip
    assert found == pytest.approx(expected)
    every = [METRICS[name] for name in METRICS]
    registered = {
        (m.name, m.convention) for m in every if m.reads != "histogram" and m.convention in STUDY_CONVENTIONS
    }  # fmt: skip
    assert {(metric, convention) for metric, convention, _ in found} == registered


def test_distances_keep_their_unit_and_have_no_share():
    own = row(audited(), "hd95_mm", "right_kidney")
    assert (own.unit, own.share, own.before) == ("mm", None, 0)
    assert own.drop == pytest.approx((5**2 + 40**2 + 72**2) ** 0.5)  # the volume's diagonal
    assert own.verdict == "reveals"


def test_millilitres_are_judged_by_the_reference_volume():
    own = row(audited(), "volume_error_ml", "right_kidney")
    assert own.drop == pytest.approx(24 * 0.006)
    assert own.share == pytest.approx(1)


def test_means_take_each_case_once_and_pooling_each_voxel():
    """Right kidney: 24 voxels all found; in b 6 voxels, of which 3 are found. Without it nothing is left."""
    small = body(right_kidney=np.s_[1, 14:16, 3:6])
    half = body(right_kidney=np.s_[1, 14, 3:6])
    audit = audited(case(), case(small, half, case_id="b"))
    assert row(audit, "iou", "right_kidney").before == pytest.approx((1 + 0.5) / 2)
    assert row(audit, "iou", "right_kidney", over="pooled over cases").before == pytest.approx(27 / 30)
    one_point = row(audit, "auc_of_one_point", "right_kidney", over="pooled over cases")
    assert one_point.before == pytest.approx((27 / 30 + 1) / 2)
    multiclass = {"scope": "pooled multiclass counts", "over": "pooled over cases"}
    hits, spills, misses = 240 + 24 + 15 + 3, 15, 15 + 3
    assert row(audit, "iou", "right_kidney", **multiclass).before == pytest.approx(hits / (hits + spills + misses))
    assert row(audit, "iou", "right_kidney").cases == 2
    assert row(audit, "iou", "liver").cases == 1
    assert audit.case_ids == ("a", "b")


def test_a_case_that_loses_its_value_is_counted_and_the_others_make_the_mean():
    """Thin kidney in b: a shift takes it out of the image, so its precision is lost; in a 12 of 24 voxels stay."""
    thin = body(right_kidney=np.s_[4, 14:18, 3:6])
    audit = audit_metrics([case(REFERENCE, REFERENCE), case(thin, thin, case_id="b")], damages=[_half_shift()])
    own = row(audit, "precision", "right_kidney", damage="near")
    assert (own.cases, own.lost) == (2, 1)
    assert (own.before, own.after) == (1, 0.5)  # slices 1–2 went to 2–3, of which 2 is right


def test_the_mean_over_organs_takes_each_organ_once():
    audit = audited()
    mean = row(audit, "iou", None)
    assert mean.before == pytest.approx((1 + 1 + 15 / 45) / 3)
    assert mean.drop == pytest.approx((1 + 1 + 15 / 45) / 3)
    assert mean.cases == 3


def test_an_organ_that_is_missing_on_one_side_is_not_damaged_and_that_is_said():
    unfound = body(liver=PLACES["liver"], right_kidney=PLACES["right_kidney"])
    audit = audited(case(prediction=unfound), case(unfound, PREDICTION, case_id="b"))
    said = {(s.case_id, s.damage, s.organ, s.reason) for s in audit.skipped}
    assert said == {
        ("a", "removed", "left_kidney", "the prediction lacks it"),
        ("b", "removed", "left_kidney", "the reference lacks it"),
    }
    assert "left_kidney" not in {r.organ for r in audit.rows}


def test_nothing_to_damage_ends_in_one_line():
    with pytest.raises(BadData, match="came no case"):
        audit_metrics([])
    with pytest.raises(BadData, match="came none in which reference and prediction share one"):
        audited(case(prediction=body()))


def test_cases_with_different_organs_are_refused():
    other = LabelSet(BODY.organs[:2])
    strange = AuditCase("b", label_map(REFERENCE * 0, other), label_map(REFERENCE * 0, other))
    with pytest.raises(BadData, match="a and b have different organs"):
        audited(case(), strange)


@pytest.mark.parametrize(
    ("before", "after", "better", "drop"),
    [
        (0.8, 0.5, "higher", 0.3),
        (2.0, 7.0, "lower", 5.0),
        (-3.0, 1.0, "nearer_zero", -2.0),
        (1.0, -4.0, "nearer_zero", 3.0),
    ],
)
def test_a_drop_is_positive_when_the_metric_got_worse(before, after, better, drop):
    assert drop_of(before, after, better) == pytest.approx(drop)


@pytest.mark.parametrize(
    ("drop", "share", "unit", "verdict"),
    [
        (0.9 - 0.8, 0.1, "1", "reveals"),
        (0.099, 0.099, "1", "moves"),
        (0.01, 0.01, "1", "moves"),
        (0.0099, 0.0099, "1", "hardly moves"),
        (-0.0099, -0.0099, "1", "hardly moves"),
        (-0.01, -0.01, "1", "looks better"),
        (9.0, 0.09, "points", "moves"),
        (10.0, 0.1, "%", "reveals"),
        (0.9, None, "mm", "hardly moves"),
        (4.9, None, "mm", "moves"),
        (5.0, None, "mm", "reveals"),
        (20.0, 0.009, "ml", "hardly moves"),
        (0.2, 0.5, "ml", "reveals"),
        (None, None, "1", "undefined"),
    ],
)
def test_verdicts_follow_the_limits_of_their_unit(drop, share, unit, verdict):
    assert verdict_of(drop, share, unit) == verdict


def test_the_table_holds_one_line_per_row():
    audit = audited()
    assert len(audit.frame) == len(audit.rows)
    assert audit.frame.filter(metric="iou", organ="liver", scope="organ", over="mean of cases")["after"].item() == 0


def _half_shift():
    """One slice towards the last."""
    return Damage("near", "one slice on", lambda prediction, organ: shifted(prediction, organ, distance_mm=1.0))
