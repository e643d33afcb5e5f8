"""The report of a run that never came far is still a report, and no answer can break its tables."""

from __future__ import annotations

import json
import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from weightsmith.errors import TargetRefused
from weightsmith.report import parity_tables, verification
from weightsmith.verify.judge import gates
from weightsmith.verify.result import Check, VerifyResult, json_value

if TYPE_CHECKING:
    from pathlib import Path

SEEN = {"nodes": [], "packages": {"vllm": "0.32.0"}, "visible": None, "count": None, "memory": []}


def _result(**parts: Any) -> VerifyResult:
    checkpoint = {"path": "m", "format": "safetensors", "parameters": 12, "bytes": 24, "dtypes": {"BF16": 12}}
    base: dict[str, Any] = {
        "model": {"name": "m", "kind": "causal", "checkpoint": checkpoint, "config": {"hidden_size": 4}},
        "device": {"kind": "cpu", "name": "x86", "seen": SEEN, "warnings": ["odd | thing"]},
        "engine": {},
        "checks": (
            Check("engine", "fail", None, 0.5, "it | broke\nbadly"),
            Check("config", "pass", 1, 1, ""),
        ),
        "parity": {},
        "prompts": (),
    }
    return VerifyResult(**{**base, **parts})


def test_a_limit_of_ones_own_is_said() -> None:
    limits = gates.limits({"kl_mean": 0.5})
    text = verification.markdown(_result(own_limits=gates.own(limits)))
    assert "**Own limits**: kl_mean 0.5 instead of 0.05." in text
    assert "Own limits" not in verification.markdown(_result(own_limits=gates.own(gates.limits())))


def test_each_line_has_its_own_verdict_and_missing_sections_are_left_out() -> None:
    text = verification.markdown(_result())
    assert "| engine | ❌ fail |  | 0.5 | it \\| broke⏎badly |" in text
    assert "| config | ✅ pass | 1 | 1 |  |" in text
    assert "**Verdict: ❌ fail**" in text
    assert "## Performance" not in text
    assert "## Numeric parity" not in text


def test_every_table_row_has_as_many_cells_as_its_header() -> None:
    lines = [line.replace("\\|", "") for line in verification.markdown(_result()).splitlines()]
    tables = [list(rows) for is_row, rows in groupby(lines, lambda line: line.startswith("|")) if is_row]
    assert max(map(len, tables)) > 2
    for rows in tables:
        assert len({row.count("|") for row in rows}) == 1


def test_a_report_that_cannot_be_written_is_refused_with_its_path(tmp_path: Path) -> None:
    assert verification.write(_result(), tmp_path / "r.md").report == str(tmp_path / "r.md")
    with pytest.raises(TargetRefused, match=r"r\.md"):
        verification.write(_result(), tmp_path / "absent" / "r.md")


def test_what_is_not_finite_becomes_null_in_the_document() -> None:
    result = _result(parity={"pairs": {"B-D": {"kl_mean": math.nan, "flips": [math.inf, (1, 2)]}}})
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert document["parity"]["pairs"]["B-D"] == {"kl_mean": None, "flips": [None, [1, 2]]}
    assert json_value({1: (True, None)}) == {"1": [True, None]}


def test_the_words_before_the_figures_say_what_was_replayed_layer_by_layer() -> None:
    why = "whole it needs 33.0 GB of memory and 20.0 GB are free"
    told = parity_tables.words(_result(parity={"partial": False, "layer_by_layer": {"float32": why}}))
    assert f"float32 was replayed layer by layer: {why}." in told
