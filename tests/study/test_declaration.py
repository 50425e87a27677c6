"""What is compared is declared once; a family that was changed after results could be seen says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steelyard.errors import BadSpec
from steelyard.study.declaration import declared_when, redeclare
from steelyard.study.plan import Plan, make_plan, write_plan
from studies import tiny_spec, write_patients


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def plan(patients: Path, out: Path, **compare: object) -> Plan:
    return make_plan(tiny_spec(patients, out, compare=compare))


def content(plan: Plan) -> dict:
    return json.loads((plan.folder / "study.json").read_text())


def finish(plan: Plan, number: int) -> None:
    folder = plan.run_folder(plan.runs[number])
    folder.path.mkdir(parents=True)
    folder.mark_done()


def test_a_family_declared_first_keeps_its_date_through_every_later_command(patients: Path, tmp_path: Path) -> None:
    first = plan(patients, tmp_path, baseline="iou0515")
    write_plan(first)
    declared = content(first)["declaration"]
    assert (declared["done"], declared["runs"]) == (0, 2)
    assert "before any run was done" in declared_when(content(first))
    finish(first, 0)
    write_plan(plan(patients, tmp_path, baseline="iou0515"))
    redeclare(first.spec)
    assert content(first)["declaration"] == declared


def test_a_family_changed_after_a_result_says_how_many_could_be_seen(patients: Path, tmp_path: Path) -> None:
    first = plan(patients, tmp_path)
    write_plan(first)
    finish(first, 1)
    narrowed = plan(patients, tmp_path, organs=["spleen"])
    redeclare(narrowed.spec)
    assert content(first)["spec"]["compare"]["organs"] == ["spleen"]
    assert "when 1 of 2 runs were done and could have been looked at" in declared_when(content(first))


def test_an_edited_family_may_name_what_the_study_has_and_nothing_else(patients: Path, tmp_path: Path) -> None:
    first = plan(patients, tmp_path)
    write_plan(first)
    before = content(first)
    for wrong, said in (({"losses": ["dice"]}, "loss of this study"), ({"organs": ["pancreas"]}, "organ")):
        with pytest.raises(BadSpec, match=f"no {said} is named"):
            redeclare(tiny_spec(patients, tmp_path, compare=wrong))
    assert content(first) == before


def test_a_study_of_an_older_version_says_that_nothing_is_recorded() -> None:
    assert declared_when({}) == "When the comparisons were declared is not recorded."
