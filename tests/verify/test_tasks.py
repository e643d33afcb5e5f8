"""Tasks: what is expected of them, which are run at all, and what is said of their accuracy."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from tests.verify.handmade import completion, greedy_run, random_logprobs
from weightsmith.cli import commands
from weightsmith.errors import InvalidConfig, MissingInput, Usage, WeightsmithError
from weightsmith.process.child import Failure
from weightsmith.verify.at_server import roomier
from weightsmith.verify.engine import bench, bench_worker
from weightsmith.verify.engine.bench_job import BenchJob, Latency, Load, LoadRun
from weightsmith.verify.engine.server_job import Answers, Bench, Served
from weightsmith.verify.judge import gates, task_checks
from weightsmith.verify.measure.speed import Ratio, ratios
from weightsmith.verify.tasks import tasks
from weightsmith.verify.tasks.expected import Expected, read, share
from weightsmith.verify.tasks.task_job import Item, TaskRun

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.checks import Check
    from weightsmith.verify.engine.engine import EngineRun

LOAD = Load(10, 12, 128, 100)
ONE = Latency(30.0, 29.0, 40.0, 50.0)


def task_run(right: int, count: int, **changed: Any) -> TaskRun:
    items = tuple(Item(f"facts/{n}/ab", float(n < right)) for n in range(count))
    return replace(TaskRun("facts", "exact_match,none", "1.0", 0, items, harness="0.4.13"), **changed)


def load_run(**changed: Any) -> LoadRun:
    made = LoadRun(LOAD, 100, 0, 5.0, 1200, 12800, 2560.0, 2800.0, 20.0, ONE, ONE, ONE, ONE)
    return replace(made, **changed)


def served_with(**changed: Any) -> Served:
    return Served(("/m",), 3.0, Answers({}, {}, ""), clean=True, **changed)


def kept(tmp_path: Path, **changed: Any) -> Path:
    file = tmp_path / "former.json"
    document = {
        "command": "verify-on-npu",
        "tasks": [{**task_run(95, 100).to_json(), "accuracy": 0.95}],
        "bench": {"loads": [load_run().to_json()]},
        "device": {"name": "Ascend910B3"},
        "served": {"words": ["/m", "--dtype", "bfloat16", "--host", "127.0.0.1", "--port", "8000"]},
        "engine": {"versions": {"vllm": "0.18.0", "torch": "2.9.0", "vllm-ascend": "0.18.0rc1"}},
    }
    file.write_text(json.dumps(document | changed), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.703", 0.703),
        ("70.3%", 0.703),
        ("2pp", 0.02),
        ("1", 1.0),
        ("70.3", None),
        ("x", None),
        ("nan", None),
    ],
)
def test_a_share_is_written_in_one_of_three_ways(text: str, value: float | None) -> None:
    assert share(text) == pytest.approx(value)


def test_a_baseline_is_a_number_for_a_task_or_a_former_result(tmp_path: Path) -> None:
    assert read(["0.703"], ["gsm8k"], 0.02) == Expected({"gsm8k": 0.703}, tolerance=0.02)
    assert read(["facts=95%"], ["gsm8k", "/x/facts.yaml"], None).accuracies == {"facts": 0.95}
    found = read([str(kept(tmp_path)), "gsm8k=0.7"], ["facts", "gsm8k"], None)
    assert found.accuracies == {"gsm8k": 0.7}
    assert found.runs["facts"] == task_run(95, 100)
    assert (found.loads, found.device) == ((load_run(),), "Ascend910B3")
    assert found.settings == "--dtype bfloat16"
    assert found.engine == "vllm 0.18.0, vllm-ascend 0.18.0rc1"


def test_a_number_that_belongs_to_no_task_is_refused() -> None:
    for words, named in ((["0.7"], []), (["0.7"], ["a", "b"]), (["c=0.7"], ["a", "b"])):
        with pytest.raises(Usage, match="--baseline"):
            read(words, named, None)


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        read([str(tmp_path / "none.json")], ["a"], None)
    unfit = [task_run(1, 1, items=(Item("facts/0", score),)).to_json() for score in (float("nan"), 7.0)]
    for changed, words in (
        ({"command": "diff"}, "is no result of"),
        ({"tasks": [{"name": "facts"}]}, "is no whole result of"),
        ({"bench": {"loads": 7}}, "is no whole result of"),
        *(({"tasks": [one]}, "no share") for one in unfit),
    ):
        with pytest.raises(InvalidConfig, match=words):
            read([str(kept(tmp_path, **changed))], ["a"], None)


def test_a_task_file_is_found_by_its_path_and_never_in_the_model(tmp_path: Path) -> None:
    model, mine = tmp_path / "model", tmp_path / "mine.yaml"
    model.mkdir()
    for file in (mine, model / "theirs.yaml"):
        file.write_text("task: t\n", encoding="utf-8")
    (tmp_path / "linked.yaml").symlink_to(model / "theirs.yaml")
    assert tasks.found(["gsm8k", str(mine)], model) == ("gsm8k", str(mine))
    for inside in (model / "theirs.yaml", tmp_path / "linked.yaml", model):
        with pytest.raises(Usage, match="a task file is a program"):
            tasks.found([str(inside)], model)
    (tmp_path / "circle.yaml").symlink_to(tmp_path / "circle.yaml")
    for absent in ("none.yaml", "circle.yaml", "long" * 2000 + ".yaml"):
        with pytest.raises(MissingInput, match="is no task file"):
            tasks.found([str(tmp_path / absent)], model)
    with pytest.raises(Usage, match="twice"):
        tasks.found(["gsm8k", "gsm8k"], model)


def _check(run: TaskRun, expected: Expected) -> Check:
    served = served_with(tasks=(run,))
    (found,) = task_checks.task_checks(served, task_checks.results(served, expected))
    return found


def test_a_task_is_judged_by_its_baseline_and_says_how() -> None:
    sound = _check(task_run(92, 100), Expected({"facts": 0.95}, tolerance=0.02))
    assert (sound.name, sound.verdict) == ("task.facts", "inconclusive")
    assert "a drop of 3.00 pp, chance explains up to" in sound.detail
    assert "2.00 pp are tolerated: chance decides" in sound.detail
    assert "too few items to tell it from chance" in sound.detail
    assert "four runs in five would see a true drop of" in sound.detail
    assert _check(task_run(92, 100), Expected({"facts": 0.95})).verdict == "pass"
    assert _check(task_run(60, 100), Expected({"facts": 0.95})).verdict == "fail"


def test_the_baselines_items_are_compared_one_by_one() -> None:
    expected = Expected(runs={"facts": task_run(95, 100)}, source="former.json")
    found = _check(task_run(85, 100), expected)
    assert found.verdict == "fail"
    assert "item by item: 10 lost, 0 gained" in found.detail
    fewer = _check(task_run(45, 50), expected)
    assert "not item by item: the baseline's questions are others" in fewer.detail


def test_without_a_baseline_nobody_knows() -> None:
    assert _check(task_run(9, 10), Expected()).verdict == "inconclusive"
    other = Expected(runs={"facts": task_run(9, 10, metric="acc,none")}, source="f.json")
    assert "the baseline's metric is acc,none" in _check(task_run(9, 10), other).detail


def test_a_task_that_broke_off_fails() -> None:
    served = served_with(tasks=Failure("AnswerError: /v1/completions answers 400", "answering the tasks"))
    (found,) = task_checks.task_checks(served, task_checks.results(served, Expected()))
    assert (found.name, found.verdict) == ("task", "fail")
    odd = served_with(tasks=Failure("t gives an item 37 by bleu", "answering the tasks", refused=True))
    (found,) = task_checks.task_checks(odd, task_checks.results(odd, Expected()))
    assert found.verdict == "inconclusive"


@pytest.fixture
def engine(tmp_path: Path) -> EngineRun:
    return greedy_run(tmp_path / "run.safetensors", {0: random_logprobs(1), 1: random_logprobs(2)})


def _loads(engine: EngineRun, measured: Bench | Failure) -> dict[str, str]:
    found = task_checks.bench_checks(served_with(bench=measured), engine, gates.limits())
    return {check.name: check.verdict for check in found}


def test_a_load_is_answered_whole_and_changes_no_answer(engine: EngineRun) -> None:
    same = dict(engine.passes["batch"].completions)
    other = {**same, 1: completion([1] * 12)}
    assert _loads(engine, Bench((load_run(),), (same, same))) == {"load": "pass", "load.answers": "pass"}
    assert _loads(engine, Bench((load_run(),), (same, other, same)))["load.answers"] == "fail"
    assert _loads(engine, Bench((load_run(completed=99),), (same,)))["load"] == "fail"
    assert _loads(engine, Failure("killed by SIGKILL", "importing vLLM")) == {"load": "fail"}


def test_ratios_are_of_the_same_load() -> None:
    slower = load_run(output_per_s=5120.0, tpot=Latency(1, 14.5, 1, 1))
    assert ratios([load_run()], [slower]) == (Ratio(0.5, 1.0, 2.0, 1.0),)
    assert ratios([load_run()], [load_run(load=Load(1, 12, 128, 10))]) == (Ratio(),)
    assert ratios([load_run()], [load_run(output_per_s=0.0)])[0].output_per_s is None


def test_a_server_for_tasks_has_more_room_and_is_else_the_same() -> None:
    chosen = {"dtype": "bfloat16", "max_model_len": 768, "max_num_batched_tokens": 512}
    assert roomier(chosen, None, {}) == {**chosen, "max_model_len": 4096}
    assert roomier(chosen, 1024, {})["max_model_len"] == 1024
    stretched = {"rope_scaling": {"original_max_position_embeddings": 2048}}
    assert roomier(chosen, 131072, stretched)["max_model_len"] == 2048
    assert roomier(chosen, 512, {})["max_model_len"] == 768, "never less than was chosen"
    whole = {**chosen, "max_num_batched_tokens": 2048, "enable_chunked_prefill": False}
    assert roomier(whole, 8192, {})["max_num_batched_tokens"] == 4096


def test_every_length_is_measured_at_every_concurrency() -> None:
    assert bench.loads([(12, 128)]) == (Load(1, 12, 128, 10), Load(10, 12, 128, 100))


def test_the_client_is_vllms_own_and_takes_these_words() -> None:
    words = bench_worker.words(BenchJob("/m", 8000, "name", (LOAD,), LOAD), LOAD)
    given = dict(pairwise(words))
    assert (given["--max-concurrency"], given["--num-prompts"]) == ("10", "100")
    assert (given["--random-input-len"], given["--random-output-len"]) == ("12", "128")
    assert "--ignore-eos" in words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tolerance", "2"), "--tolerance 2 is no share"),
        (("--bench", "12"), "--bench 12 is not INPUT:OUTPUT"),
        (("--bench", "0:8"), "is not INPUT:OUTPUT"),
        (("--bench", "9" * 5000 + ":8"), "is not INPUT:OUTPUT"),
        (("--baseline", "0.7"), "0.7 belongs to no task"),
        (("--task", "none.yaml"), "is no task file and no folder of them"),
        (("--task", "m/t.yaml"), "lies in the model's folder, and a task file is a program"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_starts_nothing(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "t.yaml").write_text("task: t\n", encoding="utf-8")
    done = CliRunner().invoke(commands, ["verify-on-npu", "m", *words], standalone_mode=False)
    assert isinstance(done.exception, click.ClickException | WeightsmithError)
    assert said in str(done.exception)
