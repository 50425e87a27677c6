"""From a name or a card to files: what is taken, what is refused in one line, and what is never overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exported import imported
from steelyard.calibrate import read_card
from steelyard.cli import main
from steelyard.errors import BadData, BadSpec
from steelyard.export import export, recipe
from steelyard.export.recipe import read_recipe
from steelyard.losses import LOSSES

CARD = {
    "schema": 1,
    "kind": "calibration card",
    "verdict": "better",
    "loss": {"name": "tversky", "fp_weight": [1, 0.3, 0.6], "fn_weight": [1, 1.7, 1.4]},
    "label_set": {"organs": []},
    "classes": ["background", "liver", "spleen"],
}
CARD_PER_ORGAN = {
    "name": "per_organ",
    "organs": [{"name": "tversky", "fp_weight": 0.3, "fn_weight": 1.7}, "dice"],
}


def write_card(folder: Path, **changes: Any) -> Path:
    (folder / "card.json").write_text(json.dumps({**CARD, **changes}))
    return folder / "card.json"


def test_a_card_is_its_loss_and_names_its_classes(tmp_path: Path) -> None:
    for named in (write_card(tmp_path), tmp_path):
        found = read_recipe(str(named))
        assert found.loss.fp_weight == (1.0, 0.3, 0.6)
        assert found.loss.fn_weight == (1.0, 1.7, 1.4)
        assert found.classes == ("background", "liver", "spleen")
    file = next(iter(export(str(tmp_path / "card.json"), to="nnunet", out=tmp_path).files))
    assert "card.json (sha256 " in file.read_text()
    assert "CLASSES = ('background', 'liver', 'spleen')" in file.read_text()


def test_a_card_that_keeps_the_default_exports_the_default(tmp_path: Path) -> None:
    file = next(iter(export(str(write_card(tmp_path, loss={"name": "dice_ce"})), to="nnunet", out=tmp_path).files))
    assert file.name == "nnUNetTrainerSteelyard_dice_ce.py"
    assert "CLASSES" not in file.read_text()  # all classes are charged alike


def test_a_card_that_keeps_inverse_frequencies_tells_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match="Export cross_entropy --with class_weights="):
        read_recipe(str(write_card(tmp_path, loss={"name": "crossE"})))


def test_the_card_is_that_of_calibrate() -> None:
    assert (recipe.CARD_KIND, recipe.CARD_SCHEMA) == (read_card.KIND, read_card.SCHEMA)


def test_a_card_per_organ_is_taken(tmp_path: Path) -> None:
    card = write_card(tmp_path, loss=CARD_PER_ORGAN)
    assert "CLASSES" in next(iter(export(str(card), to="nnunet", out=tmp_path).files)).read_text()
    card = write_card(tmp_path, loss=CARD_PER_ORGAN, classes=["background", "a", "b", "c"])
    with pytest.raises(BadData, match="damaged card: organs has 2 entries for 3 organs"):
        read_recipe(str(card))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "study"}, "'study' as its kind where 'calibration card' is wanted"),
        ({"kind": None}, "None as its kind"),
        ({"schema": 2}, "has schema 2; this Steelyard reads 1. Export with the newer Steelyard"),
        ({"schema": "1"}, "schema is '1' where 1 is wanted"),
        ({"loss": "dice"}, "damaged card: loss is 'dice'"),
        ({"loss": {"name": "focal"}}, "damaged card: loss is {'name': 'focal'}"),
        ({"loss": {"name": "tversky", "price": 2}}, "damaged card: loss 'tversky': got an unexpected keyword"),
        (
            {"loss": {"name": "tversky", "fp_weight": float("nan")}},
            "damaged card: .* fp_weight must be a finite number",
        ),
        ({"loss": {"name": "tversky", "fp_weight": [1, 2]}}, "damaged card: fp_weight has 2 values for 3 classes"),
        ({"classes": []}, "damaged card: classes is"),
        ({"classes": ["background", 1]}, "damaged card: classes is"),
    ],
)
def test_a_damaged_card_is_told_in_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadData, match=said) as caught:
        read_recipe(str(write_card(tmp_path, **changes)))
    assert "\n" not in str(caught.value)
    assert "card.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"kind": "calibration card"}'])
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(BadData) as caught:
        read_recipe(str(tmp_path / "card.json"))
    assert "\n" not in str(caught.value)


def test_a_card_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="No such file"):
        read_recipe(str(tmp_path / "card.json"))
    with pytest.raises(BadSpec, match=r"no loss is named 'iou515'\. Did you mean 'iou0515'"):
        read_recipe("iou515")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        ("crossE", [], "cross_entropy --with class_weights="),
        ("iou0515", ["fp_weight=1"], "Its options: none"),
        ("tversky", ["fp_weight"], "key=value was wanted"),
        ("tversky", ["fp_weight=1", "fp_weight=2"], "twice"),
        ("tversky", ["fp_weight=-1"], "finite number ≥ 0"),
        ("tversky", ["scope=image"], "scope must be one of batch, slice; came 'image'"),
        ("per_organ", ["organs=crossE"], "class_frequencies"),
    ],
)
def test_losses_that_cannot_be_written_are_refused_in_one_line(loss: str, options: list[str], said: str) -> None:
    with pytest.raises(BadSpec, match=said) as caught:
        read_recipe(loss, options)
    assert "\n" not in str(caught.value)


def test_options_are_read_as_json_and_as_python_writes_them() -> None:
    texts = ["fp_weight=[0.3, 1]", "fn_weight=(1.7, 1)", "background=false", "scope=slice", "absent='skip'"]
    loss = read_recipe("tversky", texts).loss
    assert (loss.fp_weight, loss.fn_weight, loss.background) == ((0.3, 1.0), (1.7, 1.0), False)
    assert (loss.scope, loss.absent) == ("slice", "skip")
    assert read_recipe("tversky", ["background=False"]).loss.background is False


def test_each_loss_has_a_name_of_its_own_that_nnunet_and_python_can_use() -> None:
    """Two trainers of one name in one folder: nnU-Net would take the first."""
    options = ([], ["fp_weight=0.3"], ["fn_weight=0.3"], ["fp_weight=[0.3, 1]"], ["fp_weight=[0.31]"], ["scope=slice"])
    slugs = [read_recipe("tversky", option).slug for option in options]
    assert len(set(slugs)) == len(options)
    assert slugs[:2] == ["tversky", "tversky_fp0p3"]
    for slug in slugs:
        assert slug.isidentifier()
        assert "__" not in slug


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_registered_loss_is_exported_or_refused_by_name(tmp_path: Path, name: str) -> None:
    refusal = ""
    try:
        files = export(name, to="smp", out=tmp_path).files
    except BadSpec as error:
        refusal = str(error)
    assert name in refusal if refusal else callable(imported(next(iter(files))).loss_fn)


def test_only_exported_files_are_overwritten(tmp_path: Path) -> None:
    own = tmp_path / "loss.py"
    export("dice", to="smp", out=own)
    export("iou11", to="smp", out=own)
    assert "iou11" in own.read_text()
    own.write_text("mine = True\n")
    with pytest.raises(BadSpec, match=r"loss.py exists and was not written by export-loss"):
        export("dice", to="smp", out=own)
    assert own.read_text() == "mine = True\n"
    (tmp_path / "steelyard_dice_ce.py").write_text("mine = True\n")
    with pytest.raises(BadSpec, match="not written by export-loss"):
        export("dice_ce", to="monai", out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.py", "steelyard_dice_ce.py"]  # all or nothing


@pytest.mark.parametrize(
    ("to", "out", "said"),
    [
        ("nnunet", "x.json", "ends in .py"),
        ("monai", "x.yaml", "ends in .json"),
        ("nnunet", "my-trainer.py", "must be a Python name"),
        ("smp", "taken/below", "is a file, where a folder"),
    ],
)
def test_a_wrong_place_is_told(tmp_path: Path, to: Any, out: str, said: str) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(BadSpec, match=said):
        export("dice", to=to, out=tmp_path / out)


def test_a_folder_of_other_modules_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text("")
    exported = export("dice", to="nnunet", out=tmp_path)
    assert any("also import setup.py" in line for line in exported.next_steps)
    (tmp_path / "setup.py").unlink()
    exported = export("iou11", to="nnunet", out=tmp_path)  # another trainer there is no matter
    assert not any("also import" in line for line in exported.next_steps)


def test_text_in_a_card_cannot_become_code(tmp_path: Path) -> None:
    names = ["background", '"""\nraise SystemExit(\'liver\')', "spleen\\"]
    file = tmp_path / 'x\'"""\nraise SystemExit(1)#.json'
    file.write_text(json.dumps({**CARD, "classes": names}))
    exported = export(str(file), to="smp", out=tmp_path / "out")
    assert callable(imported(next(iter(exported.files))).loss_fn)
    trainer = next(iter(export(str(file), to="nnunet", out=tmp_path / "out").files)).read_text()
    compile(trainer, "trainer.py", "exec")
    assert "\nraise" not in trainer


def test_the_command_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export-loss", "tversky", "--with", "fp_weight=0.3", "fn_weight=1.7", "--to", "nnunet", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["steelyard", *arguments])
    main()
    said = capsys.readouterr().out
    assert f"export nnUNet_extTrainer={tmp_path}" in said
    assert "-tr nnUNetTrainerSteelyard_tversky_fp0p3_fn1p7" in said
    assert (tmp_path / "nnUNetTrainerSteelyard_tversky_fp0p3_fn1p7.py").is_file()
    monkeypatch.setattr(sys, "argv", ["steelyard", "export-loss", "dice", "--to", "smp", "--standalone", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "--standalone is for monai alone" in capsys.readouterr().err


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['steelyard', 'export-loss', '--help']\nfrom steelyard.cli import main\n"
        "try: main()\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
