"""Tasks and loads in the report: every figure of the document, in both languages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.printed import need_schema
from tests.report.test_report import KEPT
from tests.verify.test_tasks import load_run, served_with, task_run
from weightsmith.report import render
from weightsmith.report.document import read
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.engine.startup import Startup
from weightsmith.verify.judge import task_checks
from weightsmith.verify.measure.speed import ratios
from weightsmith.verify.result import BenchFacts, ModelFacts, VerifyResult
from weightsmith.verify.tasks.expected import Expected

if TYPE_CHECKING:
    from weightsmith.report import Language


def _served(expected: Expected) -> dict[str, Any]:
    """A kept document with a task and a load in it, as this version writes them."""
    served = served_with(tasks=(task_run(85, 100),), startup=Startup(weights_s=1.15, kv_gib=48.62))
    loads = (load_run(),)
    found = task_checks.results(served, expected)
    made = VerifyResult(
        model=ModelFacts("m", "causal"),
        device=Device("cpu", "x86", DeviceFacts((), {})),
        checks=task_checks.task_checks(served, found),
        served=served,
        tasks=found,
        bench=BenchFacts(
            loads,
            ratios(loads, expected.loads),
            expected.source,
            expected.device,
            expected.engine,
            expected.settings,
        ),
    ).document()
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    new = {name: made[name] for name in ("served", "tasks", "bench")}
    return {**kept, **new, "checks": [*kept["checks"], *made["checks"]]}  # type: ignore[misc]


FORMER = Expected(
    runs={"facts": task_run(95, 100)},
    loads=(replace(load_run(), output_per_s=5120.0),),
    source="former.json",
    device="Ascend910B3",
    engine="vllm 0.18.0",
    settings="--dtype bfloat16",
    tolerance=0.02,
)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_task_and_a_load_have_all_their_figures_in_the_report(language: Language) -> None:
    text = render(_served(FORMER), language=language).text
    for figure in ("exact_match,none", "85.0%", "95.0%", "10.00", "2.00", "0.4.13", "former.json"):
        assert figure in text
    for figure in ("100/100", "2560.0", "2800.0", "29.0 / 40.0 / 50.0", "0.029 / 0.040 / 0.050", "0.50 ×"):
        assert figure in text
    for figure in ("Ascend910B3", "vllm 0.18.0; --dtype bfloat16", "1.15 s", "48.62 GiB"):
        assert figure in text


def test_what_was_run_is_no_longer_called_untested() -> None:
    untested = render(_served(FORMER)).text.split("## Known problems")[0]
    assert "no task was run" not in untested
    kept = render(json.loads(KEPT.read_text(encoding="utf-8"))).text
    assert "no task was run" in kept.split("## Known problems")[0]


def test_without_a_former_run_there_are_no_ratios() -> None:
    document = _served(Expected())
    assert document["tasks"][0]["against"] is None
    for one in (document, _served(FORMER)):
        need_schema(json.loads(json.dumps(one)))
    text = render(document).text
    assert "×" not in text.split("## Under load")[1].split("\n## ")[0]


def test_the_document_says_how_a_task_was_judged() -> None:
    (found,) = _served(FORMER)["tasks"]
    assert found["accuracy"] == 0.85
    assert found["items"][0] == {"id": "facts/0/ab", "score": 1.0}
    judged = found["against"]
    assert (judged["verdict"], judged["decided_by"], judged["lost"], judged["gained"]) == (
        "fail",
        "chance",
        10,
        0,
    )
    assert read(_served(FORMER), "x.json").tasks[0].scores["facts/0/ab"] == 1.0
