"""Finding a loss, what it is taken for, how it is called, and what is said when that fails."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from steelyard.audit import audit_loss
from steelyard.audit.named import named
from steelyard.cli import main
from steelyard.errors import BadSpec
from steelyard.options import parse_options
from studies import steelyard

PLANTED = Path(__file__).parent / "planted.py"
RANGE = ["range"]


def test_values_of_options_are_json_then_python_then_words() -> None:
    words = ["a=.3", "b=true", "c=False", "d=[1, 2]", "e=multiclass", "f=null", "g=(1, 2)", 'h="3"', "i=x=y"]
    assert parse_options(words) == {
        "a": 0.3, "b": True, "c": False, "d": [1, 2], "e": "multiclass", "f": None, "g": (1, 2), "h": "3", "i": "x=y",
    }  # fmt: skip


@pytest.mark.parametrize(("words", "said"), [(["alpha"], "key=value was wanted"), (["a=1", "a=2"], "given twice")])
def test_an_option_that_cannot_be_read_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(BadSpec, match=said):
        parse_options(words)


@pytest.mark.parametrize(
    ("name", "options", "taken_for"),
    [
        ("Sound", {}, "what builds the loss"),
        ("sound_function", {"fp_weight": 0.2}, "the loss itself"),
        ("make", {"fp_weight": 0.2}, "what builds the loss"),
    ],
)
def test_a_callable_is_taken_for_what_its_signature_tells(name: str, options: dict[str, float], taken_for: str) -> None:
    audit = audit_loss(f"{PLANTED}:{name}", options=options, checks=["FP weight"])
    assert audit.taken_for.startswith(taken_for)
    assert audit["FP weight"].verdict == "pass"


def test_a_signature_that_leaves_it_open_is_asked_about() -> None:
    with pytest.raises(BadSpec, match=r"needs fp_weight: .* say --as loss or --as builder"):
        audit_loss(f"{PLANTED}:make")


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        ("tverski", {}, "no loss is named 'tverski'. Did you mean 'tversky'"),
        ("nowhere.at.all:Loss", {}, "cannot be imported: ModuleNotFoundError"),
        ("nowhere.py:Loss", {}, "there is no file nowhere.py"),
        (f"{PLANTED}:Missing", {}, "has no 'Missing'"),
        (f"{PLANTED}:NUMBER", {}, "is a int, which cannot be called"),
        ("tversky", {"alpha": 1}, "could not be built: TypeError: .*alpha"),
        ("tversky", {"fp_weight": [1, 2, 3]}, "gives no number for 4 classes. .*fp_weight has 3 values for 4 classes"),
        ("monai.losses:DiceLoss", {"reduction": "none"}, "a reduction to a mean is an option"),
    ],
)
def test_a_loss_that_cannot_be_used_says_why(loss: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(BadSpec, match=said):
        audit_loss(loss, options=options, checks=RANGE)


def test_target_forms_are_tried_in_order_and_reported() -> None:
    for name, form in (
        ("Sound", ", target (batch, *space)"),
        ("one_hot_loss", "one-hot target (batch, class, *space)"),
        ("channel_loss", "target (batch, 1, *space)"),
    ):
        assert form in audit_loss(f"{PLANTED}:{name}", checks=RANGE).called_with


def test_a_target_form_that_broadcasts_into_nonsense_is_passed_over() -> None:
    """A one-hot target's first channel passes for class numbers without an error: only the wrong answer tells."""
    audit = audit_loss(f"{PLANTED}:careless_channel_loss", checks=["least at the truth"])
    assert "target (batch, 1, *space)" in audit.called_with
    assert audit["least at the truth"].verdict == "pass"
    forced = audit_loss(f"{PLANTED}:one_hot_loss", target="channel", checks=["least at the truth"])
    assert forced["least at the truth"].verdict == "fail"


def test_a_forced_target_form_that_is_refused_says_so() -> None:
    with pytest.raises(BadSpec, match=r"target \(batch, 1, \*space\): ValueError: target must be"):
        audit_loss(f"{PLANTED}:Sound", target="channel")


def test_unknown_options_and_checks_are_refused() -> None:
    with pytest.raises(BadSpec, match="--fp-option alpha: tversky has no such option"):
        audit_loss("tversky", fp_option="alpha")
    with pytest.raises(BadSpec, match="no check is named 'rang'"):
        audit_loss("tversky", checks=["rang"])
    with pytest.raises(BadSpec, match="3 at least"):
        audit_loss("tversky", classes=2)


def test_a_loss_in_a_file_goes_to_another_process_by_its_name() -> None:
    loss = named(f"{PLANTED}:Sound", {"fp_weight": 0.2})
    assert isinstance(loss.build(), nn.Module)
    assert pickle.loads(pickle.dumps(loss)) == loss


def run(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str, str]:
    """The command in this process: exit code, what it says, what it complains."""
    monkeypatch.setattr(sys, "argv", ["steelyard", *words])
    try:
        main()
        code: object = 0
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_gives_a_table_json_and_exit_code_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "findings.json"
    words = ["--with", "fp_weight=0.4", "fn_weight=0.9", "--no-processes", "--out", str(out)]
    code, told, complaint = run(["audit", f"{PLANTED}:SwappedWeights", *words], monkeypatch, capsys)
    assert code == 1
    assert complaint.strip() == "2 of 16 checks failed: FP weight, FN weight"
    assert "the two weights are swapped" in told
    written = json.loads(out.read_text())
    assert written["schema"] == 1
    assert written["options"] == {"fp_weight": 0.4, "fn_weight": 0.9}
    assert {finding["check"]: finding["verdict"] for finding in written["findings"]}["FP weight"] == "fail"
    assert written["findings"][0]["numbers"]["misses_move"] > 0.01
    assert {"steelyard", "torch"} <= written["versions"].keys()


def test_the_command_ends_well_where_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told, complaint = run(["audit", "dice", "--no-processes"], monkeypatch, capsys)
    assert (code, complaint) == (0, "")
    assert "1 declared" in told


def test_a_library_that_cannot_be_imported_costs_one_line_and_exit_code_two(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    done = steelyard("audit", "broken:DiceLoss", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "The installed torchvision does not fit the installed torch; install both from the same index."
    )
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_imports_no_torch() -> None:
    code = "import sys; sys.argv = ['steelyard', 'audit', '--help']; from steelyard.cli import main\ntry: main()\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
