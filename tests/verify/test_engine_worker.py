"""The worker's own sums: batches that fit, tables of log-probabilities, arguments that a kind of model needs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from enum import Enum, IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.verify import standin_vllm
from tests.verify.handmade import greedy_run, random_logprobs
from weightsmith.verify.engine import engine, logprobs, worker
from weightsmith.verify.engine import read_back as read_back_module
from weightsmith.verify.engine.engine_job import EngineAnswer
from weightsmith.verify.engine.read_back import read_back
from weightsmith.verify.inputs.kinds import CAUSAL, PREFIX_LM
from weightsmith.verify.inputs.prompts import BUILT_IN

if TYPE_CHECKING:
    from weightsmith.verify.engine.device import DeviceKind
    from weightsmith.verify.engine.engine_job import EngineJob
    from weightsmith.verify.inputs.kinds import Kind


def _job(kind: Kind, device: DeviceKind = "cpu") -> EngineJob:
    return engine.job(engine.ModelFolder(Path("model"), 1, 1024), device, kind, ["a", "b", "c"], 32)


def test_batches_are_as_large_as_the_cache_and_lose_nobody() -> None:
    assert worker.together([3, 1, 2], 32) == [[3, 1, 2]]
    assert worker.together(range(7), 3) == [[0, 1, 2], [3, 4, 5], [6]]


def test_ranked_entries_become_a_row_by_token_id() -> None:
    flat = SimpleNamespace(
        start_indices=[0, 4], token_ids=[2, 2, 0, 1, 0, 0, 2, 1], logprobs=[-1, -1, -2, -3, -4, -4, -5, -6]
    )
    ids, values = logprobs._columns(flat)
    dense = logprobs._dense(ids, values, 4)
    assert dense[:, :3].tolist() == [[-2, -3, -1], [-4, -6, -5]]
    assert np.isnan(
        dense[:, 3]
    ).all()  # a token that the engine never named is not taken for an impossible one


def test_dictionaries_read_like_flat_lists() -> None:
    row = {
        2: SimpleNamespace(logprob=-1.0, rank=1),
        1: SimpleNamespace(logprob=-3.0, rank=3),
        0: SimpleNamespace(logprob=-2.0, rank=2),
    }
    ids, values = logprobs._columns([row])
    assert ids.tolist() == [[2, 2, 0, 1]]
    assert values.tolist() == [[-1.0, -1.0, -2.0, -3.0]]


def test_a_prefix_lm_is_asked_for_whole_prompts_and_no_cache() -> None:
    arguments = worker._arguments(_job(PREFIX_LM), longest=309)
    assert arguments["enable_chunked_prefill"] is arguments["enable_prefix_caching"] is False
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"] == 512
    assert arguments["trust_remote_code"] is False


def test_a_causal_model_is_given_chunks_that_a_reference_can_follow() -> None:
    arguments = worker._arguments(_job(CAUSAL), longest=1020)
    assert "enable_prefix_caching" not in arguments
    assert (arguments["enable_chunked_prefill"], arguments["max_num_batched_tokens"]) == (True, 512)
    assert arguments["max_model_len"] == 1024  # never beyond what the model takes
    assert worker._arguments(replace(_job(CAUSAL), max_positions=None), 20)["max_model_len"] == 768


def test_a_model_that_sees_keeps_the_engines_own_chunks() -> None:
    sees = engine.ModelFolder(Path("model"), 1, 1024, text_only=False)
    arguments = worker._arguments(engine.job(sees, "cpu", CAUSAL, ["a"], 32), longest=20)
    assert not {"enable_chunked_prefill", "max_num_batched_tokens"} & arguments.keys()


def test_an_npu_gets_blocks_that_its_attention_takes_and_a_prefix_lm_no_graphs() -> None:
    assert worker._arguments(_job(PREFIX_LM, "npu"), 10)["block_size"] == 128
    assert worker._arguments(_job(PREFIX_LM, "npu"), 10)["enforce_eager"] is True
    assert worker._arguments(_job(CAUSAL, "npu"), 10)["enforce_eager"] is False


def test_without_a_prefix_cache_no_warm_pass_is_run() -> None:
    assert "warm" in [one.name for one in _job(CAUSAL).passes]
    assert "warm" not in [one.name for one in _job(PREFIX_LM).passes]


def test_every_pass_asks_real_prompts_and_the_first_all_of_them() -> None:
    for count in (1, 2, 5, 32, 100):
        passes = engine.passes(count)
        assert passes[0].order == tuple(range(count))
        assert sorted(next(p for p in passes if p.name == "shuffled").order) == list(range(count))
        assert all(set(p.order) <= set(range(count)) and p.order for p in passes)
    assert len(engine.passes(32)[-1].order) <= 8


def test_an_engine_that_hides_its_settings_is_read_as_far_as_it_shows_them() -> None:
    config = SimpleNamespace(model_config=SimpleNamespace(dtype="torch.bfloat16", max_model_len=128))
    found = read_back(SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=config)))
    assert (found.dtype, found.max_model_len, found.block_size) == ("torch.bfloat16", 128, None)
    assert found.attention_backends == ()
    assert found.preemptions is None


def test_settings_that_are_enums_are_read_as_json_has_them() -> None:
    class Mode(IntEnum):
        NONE = 0

    class Cache(str, Enum):
        AUTO = "auto"

    graphs = Enum("Graphs", ["PIECEWISE"])
    config = SimpleNamespace(
        cache_config=SimpleNamespace(cache_dtype=Cache.AUTO, block_size=16),
        compilation_config=SimpleNamespace(mode=Mode.NONE, cudagraph_mode=graphs.PIECEWISE),
    )
    found = read_back(SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=config)))
    assert (found.compilation, found.kv_cache_dtype, found.graph_mode) == (0, "auto", "PIECEWISE")
    assert {type(found.compilation), type(found.kv_cache_dtype)} == {int, str}


def test_eager_mode_is_compared_with_graphs_where_an_engine_has_them(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    graphs = replace(run, settings=replace(run.settings, eager=False))
    assert engine.graphs("cuda", CAUSAL, graphs) is None
    assert engine.graphs("npu", CAUSAL, graphs) is None
    assert "chose to run eager" in str(engine.graphs("npu", CAUSAL, run))
    assert "prefix-LM" in str(engine.graphs("npu", PREFIX_LM, graphs))
    assert "no graphs on a CPU" in str(engine.graphs("cpu", CAUSAL, graphs))


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> type[standin_vllm.LLM]:
    """The engine's child with a stand-in for vLLM; returns its engine class."""
    monkeypatch.setitem(sys.modules, "vllm", standin_vllm)
    monkeypatch.setattr(worker, "_permit_amx", lambda: None)
    monkeypatch.setattr(worker, "peak_bytes", lambda device: 7)
    monkeypatch.setattr(worker, "tokenizer_of", lambda model: standin_vllm.Tokenizer())
    monkeypatch.setattr(read_back_module, "_versions", dict)
    monkeypatch.setattr(standin_vllm.LLM, "most", None)
    return standin_vllm.LLM


