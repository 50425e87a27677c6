"""However a CHAOS folder is damaged, one line names patient, file and remedy, and nothing is written."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from damages import DAMAGES, HARMLESS, IMAGE, IN, MASK, T1_GROUND, T2, T2_GROUND, Damage
from phantoms import write_chaos_patient
from steelyard.datasets.chaos import ChaosDataset
from steelyard.datasets.integrity import check
from steelyard.errors import BadData

SEQUENCES = ("t1_in", "t1_out", "t2_spir")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    for number in (7, 13):
        write_chaos_patient(root / "Train_Sets" / "MR", number)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def patient_13(root: Path) -> Path:
    return root / "Train_Sets" / "MR" / "13"


def state(root: Path) -> dict[str, str]:
    """Every path below a folder, with what it holds."""

    def content(path: Path) -> str:
        if path.is_symlink():
            return f"link to {path.readlink()}"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"

    return {str(path): content(path) for path in sorted(root.rglob("*"))}


def test_there_are_more_than_thirty_damages_and_no_two_alike():
    assert len(DAMAGES) > 30
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_damaged_patient_ends_in_one_line_that_names_patient_and_culprit(damage: Damage, root: Path):
    damage.damage(patient_13(root))
    before = state(root.parent)
    dataset = ChaosDataset(root)
    (key,) = [key for key in dataset.keys((damage.sequence,)) if key.patient_id == "mr-13"]
    with pytest.raises(BadData) as caught:
        dataset.read(key)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("patient 13, ")
    assert damage.culprit in line
    assert line.rstrip().endswith(".")  # a sentence, and the last one is the remedy
    assert "MR_SET" not in line  # names of patients never enter messages
    assert caught.value.exit_code == 3
    assert state(root.parent) == before


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_the_check_of_the_whole_folder_reports_patient_13_alone(damage: Damage, root: Path):
    damage.damage(patient_13(root))
    findings = check(ChaosDataset(root))
    assert findings.errors
    assert {problem.patient_id for problem in findings.errors} == {"mr-13"}
    assert damage.sequence in {problem.sequence for problem in findings.errors}
    assert {case.case_id for case in findings.cases} >= {f"mr-07_{sequence}" for sequence in SEQUENCES}
    for problem in findings.errors:
        assert problem.message
        assert problem.remedy[0].isupper()


def test_the_untouched_copy_has_no_problem_at_all(root: Path):
    assert check(ChaosDataset(root)).problems == ()


@pytest.mark.parametrize("name", HARMLESS)
def test_the_litter_of_file_managers_is_no_damage(name: str, root: Path):
    for folder in (T2, T2_GROUND, IN, T1_GROUND, ".", ".."):
        (patient_13(root) / folder / name).write_bytes(HARMLESS[name])
    dataset = ChaosDataset(root)
    assert check(dataset).problems == ()
    assert not any(file.name == name for key in dataset.keys(SEQUENCES) for file in dataset.files(key))


@pytest.mark.parametrize("content", ["empty", "no patients", "text only", "patients without sequences"])
def test_a_folder_without_patients_ends_in_one_line_that_says_what_was_looked_for(content: str, tmp_path: Path):
    if content == "no patients":
        (tmp_path / "Train_Sets" / "MR").mkdir(parents=True)
    if content == "text only":
        (tmp_path / "readme.txt").write_text("data follow")
    if content == "patients without sequences":
        (tmp_path / "1" / "T9").mkdir(parents=True)
    with pytest.raises(BadData, match=r"no CHAOS patients in .*Train_Sets") as caught:
        ChaosDataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_does_not_exist_ends_in_one_line(tmp_path: Path):
    with pytest.raises(BadData, match=r"no folder .*nowhere\. Name"):
        ChaosDataset(tmp_path / "nowhere")


def test_several_missing_masks_are_counted_and_named(root: Path):
    for number in (1, 2, 3, 5):
        (patient_13(root) / T2_GROUND / f"IMG-0002-{number:05d}.png").unlink()
    dataset = ChaosDataset(root)
    with pytest.raises(BadData) as caught:
        dataset.read(dataset.keys(("t2_spir",))[1])
    assert str(caught.value) == (
        "patient 13, T2SPIR: 5 images but 1 masks (no mask for IMG-0002-00001, IMG-0002-00002, IMG-0002-00003 and "
        "1 more). Extract the archive again."
    )


READ_AS_NOBODY = """
import os, sys
from steelyard.datasets.chaos import ChaosDataset
from steelyard.errors import BadData
dataset = ChaosDataset(sys.argv[1])
good, bad = dataset.keys(("t2_spir",))
dataset.read(good)  # whatever is imported late is imported now
os.setgid(65534), os.setuid(65534)
dataset.read(good)
try:
    dataset.read(bad)
except BadData as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("path", "named"), [(f"{T2}/{IMAGE}", IMAGE), (f"{T2_GROUND}/{MASK}", MASK), (T2, "DICOM_anon")]
)
def test_what_an_unprivileged_user_may_not_read_ends_in_one_line(path: str, named: str, whole: Path):
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies below a folder that is closed to others
        root = Path(folder) / "copy"
        shutil.copytree(whole, root)
        for closed in (Path(folder), root):
            closed.chmod(0o755)
        (patient_13(root) / path).chmod(0)
        command = [sys.executable, "-c", READ_AS_NOBODY, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 3
    (line,) = done.stdout.splitlines()
    assert line.startswith("patient 13, T2SPIR: ")
    assert named in line
    assert "Permission denied" in line
