"""Overhead is what is neither the engine's nor the reference's own work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.verify.handmade import greedy_run, random_logprobs, references
from weightsmith.verify.measure.cost import overhead

if TYPE_CHECKING:
    from pathlib import Path


def test_what_the_stages_do_not_explain_is_overhead(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    seconds = {"import": 5.0, "load": 20.0, "after_load": 8.0, "measuring": 2.0, "whole": 40.0}
    run = replace(run, seconds=seconds)  # 32 s of start, and 4 passes of a second each
    twin = replace(references(), seconds={"load float32": 3.0, "reference float32": 6.0, "whole": 12.0})
    found = overhead(50.0, run, twin)
    assert found["overhead"] == pytest.approx(50 - 32 - 4 - 2 - 9)
    assert found["overhead_share"] == pytest.approx(3 / 50)
    assert overhead(50.0, run, None)["overhead"] == pytest.approx(50 - 32 - 4 - 2)


def test_a_second_engine_is_engine_time(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    twin = replace(run.runs["batch"], seconds=1.0, engine_seconds=30.0)
    both = replace(run, runs={**run.runs, "eager": twin})
    assert overhead(60.0, both, None)["overhead"] == pytest.approx(overhead(30.0, run, None)["overhead"])
