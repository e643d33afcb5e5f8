"""The adapter's model on the real vllm_ascend package, driven step by step as its model runner would.

Ascend's own metadata builder and attention implementation run; only torch_npu is a stand-in (`standins/`). The
runner itself is left out: it wants a device at every turn.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch

_BLOCK = 128


@dataclass
class Sequence:
    """tokens: prompt and answer so far. computed: how many of them have keys in the cache. block: its cache block."""

    prompt: list[int]
    block: int
    computed: int = 0
    answer: list[int] = field(default_factory=list)
    rows: list[torch.Tensor] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        return self.prompt + self.answer


class AscendModel:
    """One engine configuration, one model, one cache with a block table row of `blocks` blocks per sequence."""

    def __init__(self, model: str, max_model_len: int, sequences: int, **overrides: Any) -> None:
        import torch_npu  # noqa: F401 - the stand-in makes torch look like Ascend's

        _register_for_the_cpu()
        from vllm.engine.arg_utils import EngineArgs
        from vllm.platforms import current_platform
        from vllm.plugins import load_general_plugins

        type(current_platform).device_type = "cpu"
        load_general_plugins()
        _apply_worker_patches()
        arguments = EngineArgs(
            model=model,
            dtype="float32",
            max_model_len=max_model_len,
            max_num_seqs=sequences,
            skip_tokenizer_init=True,
            enforce_eager=True,
            **overrides,
        )
        self.config = arguments.create_engine_config()
        self.blocks = -(-max_model_len // _BLOCK)
        self._load(sequences)

    def _load(self, sequences: int) -> None:
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader import get_model

        with set_current_vllm_config(self.config):
            _start_groups()
            _use_ascend_layers(self.config)
            self.model = get_model(vllm_config=self.config).eval()
            self.layers = dict(self.config.compilation_config.static_forward_context)
            first = next(iter(self.layers.values()))
            self.backend = first.attn_backend
            spec = _spec(first)
            builder = self.backend.get_builder_cls()
            self.builder = builder(spec, list(self.layers), self.config, torch.device("cpu"))
        shape = self.backend.get_kv_cache_shape(
            sequences * self.blocks + 1, _BLOCK, first.num_kv_heads, first.head_size
        )
        one_per_engine = isinstance(first.kv_cache, list) and len(first.kv_cache) == 1
        for layer in self.layers.values():
            layer.use_direct_call = True
            cache = torch.full(shape, float("nan"))  # what was never written must never count
            layer.kv_cache = [cache] if one_per_engine else cache

    def step(self, batch: list[Sequence], capturing: bool = False, take: int | None = None) -> None:
        """One forward pass over all tokens not computed yet (at most `take` each); appends the greedy token of each."""
        from vllm_ascend.ascend_forward_context import set_ascend_forward_context

        new = [s.tokens[s.computed :][: take or None] for s in batch]
        metadata = self._metadata(batch, [len(n) for n in new])
        positions = [
            p for s, n in zip(batch, new, strict=True) for p in range(s.computed, s.computed + len(n))
        ]
        count = len(positions)
        by_layer = dict.fromkeys(self.layers, metadata)
        arguments = {"num_tokens": count, "num_actual_tokens": count, "model_instance": self.model}
        known = inspect.signature(set_ascend_forward_context).parameters
        with (
            torch.inference_mode(),
            set_ascend_forward_context(
                by_layer, self.config, **{k: v for k, v in arguments.items() if k in known}
            ),
        ):
            if capturing:
                from vllm_ascend.ascend_forward_context import _EXTRA_CTX

                _EXTRA_CTX.capturing = True
            hidden = self.model(torch.tensor([t for n in new for t in n]), torch.tensor(positions))
            ends = torch.tensor([len(n) for n in new]).cumsum(0) - 1
            logits = self.model.compute_logits(hidden[ends])
        for sequence, tokens, row in zip(batch, new, torch.log_softmax(logits.float(), -1), strict=True):
            sequence.computed += len(tokens)
            sequence.rows.append(row)
            sequence.answer.append(int(row.argmax()))

    def _metadata(self, batch: list[Sequence], lengths: list[int]) -> Any:
        """What Ascend's own builder makes of this step, from the fields that its runner fills in."""
        from vllm_ascend.attention.utils import AscendCommonAttentionMetadata

        starts = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        totals = torch.tensor(
            [s.computed + n for s, n in zip(batch, lengths, strict=True)], dtype=torch.int32
        )
        tables = torch.tensor([range(s.block, s.block + self.blocks) for s in batch], dtype=torch.int32)
        slots = [
            s.block * _BLOCK + p
            for s, n in zip(batch, lengths, strict=True)
            for p in range(s.computed, s.computed + n)
        ]
        fields = {
            "query_start_loc": starts,
            "query_start_loc_cpu": starts,
            "seq_lens": totals,
            "seq_lens_cpu": totals,
            "_seq_lens_cpu": totals,
            "num_reqs": len(batch),
            "num_actual_tokens": int(starts[-1]),
            "num_input_tokens": int(starts[-1]),
            "max_query_len": max(lengths),
            "max_seq_len": int(totals.max()),
            "block_table_tensor": tables,
            "slot_mapping": torch.tensor(slots, dtype=torch.int32),
            "attn_state": _state(batch, lengths),
            "num_computed_tokens_cpu": torch.tensor([s.computed for s in batch]),
        }
        return self.builder.build(0, AscendCommonAttentionMetadata(**fields))

    def sequences(self, prompts: list[list[int]]) -> list[Sequence]:
        # Block 0 is vLLM's null block.
        return [Sequence(list(p), 1 + n * self.blocks) for n, p in enumerate(prompts)]


