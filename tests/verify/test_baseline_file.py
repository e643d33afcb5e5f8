"""A baseline is written whole, beside nothing else, and reads back."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from safetensors import safe_open

from tests.verify.handmade import greedy_run, random_logprobs
from weightsmith.errors import MissingInput, TargetRefused, UnknownFormat
from weightsmith.verify.inputs.kinds import CAUSAL
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


def _forged(path: Path, facts: str) -> Path:
    header = json.dumps({"__metadata__": {"weightsmith.baseline": facts}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


@pytest.mark.parametrize(
    "facts",
    [
        "[" * 100_000,
        '{"version": 1, "kind": ' + "[" * 100_000,
        "9" * 5000,
        '{"version": 1e999}',
        '{"version": 1}',
        "[]",
        '{"version": 1, "kind": "causal", "prompts": [], "tokenizer": [], "weights": {}}',
    ],
)
def test_a_forged_one_is_one_line(tmp_path: Path, facts: str) -> None:
    with pytest.raises(UnknownFormat) as caught:
        baseline.load(_forged(tmp_path / "base", facts))
    assert len(str(caught.value)) < 500


def test_one_that_lacks_what_it_speaks_of_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    baseline.save(path, IDENTITY, "cpu", _run(tmp_path / "run"), None)
    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()["weightsmith.baseline"]
    with pytest.raises(UnknownFormat, match=r"no whole baseline \(D\.p0\.logprobs is not there"):
        baseline.load(_forged(tmp_path / "forged", facts))


def test_a_pipe_is_no_baseline_and_no_vocabulary(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "vocab.txt")
    with pytest.raises(MissingInput, match="no regular file"):
        baseline.load(tmp_path / "vocab.txt")
    with pytest.raises(MissingInput, match=r"vocab\.txt: is no regular file"):
        baseline.identify(tmp_path, CAUSAL, (), ())
