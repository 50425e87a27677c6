"""Parts by name, listed without importing them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from steelyard.errors import BadSpec
from steelyard.registry import Registry

INIT = """
from pathlib import Path
from steelyard.registry import Registry
SHAPES = Registry("shape", package="{package}", folder=Path(__file__).parent)
"""
ROUND = """
from {package} import SHAPES
TELLTALE = 1

@SHAPES.register("circle", "round all over")
def circle(*, radius):
    return 3 * radius**2

@SHAPES.register("Ball", "round in three dimensions")
class Ball: ...
"""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """A package on disk with three registered parts in two files."""
    package = f"shapes_{request.node.name}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(INIT.format(package=package))
    (folder / "round.py").write_text(ROUND.format(package=package))
    (folder / "angular.py").write_text(
        f'from {package} import SHAPES\n\n@SHAPES.register("square", "four corners")\ndef square(): return 4\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__(package)
    yield module.SHAPES
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def test_names_are_listed_with_their_summaries_and_nothing_is_imported(shapes: Registry):
    assert list(shapes) == ["Ball", "circle", "square"]
    assert shapes.entries["circle"].summary == "round all over"
    assert shapes.entries["square"].module.endswith(".angular")
    assert "circle" in shapes
    assert "triangle" not in shapes
    assert not any(name.endswith((".round", ".angular")) for name in sys.modules if name.startswith("shapes_"))


def test_a_name_gives_its_part_and_imports_its_file_alone(shapes: Registry):
    assert shapes["circle"](radius=2) == 12
    assert not any(name.endswith(".angular") for name in sys.modules if name.startswith("shapes_"))
    assert shapes["circle"] is shapes["circle"]


def test_a_misspelt_name_is_a_spec_error_with_the_nearest(shapes: Registry):
    with pytest.raises(BadSpec, match=r"no shape is named 'circel'\. Did you mean 'circle'\?"):
        shapes["circel"]


def test_a_name_never_changes_its_meaning(shapes: Registry):
    part = shapes["square"]
    assert shapes.register("square", "again")(part) is part
    with pytest.raises(ValueError, match="two shape parts are registered as 'square'"):
        shapes.register("square", "another")(lambda: 5)


def test_a_part_registered_from_elsewhere_is_found_too(shapes: Registry):
    shapes.register("mine", "made at home")(len)
    assert "mine" in shapes
    assert shapes["mine"] is len
