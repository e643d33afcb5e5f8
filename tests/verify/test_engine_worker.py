"""The worker's own sums: batches that fit, tables of log-probabilities, arguments that a kind of model needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from tests.verify.handmade import greedy_run, random_logprobs
from weightsmith.verify.engine import engine, logprobs, worker
from weightsmith.verify.engine.read_back import read_back
from weightsmith.verify.inputs.kinds import CAUSAL, PREFIX_LM

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
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"] == 384
    assert arguments["trust_remote_code"] is False


def test_a_causal_model_keeps_the_engines_own_defaults() -> None:
    arguments = worker._arguments(_job(CAUSAL), longest=1020)
    assert (
        not {"enable_chunked_prefill", "enable_prefix_caching", "max_num_batched_tokens"} & arguments.keys()
    )
    assert arguments["max_model_len"] == 1024  # never beyond what the model takes


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


def test_eager_mode_is_compared_with_graphs_where_an_engine_has_them(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    graphs = replace(run, settings=replace(run.settings, eager=False))
    assert engine.graphs("cuda", CAUSAL, graphs) is None
    assert engine.graphs("npu", CAUSAL, graphs) is None
    assert "chose to run eager" in str(engine.graphs("npu", CAUSAL, run))
    assert "prefix-LM" in str(engine.graphs("npu", PREFIX_LM, graphs))
    assert "no graphs on a CPU" in str(engine.graphs("cpu", CAUSAL, graphs))
