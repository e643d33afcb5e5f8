"""Checkpoints of headers alone."""

from __future__ import annotations

from benchmarks.fits.models import write_headers as write

__all__ = ["llama", "llama_config", "write"]


def llama(
    layers: int, hidden: int, inner: int, heads: int, kv_heads: int, vocabulary: int
) -> dict[str, tuple[int, ...]]:
    """The tensors of a Llama whose head is its embedding."""
    kept = hidden // heads * kv_heads
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    for layer in range(layers):
        before = f"model.layers.{layer}."
        shapes |= {
            before + "input_layernorm.weight": (hidden,),
            before + "post_attention_layernorm.weight": (hidden,),
            before + "self_attn.q_proj.weight": (hidden, hidden),
            before + "self_attn.k_proj.weight": (kept, hidden),
            before + "self_attn.v_proj.weight": (kept, hidden),
            before + "self_attn.o_proj.weight": (hidden, hidden),
            before + "mlp.gate_proj.weight": (inner, hidden),
            before + "mlp.up_proj.weight": (inner, hidden),
            before + "mlp.down_proj.weight": (hidden, inner),
        }
    return shapes


def llama_config(
    layers: int, hidden: int, inner: int, heads: int, kv_heads: int, vocabulary: int
) -> dict[str, object]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "rope_theta": 10000.0,
    }
