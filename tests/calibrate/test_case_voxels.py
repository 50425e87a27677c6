"""Cases kept small count exactly what whole volumes count, for every decision within reach."""

import numpy as np
import pytest

from steelyard.calibrate import fewer_voxels
from steelyard.calibrate.fewer_voxels import every_kth, near, within
from steelyard.calibrate.voxels import FLOOR, REACH, case_voxels, tally
from steelyard.confusion import count_labels
from steelyard.errors import BadData
from steelyard.postprocess.offsets import Offsets
from steelyard.postprocess.optimal import OptimalRule


def volume(seed, kind=np.float32, shape=(4, 20, 25)):
    """Four classes, mostly sure background; organs in the reference lie anywhere."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, (4, *shape))
    logits[0] += 14
    probabilities = np.exp(logits - logits.max(0))
    probabilities = (probabilities / probabilities.sum(0)).astype(kind)
    labels = np.where(generator.random(shape) < 0.1, generator.integers(1, 4, shape), 0).astype(np.uint8)
    return probabilities, labels


DECISIONS = [
    Offsets.none(4),
    Offsets((0.0, REACH, -3.0, 1.0)),
    Offsets((0.0, -8.0, REACH, REACH)),
    OptimalRule((0.0, 1.0, 3.0, 2.0), (0.0, FLOOR, 0.4, 0.01)),
]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("decision", DECISIONS, ids=str)
def test_few_voxels_count_what_the_whole_volume_counts(decision, kind):
    whole = [volume(seed, kind) for seed in (1, 2)]
    cases = [case_voxels(p, labels, patient_id="a", voxel_ml=0.3) for p, labels in whole]
    found = tally(cases, decision)
    for index, (probabilities, labels) in enumerate(whole):
        assert cases[index].labels.size < 0.7 * labels.size
        expected = count_labels(labels, decision(probabilities), 4)
        for name in ("tp", "fp", "fn", "tn"):
            assert getattr(found.counts, name)[index].tolist() == getattr(expected, name).tolist()
    assert found.patient_ids == ("a", "a")
    assert found.voxel_ml.tolist() == [0.3, 0.3]


@pytest.mark.parametrize(
    "decision", [Offsets((0.0, REACH + 0.1, 0.0, 0.0)), OptimalRule((0.0, 1.0, 0.0, 1.0), (0.0, 0.5, 1.0, FLOOR / 2))]
)
def test_a_decision_that_would_turn_dropped_voxels_is_refused(decision):
    cases = [case_voxels(*volume(1), patient_id="a", voxel_ml=0.3)]
    with pytest.raises(ValueError, match="reaches voxels that were dropped"):
        tally(cases, decision)


def test_offsets_within_a_limit_need_still_fewer_voxels():
    case = case_voxels(*volume(1), patient_id="a", voxel_ml=0.3)
    fewer = within(case, 2.0)
    assert fewer.labels.size < 0.9 * case.labels.size
    for values in ((0.0, 2.0, 2.0, 2.0), (0.0, -2.0, 2.0, 0.5)):
        assert counts([fewer], Offsets(values)) == counts([case], Offsets(values))
    assert counts([fewer], Offsets((0.0, 5.0, 5.0, 5.0))) != counts([case], Offsets((0.0, 5.0, 5.0, 5.0)))


def test_offsets_near_others_need_only_the_voxels_in_doubt():
    case = case_voxels(*volume(1), patient_id="a", voxel_ml=0.3)
    centre = Offsets((0.0, 3.0, -1.0, 2.0))
    fewer = near(case, centre, 0.3)
    assert fewer.labels.size < 0.3 * case.labels.size
    for shift in np.random.default_rng(0).choice([-0.3, 0.0, 0.3], (20, 3)):
        offsets = Offsets((0.0, 3.0 + shift[0], -1.0 + shift[1], 2.0 + shift[2]))
        assert counts([fewer], offsets) == counts([case], offsets)


def test_every_kth_voxel_stands_for_k_of_the_same_volume(monkeypatch):
    cases = [case_voxels(*volume(seed), patient_id=str(seed), voxel_ml=0.3) for seed in (1, 2)]
    monkeypatch.setattr(fewer_voxels, "OF_AN_ORGAN", 1)
    few = every_kth(cases, 700)
    assert 300 < sum(case.labels.size for case in few) <= 700
    whole, part = tally(cases, Offsets.none(4)), tally(few, Offsets.none(4))
    assert part.missed_ml[:, 1:].sum() == pytest.approx(whole.missed_ml[:, 1:].sum(), rel=0.15)
    assert every_kth(cases, 10**6) == cases


def test_no_organ_is_thinned_out(monkeypatch):
    case = case_voxels(*volume(1), patient_id="a", voxel_ml=0.3)
    smallest = np.bincount(case.labels)[1:].min()
    monkeypatch.setattr(fewer_voxels, "OF_AN_ORGAN", smallest // 3)
    (few,) = every_kth([case], 1)
    assert few.voxel_ml == pytest.approx(0.9)
    monkeypatch.setattr(fewer_voxels, "OF_AN_ORGAN", smallest)
    assert every_kth([case], 1) == [case]


def test_absent_probabilities_shapes_and_labels_are_named():
    probabilities, labels = volume(1)
    holed = probabilities.copy()
    holed[1, 0, 0, 0] = np.nan
    for given, reference, voxel_ml, line in (
        (holed, labels, 0.3, "sum to 1 were wanted"),
        (probabilities * 0.5, labels, 0.3, "sum to 1 were wanted"),
        (probabilities, labels[:-1], 0.3, r"one grid; came \(4, 20, 25\) and \(3, 20, 25\)"),
        (probabilities, labels + 3, 0.3, "classes 0–3 was wanted; came classes 3–6"),
        (probabilities, labels, 0.0, "must have a volume; came 0.0 ml"),
    ):
        with pytest.raises(BadData, match=f"patient 13: .*{line}"):
            case_voxels(given, reference, patient_id="13", voxel_ml=voxel_ml)


def test_cases_of_different_label_sets_are_refused():
    with pytest.raises(ValueError, match="one label set"):
        tally([], Offsets.none(4))
    other = case_voxels(np.full((2, 3), 0.5, np.float32), np.array([0, 1, 1]), patient_id="b", voxel_ml=1)
    with pytest.raises(ValueError, match=r"one label set are needed; came 2 cases with class counts \[2, 4\]"):
        tally([case_voxels(*volume(1), patient_id="a", voxel_ml=0.3), other], Offsets.none(4))


def counts(cases, decision):
    """As lists, also for cases from which more voxels were dropped than `tally` answers for."""
    found = tally(cases, decision).counts
    return [found.tp.tolist(), found.fp.tolist(), found.fn.tolist(), found.tn.tolist()]
