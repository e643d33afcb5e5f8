"""A baseline is written whole, beside nothing else, and reads back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.verify.handmade import greedy_run, random_logprobs
from weightsmith.errors import TargetRefused
from weightsmith.verify.measure import baseline

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.engine.engine import EngineRun

IDENTITY = baseline.Identity("causal", ("one", "two"), {}, {})


def _run(folder: Path) -> EngineRun:
    return greedy_run(folder, {0: random_logprobs(0), 1: random_logprobs(1)})


def test_what_was_there_is_replaced_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "base.safetensors"
    path.parent.mkdir()
    path.write_text("old")
    run = _run(tmp_path / "run")
    baseline.save(path, IDENTITY, "cpu", run, None)
    found = baseline.load(path)
    assert found.identity == IDENTITY
    assert (found.device_logprobs().logprobs(1) == run.logprobs.logprobs(1)).all()
    assert [entry.name for entry in path.parent.iterdir()] == ["base.safetensors"]


def test_one_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetRefused, match="cannot be written"):
        baseline.save(tmp_path / "absent" / "base", IDENTITY, "cpu", _run(tmp_path / "run"), None)
