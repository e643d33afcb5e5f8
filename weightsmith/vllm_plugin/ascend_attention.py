"""vLLM-Ascend's attention with whole prompts in both directions: metadata says so, and its kernels are told.

What the stock package does (its attention_v1.py, read and run, field-notes 10): 0.18 passes the causal triangle
whatever the metadata says; 0.23 honours `causal=False` when eager, and in full-graph decode passes the triangle with
it. Decoding needs no exception from causality, so only steps with prompts in them are marked non-causal.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from weightsmith.vllm_plugin.whole_prompts import whole_prompts

_CHECKED = "weightsmith_whole_prompts"


class CapturedPrefill(RuntimeError):
    """A graph with a prompt in it: its mask would be fixed to the causal one."""


def ascend_prefix_backend(stock: type[Any]) -> type[Any]:
    """`stock` with our metadata builder, and with our implementation around its own."""
    builder = _marking(stock.get_builder_cls())
    impl = _unmasked(stock.get_impl_cls())
    names = {
        "__module__": __name__,
        "get_builder_cls": staticmethod(lambda: builder),
        "get_impl_cls": staticmethod(lambda: impl),
    }
    return type("PrefixLM" + stock.__name__, (stock,), names)


def honours_causal(impl: type[Any]) -> bool:
    """True if this package's prefill reads `causal` from its metadata: 0.18 does not, 0.23 does.

    Looked up in the code itself, since packages between and around the two are patched by hand on many images.
    """
    return "causal" in impl.forward_fused_infer_attention.__code__.co_names


def _marking(stock: type[Any]) -> type[Any]:
    class PrefixLMMetadataBuilder(stock):
        def build(self, common_prefix_len: int, common_attn_metadata: Any, *args: Any, **kwargs: Any) -> Any:
            marked = copy(common_attn_metadata)
            marked.causal = marked.max_query_len == 1
            return super().build(common_prefix_len, marked, *args, **kwargs)

    return PrefixLMMetadataBuilder


def _unmasked(stock: type[Any]) -> type[Any]:
    honours = honours_causal(stock)

    class PrefixLMAttentionImpl(stock):
        def forward_fused_infer_attention(
            self, query: Any, key: Any, value: Any, attn_metadata: Any, output: Any, *args: Any, **kwargs: Any
        ) -> Any:
            if not attn_metadata.causal:
                _refuse_capture()
                _check(attn_metadata)
                if not honours:
                    return _attend_unmasked(self, query, key, value, attn_metadata, output)
            return super().forward_fused_infer_attention(
                query, key, value, attn_metadata, output, *args, **kwargs
            )

    return PrefixLMAttentionImpl


def _refuse_capture() -> None:
    from vllm_ascend.ascend_forward_context import _EXTRA_CTX

    if _EXTRA_CTX.capturing:
        raise CapturedPrefill(
            "HRM-Text: a step with more than one token per sequence is being captured as a graph; set "
            "cudagraph_mode to FULL_DECODE_ONLY, PIECEWISE or NONE"
        )


def _check(metadata: Any) -> None:
    """Refuses partial prompts, once per step; all layers share the metadata object."""
    if not getattr(metadata, _CHECKED, False):
        whole_prompts(metadata.actual_seq_lengths_q, metadata.seq_lens_list)
        setattr(metadata, _CHECKED, True)


def _attend_unmasked(impl: Any, query: Any, key: Any, value: Any, metadata: Any, output: Any) -> Any:
    """The package's own operator, over the keys that it chose itself, without a mask.

    npu_fused_infer_attention_score with sparse_mode 0 and no atten_mask lets every query of a sequence see all of
    its actual_seq_lengths_kv keys (its documentation, "sparse_mode"): right for a whole prompt and for one new
    token, and `_check` has made sure that there is nothing else.
    """
    import torch_npu

    key, value, block_size, block_table, key_lengths = impl._get_fia_params(key, value, metadata)
    tokens = metadata.actual_seq_lengths_q[-1]
    if block_table is None:  # a batch of prompts only: keys and values of this step, padding cut off
        key, value = key[:tokens], value[:tokens]
    attended, _ = torch_npu.npu_fused_infer_attention_score(
        query=query[:tokens],
        key=key,
        value=value,
        block_table=block_table,
        input_layout="TND",
        block_size=block_size,
        actual_seq_lengths=metadata.actual_seq_lengths_q,
        actual_seq_lengths_kv=key_lengths,
        num_key_value_heads=impl.num_kv_heads,
        num_heads=impl.num_heads,
        scale=impl.scale,
        sparse_mode=0,
    )
    output[:tokens] = attended.view(tokens, impl.num_heads, impl.head_size)
    return output
