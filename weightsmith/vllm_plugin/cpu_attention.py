"""vLLM's CPU attention with whole prompts in both directions: causal first, then the prompts' rows again.

The kernel of vLLM 0.18 and 0.23 is wrong for `causal=False` with a KV cache (keys beyond the sequence leak in up to
the next multiple of 32) and right for `causal=True` (field-notes 10). So it runs causally, which also fills the
cache, and the rows of whole prompts are computed again from the keys and values at hand.
"""

from __future__ import annotations

from typing import Any

from torch.nn.functional import scaled_dot_product_attention

from weightsmith.vllm_plugin.whole_prompts import Span, whole_prompts

# Set on the metadata object, which lives for one step and is shared by all layers.
_SPANS = "weightsmith_whole_prompts"


def cpu_prefix_backend(stock: type[Any]) -> type[Any]:
    impl = _bidirectional(stock.get_impl_cls())
    names = {"__module__": __name__, "get_impl_cls": staticmethod(lambda: impl)}
    return type("PrefixLM" + stock.__name__, (stock,), names)


def _bidirectional(stock: type[Any]) -> type[Any]:
    class PrefixLMAttentionImpl(stock):
        def forward(
            self,
            layer: Any,
            query: Any,
            key: Any,
            value: Any,
            kv_cache: Any,
            attn_metadata: Any,
            output: Any = None,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            result = super().forward(
                layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs
            )
            if attn_metadata is None:  # warm-up
                return result
            for span in spans_of(attn_metadata):
                overwrite(output, query, key, value, span, self.scale)
            return result

    return PrefixLMAttentionImpl


def spans_of(metadata: Any) -> tuple[Span, ...]:
    """Whole prompts of a step's metadata (query_start_loc and seq_lens on the CPU), found once per step."""
    spans: tuple[Span, ...] | None = getattr(metadata, _SPANS, None)
    if spans is None:
        spans = whole_prompts(metadata.query_start_loc[1:].tolist(), metadata.seq_lens.tolist())
        setattr(metadata, _SPANS, spans)
    return spans


def overwrite(output: Any, query: Any, key: Any, value: Any, span: Span, scale: float) -> None:
    """Unmasked attention over one prompt; all tensors [tokens, heads, head_dim], equally many heads."""
    rows = slice(span.start, span.stop)
    q, k, v = (tensor[rows].transpose(0, 1)[None] for tensor in (query, key, value))
    attended = scaled_dot_product_attention(q, k, v, scale=scale)
    output[rows] = attended[0].transpose(0, 1).reshape(output[rows].shape)
