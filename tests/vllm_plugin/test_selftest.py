"""The self-test's model and verdicts: its forward pass is transformers', and a wrong mask does not pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from weightsmith.verify.selftest import tiny_model as tiny
from weightsmith.verify.selftest.selftest import operator_checks, parity_checks, prompts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mask", ["prefix", "causal"])
def test_the_written_out_forward_pass_is_that_of_transformers(mask: tiny.Mask, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = tiny.make()
    tiny.save(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    prompt, answer = prompts()[3], [1, 2, 3]
    ids = torch.tensor([[*prompt, *answer[:-1]]])
    seen = (torch.arange(ids.shape[1]) < len(prompt)).long()[None] if mask == "prefix" else None
    with torch.no_grad():
        logits = theirs(input_ids=ids, token_type_ids=seen).logits[0, len(prompt) - 1 :]
    right = torch.log_softmax(logits.double(), -1).numpy()
    assert abs(tiny.log_probabilities(model, prompt, answer, mask) - right).max() < 1e-4


def test_the_model_is_small_and_always_the_same(tmp_path: Path) -> None:
    tiny.save(tiny.make(), tmp_path / "a")
    tiny.save(tiny.make(), tmp_path / "b")
    first = (tmp_path / "a" / "model.safetensors").read_bytes()
    assert first == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert len(first) < 1_000_000


def distances(prefix: float, causal: float) -> dict[tuple[tiny.Mask, str], list[float]]:
    return {
        (mask, phase): [value]
        for mask, value in (("prefix", prefix), ("causal", causal))
        for phase in ("prefill", "decode")
    }  # type: ignore[misc]


@pytest.mark.parametrize(
    ("prefix", "causal", "verdicts"),
    [
        (0.03, 0.4, ["pass", "pass", "pass"]),
        (0.4, 0.03, ["fail", "fail", "fail"]),
        (0.03, 0.05, ["pass", "pass", "inconclusive"]),
        (float("nan"), 0.4, ["fail", "fail", "pass"]),
    ],
)
def test_a_wrong_mask_fails_and_an_unfailing_control_proves_nothing(
    prefix: float, causal: float, verdicts: list[str]
) -> None:
    assert [check.verdict for check in parity_checks(distances(prefix, causal))] == verdicts


def test_an_operator_that_returns_nan_fails() -> None:
    found = operator_checks({"right": 0.01, "wrong": 0.9, "broken": float("nan")})
    assert [check.verdict for check in found] == ["pass", "fail", "fail"]


@pytest.mark.engine
def test_the_self_test_passes_here() -> None:
    from weightsmith.verify.selftest.selftest import self_test

    result = self_test("cpu")
    assert result.verdict == "pass", result.checks
