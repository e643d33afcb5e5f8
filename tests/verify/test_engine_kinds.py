"""Models that are not text decoders in a real vLLM: one that makes vectors, and one that takes pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.verify import tiny_models
from weightsmith.report import render
from weightsmith.verify.inputs.pictures import NAMES
from weightsmith.verify.options import Options
from weightsmith.verify.verification import verify

# What an untrained model fails whatever the engine does.
SIGNS = {"distribution", "readable", "reading", "order", "prompted", "script"}

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.result import VerifyResult

pytestmark = pytest.mark.engine


def _verify(model: Path, **chosen: bool) -> VerifyResult:
    plain = {"cache": False, "long_tokens": 0, "preemption": False, "known_texts": False}
    return verify(model, Options(device="cpu", **{**plain, **chosen}))


def _verdicts(result: VerifyResult) -> dict[str, str]:
    return {check.name: check.verdict for check in result.checks}


def test_vectors_are_the_references_and_every_wrong_reference_is_caught(scratch: Path) -> None:
    result = _verify(tiny_models.bert(scratch / "bert"))
    assert result.verdict == "pass", _verdicts(result)
    controls = {name for name in _verdicts(result) if name.startswith("control.")}
    assert controls == {"control.layer-skipped", "control.wrong-pooling", "control.not-normalised"}
    found = result.vectors
    assert found is not None
    assert (found.task, found.pooling, found.normalised, found.width) == (
        "embed",
        "MEAN",
        True,
        tiny_models.WIDTH,
    )
    assert set(found.repeated) == {"repeat", "shuffled", "alone"}
    for pair in found.pairs.values():
        assert pair.cosine_min is not None
        assert pair.cosine_min > 0.999
    assert found.rows[-1].text == (f"({found.rows[-1].tokens} tokens)",)
    assert found.rows[-1].tokens > max(row.tokens for row in found.rows[:-1])
    assert "vllm serve" in (text := render(result.document()).text)
    assert "--runner pooling" in text


def test_the_text_follows_the_picture_as_it_does_in_the_reference(scratch: Path) -> None:
    """Nobody has trained the model: what it says is noise, but it is the reference's noise."""
    result = _verify(tiny_models.idefics3(scratch / "idefics3"))
    verdicts = _verdicts(result)
    expected = {
        "pictures.tokens",
        "pictures.noise",
        "pictures.follow",
        "control.other-picture",
        "parity.noise",
    }
    assert {name: verdicts.get(name) for name in expected} == dict.fromkeys(expected, "pass")
    assert {name for name, verdict in verdicts.items() if verdict == "fail"} <= SIGNS
    shown = [row for row in result.prompts if any(row.prompt.startswith(f"({name}") for name in NAMES)]
    assert len(shown) == len(NAMES)
    assert all(row.parity and row.outcome and row.outcome.token_ids for row in shown)
