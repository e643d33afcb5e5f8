"""Faults of the running engine: what a wrong port of a model computes while its files are right.

A patch works inside vLLM's own process, on vLLM's own classes, through `injection`: Weightsmith runs as it always
does.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from benchmarks.faults.case import Fault
from benchmarks.faults.hooks import answers, as_loaded, logits, once_loaded, prompts, reads_config_as

if TYPE_CHECKING:
    from benchmarks.faults.case import Model
    from benchmarks.faults.hooks import Patch


def _mask(causal: bool) -> Patch:
    def patch() -> None:
        from vllm.v1.attention.backends.cpu_attn import CPUAttentionMetadataBuilder

        build = CPUAttentionMetadataBuilder.build

        def wrong(self: Any, common_prefix_len: int, common: Any, *arguments: Any, **options: Any) -> Any:
            other = copy.copy(common)
            other.causal = causal
            return build(self, common_prefix_len, other, *arguments, **options)

        CPUAttentionMetadataBuilder.build = wrong

    return patch


def _modules(model: Any, kind: str) -> list[Any]:
    """The modules of one class, by its name."""
    return [module for module in model.modules() if type(module).__name__ == kind]


def _gelu(model: Any) -> None:
    from torch.nn.functional import gelu

    def other(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        gate, up = inputs[0].chunk(2, dim=-1)
        return gelu(gate) * up

    for module in _modules(model, "SiluAndMul"):
        module.register_forward_hook(other)


def _skip_layer(model: Any) -> None:
    """The third layer of the Llama hands on what it was given: (hidden states, residual)."""
    model.model.layers[2].register_forward_hook(lambda module, inputs, output: (inputs[1], inputs[2]))


def _attention(**changes: Any) -> Patch:
    """Sets attributes of every attention implementation."""

    def change(model: Any) -> None:
        for module in model.modules():
            implementation = getattr(module, "impl", None)
            for name, value in changes.items():
                if hasattr(implementation, name):
                    setattr(implementation, name, value)

    return once_loaded(change)


def _swap_kv_heads(model: Any) -> None:
    """The rows of k and v of the Llama's two key-value heads (32 channels each), behind four query heads."""
    for module in _modules(model, "LlamaAttention"):
        weight = module.qkv_proj.weight.data
        for start in (128, 192):
            weight[start : start + 64] = weight[start : start + 64].roll(32, 0)


def _round_kv(model: Any) -> None:
    """Keys and values are cached as fp8 without scales."""
    import torch

    def rounded(tensor: Any) -> Any:
        return tensor.to(torch.float8_e5m2).to(tensor.dtype)

    for module in model.modules():
        store = getattr(getattr(module, "impl", None), "do_kv_cache_update", None)
        if store is not None:
            module.impl.do_kv_cache_update = lambda layer, key, value, *rest, _store=store: _store(
                layer, rounded(key), rounded(value), *rest
            )


