"""Where a patch gets into the engine: its config, its weights, its logits, the prompts in and the answers out.

Each function returns a patch: a function without arguments that is called once in vLLM's own process, before the
engine is built, and wraps one of vLLM's own functions. They need the CPU build of vLLM 0.32, in one process and
without graphs, as `verify-on-npu --device cpu` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

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
