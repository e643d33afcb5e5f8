"""The scheduler admits only what it can carry to the end, on vLLM's own class with a small cache."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


def scheduler(free: int, held: dict[str, int]) -> Any:
    """Ours without vLLM's construction: 16 tokens a block, `free` blocks left, `held` blocks by request."""
    from weightsmith.vllm_plugin.scheduler import WholePromptScheduler

    made = WholePromptScheduler.__new__(WholePromptScheduler)
    made.running = []
    made.max_model_len = 128
    made.cache_config = SimpleNamespace(block_size=16)
    made.kv_cache_manager = SimpleNamespace(
        block_pool=SimpleNamespace(get_num_free_blocks=lambda: free),
        get_block_ids=lambda name: ([0] * held.get(name, 0),),
    )
    made._allocate = lambda request, *_, **__: "blocks"
    return made


def request(name: str, prompt: int, answer: int, computed: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        request_id=name, num_prompt_tokens=prompt, max_tokens=answer, num_computed_tokens=computed
    )


def test_a_request_waits_until_everyone_admitted_can_finish() -> None:
    # a holds 2 of the 4 blocks it may grow to; b needs 4: six are wanted.
    for free, admitted in ((5, False), (6, True)):
        one = scheduler(free, {"a": 2})
        one.running = [request("a", 20, 40, computed=20)]
        assert bool(one._allocate_if_it_fits(request("b", 60, 4), 60)) is admitted


def test_the_first_request_is_never_kept_waiting() -> None:
    assert scheduler(1, {})._allocate_if_it_fits(request("a", 100, 1000), 100) == "blocks"


def test_a_request_that_runs_gets_the_room_kept_for_it() -> None:
    one = scheduler(0, {"a": 2})
    running = request("a", 20, 40, computed=20)
    one.running = [running]
    assert one._allocate_if_it_fits(running, 1) == "blocks"


def test_preemption_is_loud() -> None:
    from weightsmith.vllm_plugin.scheduler import PreemptionWouldCorrupt

    with pytest.raises(PreemptionWouldCorrupt, match="prefilled again"):
        scheduler(0, {})._preempt_request(request("a", 20, 40), 0.0)