def _late_positions(model: Any) -> None:
    """Positions past the first KV block of 128 count double."""

    def shift(module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        positions = options["positions"]
        return inputs, {**options, "positions": positions + (positions - 128).clamp(min=0)}

    model.register_forward_pre_hook(shift, with_kwargs=True)


def _plain_norms(model: Any) -> None:
    """The norms' weights are not loaded: all ones."""
    for module in _modules(model, "RMSNorm"):
        module.weight.data.fill_(1.0)


def _tied_head(model: Any) -> None:
    model.lm_head.weight.data = model.model.embed_tokens.weight.data


def _no_embedding_scale(model: Any) -> None:
    model.model.embedding_scale = 1.0


def _no_initial_state(model: Any) -> None:
    """HRM-Text's first L state is what the memory held, as where its tensor is not loaded (the right one is zeros)."""
    model.model.z_L_init.data.fill_(1.0)


def _no_gate(model: Any) -> None:
    """HRM-Text's sigmoid gate stays at a half: its rows, the first quarter of gqkv_proj, are not loaded."""
    for module in _modules(model, "HrmTextAttention"):
        module.gqkv_proj.weight.data[: module.q_size].zero_()


def _scheduler(**changes: Any) -> Patch:
    """Sets what the scheduler is told, after the engine has decided otherwise."""

    def patch() -> None:
        from vllm.v1.core.sched.scheduler import Scheduler

        start = Scheduler.__init__

        def wrong(self: Any, vllm_config: Any, *arguments: Any, **options: Any) -> None:
            for name, value in changes.items():
                setattr(vllm_config.scheduler_config, name, value)
            start(self, vllm_config, *arguments, **options)

        Scheduler.__init__ = wrong

    return patch


def _chunks_behind_the_back() -> None:
    """Chunked prefill, while the settings that can be read back say that there is none."""
    from vllm.v1.core.sched.scheduler import Scheduler

    start = Scheduler.__init__

    def wrong(self: Any, *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        self.scheduler_config = copy.copy(self.scheduler_config)
        self.scheduler_config.enable_chunked_prefill = True
        self.max_num_scheduled_tokens = 24

    Scheduler.__init__ = wrong


def _noisy(values: Any) -> Any:
    import torch

    return values + 0.05 * torch.randn_like(values)


def _mixed_requests(values: Any) -> Any:
    """Each request sees a tenth of its neighbour's logits; a request alone sees its own."""
    return 0.9 * values + 0.1 * values.roll(1, 0)


def _without_rows(values: Any) -> Any:
    """The vocabulary's last rows are lost, as where a padded head is cut at the wrong place."""
    values[..., 200:] = float("-inf")
    return values


def _capped(values: Any) -> Any:
    """Gemma's soft cap on a model that has none."""
    return 20.0 * (values / 20.0).tanh()


PATCHES: dict[str, Patch] = {
    "causal mask over the prompt": _mask(True),
    "no causal mask": _mask(False),
    "RoPE base 500,000": reads_config_as(rope_parameters={"rope_theta": 500000.0}),
    "RoPE base 1,000,000": reads_config_as(rope_parameters={"rope_theta": 1000000.0}),
    "norm epsilon 1e-2": reads_config_as(rms_norm_eps=1e-2),
    "norm epsilon 1": reads_config_as(rms_norm_eps=1.0),
    "one H cycle instead of two": reads_config_as(H_cycles=1),
    "two L cycles instead of three": reads_config_as(L_cycles=2),
    "GELU for SiLU": once_loaded(_gelu),
    "a layer skipped": once_loaded(_skip_layer),
    "attention scale of another head size": _attention(scale=64**-0.5),
    "attention sees a window of 16": _attention(sliding_window=16),
    "key-value heads exchanged": as_loaded(_swap_kv_heads),
    "keys and values rounded to fp8": once_loaded(_round_kv),
    "positions count double past the first block": once_loaded(_late_positions),
    "norm weights not loaded": as_loaded(_plain_norms),
    "head tied to the embedding": as_loaded(_tied_head),
    "embedding scale lost": once_loaded(_no_embedding_scale),
    "initial state not loaded": as_loaded(_no_initial_state),
    "output gate not loaded": as_loaded(_no_gate),
    "chunked prefill on": _scheduler(
        enable_chunked_prefill=True, max_num_batched_tokens=24, max_num_scheduled_tokens=24
    ),
    "chunked prefill on, settings deny it": _chunks_behind_the_back,
    "wrong tokenizer": prompts(lambda ids: [n ^ 1 if n < 256 else n for n in ids]),
    "a token put before every prompt": prompts(lambda ids: [256, *ids]),
    "condition tokens lost": prompts(lambda ids: ids[3:]),
    "prompts cut to their last 128 tokens": prompts(lambda ids: ids[-128:]),
    "answers handed to the wrong requests": answers(lambda found: found[1:] + found[:1]),
    "noise in the logits": logits(_noisy),
    "requests of a batch leak into each other": logits(_mixed_requests),
    "soft cap on the logits": logits(_capped),
    "temperature 1.25 where none was asked for": logits(lambda values: values / 1.25),
    "last rows of the vocabulary lost": logits(_without_rows),
}

_PARITY = r"^parity\."


def _behaviour(patch: str, model: Model, names: str = _PARITY, unseen: str = "") -> Fault:
    return Fault(patch, "behaviour", model, names, "verify-on-npu", "behaviour", patch=patch, unseen=unseen)


MISBEHAVIOUR: tuple[Fault, ...] = (
    _behaviour("causal mask over the prompt", "hrm"),
    _behaviour("no causal mask", "fused"),
    _behaviour("RoPE base 500,000", "fused"),
    _behaviour("RoPE base 1,000,000", "hrm"),
    _behaviour("norm epsilon 1e-2", "fused"),
    _behaviour(
        "norm epsilon 1e-2",
        "hrm",
        unseen="without effect: beside states that are scaled by 50 it changes less than bf16 does",
    ),
    _behaviour("norm epsilon 1", "hrm"),
    _behaviour("GELU for SiLU", "fused"),
    _behaviour("GELU for SiLU", "hrm"),
    _behaviour("a layer skipped", "fused"),
    _behaviour("one H cycle instead of two", "hrm"),
    _behaviour("two L cycles instead of three", "hrm"),
    _behaviour("embedding scale lost", "hrm"),
    _behaviour("initial state not loaded", "hrm"),
    _behaviour("output gate not loaded", "hrm"),
    _behaviour("attention scale of another head size", "fused"),
    _behaviour("attention sees a window of 16", "fused"),
    _behaviour("key-value heads exchanged", "fused"),
    _behaviour("keys and values rounded to fp8", "fused"),
    _behaviour("positions count double past the first block", "fused"),
    _behaviour("norm weights not loaded", "fused"),
    _behaviour("head tied to the embedding", "fused"),
    _behaviour("chunked prefill on", "hrm", r"^settings: chunked prefill is on"),
    _behaviour("chunked prefill on, settings deny it", "hrm"),
    _behaviour("wrong tokenizer", "fused"),
    _behaviour("a token put before every prompt", "hrm"),
    _behaviour("condition tokens lost", "hrm"),
    _behaviour("prompts cut to their last 128 tokens", "fused"),
    _behaviour("answers handed to the wrong requests", "fused", r"^(parity|determinism)\."),
    _behaviour("noise in the logits", "fused", r"^determinism\."),
    _behaviour("requests of a batch leak into each other", "hrm", r"^(parity|determinism)\."),
    _behaviour("soft cap on the logits", "fused"),
    _behaviour("temperature 1.25 where none was asked for", "hrm"),
    _behaviour("last rows of the vocabulary lost", "fused", r"^(parity|normalised|finite)"),
)