def _state(batch: list[Sequence], lengths: list[int]) -> Any:
    """The rule of vllm_ascend's model runner (_build_attn_state) with chunked prefill off, no speculation."""
    from vllm_ascend.attention.attention_v1 import AscendAttentionState

    if all(s.computed == 0 for s in batch):
        return AscendAttentionState.PrefillNoCache
    if max(lengths) == 1:
        return AscendAttentionState.DecodeOnly
    return AscendAttentionState.PrefillCacheHit


def _spec(layer: Any) -> Any:
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    return FullAttentionSpec(
        block_size=_BLOCK, num_kv_heads=layer.num_kv_heads, head_size=layer.head_size, dtype=torch.float32
    )


def _register_for_the_cpu() -> None:
    """vllm_ascend registers its composite operators for NPU tensors; the tensors here are the CPU's."""
    from vllm.utils import torch_utils

    register = torch_utils.direct_register_custom_op

    def for_the_cpu(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("dispatch_key") == "PrivateUse1":
            kwargs["dispatch_key"] = "CPU"
        register(*args, **kwargs)

    torch_utils.direct_register_custom_op = for_the_cpu


def _apply_worker_patches() -> None:
    """In the order that avoids vllm_ascend's circular imports (field-notes 10)."""
    from vllm_ascend.utils import adapt_patch

    adapt_patch(is_global_patch=True)
    import vllm_ascend.ops  # noqa: F401


def _start_groups() -> None:
    from vllm.distributed import parallel_state

    parallel_state.init_distributed_environment(1, 0, "tcp://127.0.0.1:0", 0, "gloo")
    parallel_state.ensure_model_parallel_initialized(1, 1)


def _use_ascend_layers(config: Any) -> None:
    """Ascend's own norms, rotary embedding and activations instead of vLLM's, as its worker arranges it."""
    from vllm_ascend.ascend_config import get_ascend_config
    from vllm_ascend.utils import register_ascend_customop, set_weight_prefetch_method

    register_ascend_customop(config)
    set_weight_prefetch_method(get_ascend_config().weight_prefetch_config)
