"""Studies are scored in their own conventions, however many those of other tools are known."""

from pathlib import Path

import pytest

from steelyard.errors import BadData
from steelyard.labels import CHAOS_MR
from steelyard.metrics import METRICS
from steelyard.study.declared import _metric
from steelyard.study.plan import _compare_errors
from steelyard.study.spec import parse_spec
from studies import tiny_study


def test_a_metric_that_several_tools_define_is_the_studys_own():
    names = {METRICS[name].name for name in METRICS if METRICS[name].convention in ("monai", "deepmind")}
    assert {_metric(name, Path()).convention for name in names & {"assd_mm", "mssd_mm", "hd95_mm", "nsd_2mm"}} == {
        "chaos"
    }


def test_a_metric_that_only_another_tool_defines_cannot_be_compared(tmp_path):
    spec = parse_spec(tiny_study(tmp_path, tmp_path, compare={"metric": "assd_from_reference_mm"}), source="s.toml")
    [error] = _compare_errors(spec, CHAOS_MR)
    assert "no metric per organ is named 'assd_from_reference_mm'" in error
    with pytest.raises(BadData, match="no metric per organ is named"):
        _metric("assd_from_reference_mm", tmp_path)
