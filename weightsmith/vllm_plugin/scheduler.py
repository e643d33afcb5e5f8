"""A scheduler under which no request is ever preempted, and which says so loudly should one be after all."""

from __future__ import annotations

from typing import Any

from vllm.v1.core.sched.scheduler import Scheduler


class PreemptionWouldCorrupt(RuntimeError):
    """A prefix-LM's request lost its KV cache; going on would answer wrongly without an error."""


class WholePromptScheduler(Scheduler):
    """Admits a request only when the cache can hold it and all running ones at their full length.

    vLLM preempts when the cache runs out while requests grow, and prefills a preempted request again with its
    answer so far as part of the prompt. Under a causal mask that changes nothing; here the answer would see
    itself in both directions. So room is kept for everything that was admitted.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._allocate = self.kv_cache_manager.allocate_slots
        self.kv_cache_manager.allocate_slots = self._allocate_if_it_fits

    def _allocate_if_it_fits(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        is_new = request.num_computed_tokens == 0
        if is_new and self.running and self._growth(request) + self._owed() > self._free():
            return None
        return self._allocate(request, *args, **kwargs)

    def _owed(self) -> int:
        """Blocks that the running requests do not have yet and may still ask for."""
        return sum(self._growth(request) for request in self.running)

    def _growth(self, request: Any) -> int:
        """Blocks from what `request` holds to its longest possible end, over all groups of layers."""
        tokens = min(request.num_prompt_tokens + request.max_tokens, self.max_model_len)
        blocks = -(-tokens // self.cache_config.block_size)
        held = self.kv_cache_manager.get_block_ids(request.request_id)
        return sum(max(0, blocks - len(group)) for group in held)

    def _free(self) -> int:
        return int(self.kv_cache_manager.block_pool.get_num_free_blocks())

    def _preempt_request(self, request: Any, *args: Any, **kwargs: Any) -> None:
        raise PreemptionWouldCorrupt(
            f"request {request.request_id} was to be preempted: its answer so far would be prefilled again as "
            "part of the prompt, which HRM-Text sees in both directions; give the KV cache more memory, or lower "
            "max_model_len or max_num_seqs, and do not reset running requests"
        )
