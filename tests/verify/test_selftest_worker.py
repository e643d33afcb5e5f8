"""The self-test's child with a stand-in for vLLM that computes the tiny model's own forward pass."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.numpy import load_file

from tests.verify.handmade import SETTINGS
from weightsmith.process import child
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.selftest import selftest, worker
from weightsmith.verify.selftest import tiny_model as tiny

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.inputs.kinds import Mask


class TinyLLM:
    """mask: what the stand-in takes for right."""

    mask: Mask = "prefix"

    def __init__(self, folder: str, **arguments: Any) -> None:
        self.model = tiny.make()

    def generate(self, requests: list[dict[str, list[int]]], params: Any, use_tqdm: bool) -> list[Any]:
        return [self._output(request["prompt_token_ids"], params.max_tokens) for request in requests]

    def _output(self, prompt: list[int], count: int) -> Any:
        tokens: list[int] = []
        rows = []
        for _ in range(count):
            values = tiny.log_probabilities(self.model, prompt, [*tokens, 0], self.mask)[-1]
            rows.append({n: SimpleNamespace(logprob=float(v)) for n, v in enumerate(values)})
            tokens.append(int(values.argmax()))
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens, logprobs=rows)])


def _run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the child process by a call, and vLLM by the stand-in."""
    registry = SimpleNamespace(models={"HrmTextForCausalLM": SimpleNamespace(module_name="standin")})
    vllm = SimpleNamespace(LLM=TinyLLM, ModelRegistry=registry, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setattr(worker, "read_back", lambda llm: SETTINGS)
    monkeypatch.setattr(selftest, "_PROMPT_LENGTHS", (5, 33))
    device = Device("cpu", "x86", DeviceFacts((), {}))
    monkeypatch.setattr(selftest.devices, "find", lambda asked: device)

    def run(module: str, folder: Path, job: Any, *_: Any) -> child.Outcome:
        folder.mkdir()
        answer = worker.work(json.loads(json.dumps(job)), folder, lambda *_: None)
        assert set(load_file(folder / "engine.safetensors")) == {"p0", "p1"}
        return child.Outcome(json.loads(json.dumps(answer)), None, 1.0)

    monkeypatch.setattr(selftest.child, "run", run)


@pytest.mark.parametrize(("mask", "verdict"), [("prefix", "pass"), ("causal", "fail")])
def test_an_engine_that_masks_rightly_passes_and_another_fails(
    mask: Mask, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_here(monkeypatch)
    monkeypatch.setattr(TinyLLM, "mask", mask)
    result = selftest.self_test("cpu")
    assert result.verdict == verdict, result.checks
    assert result.document()["engine"] == SETTINGS.to_json()
    assert "served by standin" in result.checks[-1].detail


def test_an_answer_that_is_none_is_a_failed_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    _run_here(monkeypatch)
    outcome = child.Outcome({"tokens": "none"}, None, 1.0)
    monkeypatch.setattr(selftest.child, "run", lambda *_: outcome)
    (check,) = selftest.self_test("cpu").checks
    assert (check.name, check.verdict) == ("engine", "fail")
    assert "partial output" in check.detail
