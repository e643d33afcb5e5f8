"""Where a patch gets into the engine: its config, its weights, its logits, the prompts in and the answers out.

Each function returns a patch: a function without arguments that is called once in vLLM's own process, before the
engine is built, and wraps one of vLLM's own functions. They need the CPU build of vLLM 0.32, in one process and
without graphs, as `verify-on-npu --device cpu` runs it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Patch = Callable[[], None]


def reads_config_as(**changes: Any) -> Patch:
    """The engine believes other values than config.json has, as a port with its own defaults does."""

    def patch() -> None:
        from vllm.config import model as room

        read = room.get_config

        def wrong(*arguments: Any, **options: Any) -> Any:
            config = read(*arguments, **options)
            for name, value in changes.items():
                old = getattr(config, name)
                setattr(config, name, {**old, **value} if isinstance(value, dict) else value)
            return config

        room.get_config = wrong

    return patch


def once_loaded(change: Callable[[Any], None]) -> Patch:
    """Changes the loaded model, an nn.Module, in place."""

    def patch() -> None:
        from vllm.v1.worker.cpu_model_runner import CPUModelRunner

        load = CPUModelRunner.load_model

        def wrong(self: Any, *arguments: Any, **options: Any) -> None:
            load(self, *arguments, **options)
            change(self.model)

        CPUModelRunner.load_model = wrong

    return patch


def as_loaded(change: Callable[[Any], None]) -> Patch:
    """Changes the weights in place between their loading and their packing for the CPU's kernels."""

    def patch() -> None:
        from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

        load = DefaultModelLoader.load_weights

        def wrong(self: Any, model: Any, *arguments: Any, **options: Any) -> None:
            load(self, model, *arguments, **options)
            change(model)

        DefaultModelLoader.load_weights = wrong

    return patch


def logits(change: Callable[[Any], Any]) -> Patch:
    """Changes the logits [requests, vocabulary] that the model hands to the sampler."""

    def wrap(model: Any) -> None:
        compute = model.compute_logits
        model.compute_logits = lambda *arguments, **options: change(compute(*arguments, **options))

    return once_loaded(wrap)


def prompts(change: Callable[[list[int]], list[int]]) -> Patch:
    """Changes the token ids of every prompt on their way into the engine."""

    def patch() -> None:
        import vllm

        generate = vllm.LLM.generate

        def wrong(self: Any, requests: Any, *arguments: Any, **options: Any) -> Any:
            changed = [{"prompt_token_ids": change(list(r["prompt_token_ids"]))} for r in requests]
            return generate(self, changed, *arguments, **options)

        vllm.LLM.generate = wrong

    return patch


def answers(change: Callable[[list[Any]], list[Any]]) -> Patch:
    """Changes the list of answers on its way out of the engine."""

    def patch() -> None:
        import vllm

        generate = vllm.LLM.generate
        vllm.LLM.generate = lambda self, *arguments, **options: change(generate(self, *arguments, **options))

    return patch


def attention(change: Callable[[Any], None]) -> Patch:
    """Changes, in place, a copy of what the attention of one step is told: lengths and block tables of its requests."""

    def patch() -> None:
        from vllm.v1.attention.backends.cpu_attn import CPUAttentionMetadataBuilder

        build = CPUAttentionMetadataBuilder.build

        def wrong(self: Any, common_prefix_len: int, common: Any, *arguments: Any, **options: Any) -> Any:
            other = copy.copy(common)
            other.seq_lens, other.block_table_tensor = (
                common.seq_lens.clone(),
                common.block_table_tensor.clone(),
            )
            change(other)
            return build(self, common_prefix_len, other, *arguments, **options)

        CPUAttentionMetadataBuilder.build = wrong

    return patch


def segments() -> Iterator[tuple[int, int, int]]:
    """Of each request of the running step: its first token and its last + 1 in the batch, and its whole length."""
    from vllm.forward_context import get_forward_context

    told = get_forward_context().attn_metadata
    if not told:  # a dry run
        return
    one = next(iter(told.values()))
    starts = one.query_start_loc.tolist()
    yield from zip(starts, starts[1:], one.seq_lens.tolist(), strict=False)


def positions(change: Callable[[Any], Any]) -> Patch:
    """Changes the positions [tokens] that the model is given."""

    def wrap(model: Any) -> None:
        def shift(module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
            return inputs, {**options, "positions": change(options["positions"])}

        model.register_forward_pre_hook(shift, with_kwargs=True)

    return once_loaded(wrap)


def cache_slots(change: Callable[[Any], Any]) -> Patch:
    """Changes where keys and values are written: slots [tokens], -1 for nowhere."""

    def wrap(model: Any) -> None:
        for module in model.modules():
            store = getattr(getattr(module, "impl", None), "do_kv_cache_update", None)
            if store is not None:
                module.impl.do_kv_cache_update = lambda layer, key, value, cache, slots, _store=store: _store(
                    layer, key, value, cache, change(slots)
                )

    return once_loaded(wrap)


def resumed(change: Callable[[Any, int], None]) -> Patch:
    """Changes a request that was preempted, when it comes back: the runner's batch, and the request's row in it."""

    def patch() -> None:
        from vllm.v1.worker.gpu_model_runner import GPUModelRunner

        update = GPUModelRunner._update_states

        def wrong(self: Any, scheduled: Any, *arguments: Any, **options: Any) -> Any:
            found = update(self, scheduled, *arguments, **options)
            for request in scheduled.scheduled_cached_reqs.resumed_req_ids:
                change(self.input_batch, self.input_batch.req_id_to_index[request])
            return found

        GPUModelRunner._update_states = wrong

    return patch
