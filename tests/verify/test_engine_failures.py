"""An engine that cannot: its crash, hang or silence is a failed check with its last words, and stops there."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.verify.conftest import HRM_TEXT, TERNARY
from weightsmith.errors import InvalidConfig, MissingInput, UnknownFormat
from weightsmith.report import render
from weightsmith.verify import Options, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.verify.conftest import Verified


def _copy(model: Path, target: Path) -> Path:
    shutil.copytree(model, target)
    return target


def test_a_lying_config_is_caught_before_any_engine_starts() -> None:
    told: list[str] = []
    result = verify(TERNARY, Options(device="cpu"), told.append)
    found = {check.name: check for check in result.checks}
    assert result.verdict == "fail"
    assert found["config"].verdict == "fail"
    assert "hidden_size is 128, not 160" in found["config"].detail
    assert "infer-config" in found["config"].detail
    assert found["weights"].value == "latent"
    assert found["engine"].verdict == "inconclusive"
    assert told
    assert not [text for text in told if text.startswith("engine")]
    assert result.document()["parity"] == {}


def test_a_model_without_a_config_is_not_started(tmp_path: Path) -> None:
    model = _copy(HRM_TEXT, tmp_path / "m")
    (model / "config.json").unlink()
    result = verify(model, Options(device="cpu"))
    assert result.checks[0].verdict == "fail"
    assert "infer-config" in result.checks[0].detail


def test_what_is_no_folder_and_what_is_no_baseline_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        verify(tmp_path / "absent", Options(device="cpu"))
    with pytest.raises(MissingInput):
        verify(HRM_TEXT, Options(device="cpu", reference=tmp_path / "absent.safetensors"))
    with pytest.raises(UnknownFormat):
        verify(HRM_TEXT, Options(device="cpu", reference=HRM_TEXT / "model.safetensors"))
    with pytest.raises(UnknownFormat):
        verify(HRM_TEXT, Options(device="cpu", reference=HRM_TEXT / "config.json"))


@pytest.mark.engine
def test_a_tokenizer_that_cannot_be_read_fails_the_engine_with_its_reason(tmp_path: Path) -> None:
    model = _copy(HRM_TEXT, tmp_path / "m")
    (model / "tokenizer.json").write_text("{}", encoding="utf-8")
    result = verify(model, Options(device="cpu"))
    (engine,) = [check for check in result.checks if check.name == "engine"]
    assert engine.verdict == "fail"
    assert "while reading the tokenizer" in engine.detail
    assert "❌ fail" in render(result.document()).text


@pytest.mark.engine
def test_what_vllm_does_not_support_fails_the_engine_in_its_own_words(tmp_path: Path) -> None:
    model = _copy(HRM_TEXT, tmp_path / "m")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["hidden_act"] = "gelu"
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = verify(model, Options(device="cpu"))
    (engine,) = [check for check in result.checks if check.name == "engine"]
    assert engine.verdict == "fail"
    assert "while loading the model" in engine.detail
    assert "only supports hidden_act='silu', got 'gelu'" in engine.detail
    assert result.verdict == "fail"


@pytest.mark.engine
def test_an_engine_that_does_not_answer_in_time_is_ended_and_reported() -> None:
    result = verify(HRM_TEXT, Options(device="cpu", engine_timeout=4.0))
    (engine,) = [check for check in result.checks if check.name == "engine"]
    assert engine.verdict == "fail"
    assert "no result within 4 s (killed)" in engine.detail


# The two tests below ask the same engine the same: its top 20 tokens, at most 8 tokens of answer.
PARTIAL: dict[str, Any] = {"max_logprobs": 20, "max_tokens": 8, "save_baseline": None}


@pytest.mark.engine
def test_without_a_reference_nothing_passes_and_own_prompts_are_used(
    own_prompts: Path, verified: Callable[..., Verified]
) -> None:
    found = verified(HRM_TEXT, reference="none", prompts=own_prompts, **PARTIAL)
    assert found.result.verdict == "inconclusive"
    assert found.verdicts["parity"] == "inconclusive"
    assert found.verdicts["facts"] == "pass"
    assert {verdict for name, verdict in found.verdicts.items() if name != "parity"} == {"pass"}
    assert found.engine.left_out_prompts == (1,)
    outcome = found.result.prompts[1].outcome
    assert outcome is not None and outcome.answer is None


@pytest.mark.engine
def test_an_engine_that_gives_only_its_top_tokens_is_compared_in_part_and_says_so(
    own_prompts: Path, verified: Callable[..., Verified]
) -> None:
    found = verified(HRM_TEXT, prompts=own_prompts, **PARTIAL)
    assert found.parity.partial
    assert found.parity.pairs["B-D"].overall.kl_mean < 1e-3
    assert found.verdicts["parity.kl_mean"] == "pass"
    assert "normalised" not in found.verdicts
    assert "Partial: the engine gave its top tokens only" in found.report


@pytest.mark.engine
def test_a_baseline_of_other_questions_is_refused_before_the_engine_starts(
    fused: Verified, fused_folder: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "1+1="}\n', encoding="utf-8")
    told: list[str] = []
    with pytest.raises(InvalidConfig, match="other prompts"):
        verify(fused_folder, Options(device="cpu", reference=fused.baseline, prompts=prompts), told.append)
    model = _copy(fused_folder, tmp_path / "m")
    (model / "tokenizer.json").write_text((model / "tokenizer.json").read_text() + "\n", encoding="utf-8")
    with pytest.raises(InvalidConfig, match=r"another tokenizer \(tokenizer\.json\)"):
        verify(model, Options(device="cpu", reference=fused.baseline), told.append)
    assert told
    assert not [text for text in told if text.startswith("engine")]