def _standin_job() -> EngineJob:
    model = engine.ModelFolder(Path("model"), 1, 40)
    return engine.job(model, "cpu", CAUSAL, ["a", "bb", "c" * 38, "ddd"], 4)


def test_the_childs_answer_becomes_a_run_and_its_file_holds_every_distribution(
    child: type[standin_vllm.LLM], tmp_path: Path
) -> None:
    job = _standin_job()
    document = json.loads(json.dumps(worker.work(job.to_json(), tmp_path, lambda *_: None)))
    answer = EngineAnswer.from_json(document)
    engine.need_whole_completions(answer, job.max_tokens)
    run = engine.read_answer(job, answer, tmp_path, 9.0)
    assert run.left_out == (2,)  # longer than 40 positions leave room for
    assert set(run.passes) == {"batch", "repeat", "warm", "shuffled", "alone"}
    assert run.sized == {
        4: "answered across the end of a KV block of 16",
        5: "past one KV block of 16",
        6: "past two KV blocks of 16",
        7: "as long as the engine takes",
    }
    assert [len(ids) for ids in run.prompt_ids[4:]] == [14, 24, 35, 36]
    assert "the engine takes 36 tokens" in run.not_run["past a chunk of 512"]
    assert list(run.passes["shuffled"].completions) == [3, 1, 0, 4, 5, 6, 7]
    assert list(run.passes["alone"].completions) == [0, 1, 3, 7]
    assert run.passes["batch"].completions[0].tokens == (1, 2, 3, 4)
    assert run.passes["batch"].completions[0].finish == "stop"
    assert run.passes["batch"].completions[0].lead[0] == pytest.approx(np.log(2))
    assert run.texts[1] == "2 3 4"
    assert (run.seconds.whole, run.peak_bytes, run.settings.dtype) == (9.0, 7, "bfloat16")
    # Of the built-in questions, those that the engine has room for; the stand-in's tokenizer knows one letter alone.
    assert run.reading is not None
    assert (run.reading.natural, run.reading.gain) == (-1.0, 0.0)
    assert run.reading.tokens == sum(len(p.text) - 1 for p in BUILT_IN if 4 <= len(p.text) < 40)
    rows = run.logprobs.logprobs(0)
    assert rows.shape == (4, standin_vllm.VOCABULARY)
    assert np.exp(rows).sum(axis=1) == pytest.approx(1)
    assert tuple(rows.argmax(axis=1)) == run.measured[0]


def test_an_engine_that_refuses_the_whole_vocabulary_is_asked_for_its_top_tokens(
    child: type[standin_vllm.LLM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "most", 3)
    job = replace(_standin_job(), max_logprobs=3)
    run = engine.read_answer(job, worker.run_engine(job, tmp_path, lambda *_: None), tmp_path, 9.0)
    assert run.logprobs.partial
    assert run.logprobs.logprobs(0).shape == run.logprobs.ids(0).shape == (4, 3)
    assert run.logprobs.ids(0)[0].tolist() == [1, 2, 3]


def test_a_crowd_is_asked_all_at_once_with_the_longest_prompts_first(
    child: type[standin_vllm.LLM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    generate = child.generate

    def counted(self: standin_vllm.LLM, requests: Any, params: Any, use_tqdm: bool) -> list[Any]:
        asked.append(len(requests))
        return generate(self, requests, params, use_tqdm)

    monkeypatch.setattr(child, "generate", counted)
    job = _standin_job()
    crowd = replace(job, entries=0, passes=(replace(job.passes[0], crowded=True),))
    answer = worker.run_engine(crowd, tmp_path, lambda *_: None)
    assert asked == [7]
    assert list(answer.passes["batch"].completions)[:4] == [4, 5, 6, 7]


def test_a_second_engine_in_eager_mode_measures_nothing(
    child: type[standin_vllm.LLM], tmp_path: Path
) -> None:
    job = replace(_standin_job(), entries=0, passes=_standin_job().passes[:1])
    answer = worker.run_engine(job, tmp_path, lambda *_: None)
    assert answer.measured.tokens == {}
    assert list(engine.read_answer(job, answer, tmp_path, 9.0).passes) == ["batch"]


def test_prompts_of_which_none_fits_are_refused(child: type[standin_vllm.LLM], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no prompt fits 3 positions with 4 new tokens"):
        worker.run_engine(replace(_standin_job(), max_positions=3), tmp_path, lambda *_: None)
