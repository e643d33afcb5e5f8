"""CPU reference versions of the Ascend operators that the adapter's model reaches, after their documentation.

npu_fused_infer_attention_score, layout TND: query [T, N, D]; actual_seq_lengths are cumulative over the queries.
Without a block table the keys are [T, N, D] and their lengths cumulative as well; with one the cache is
[blocks, block_size, N·D] and the lengths are per sequence. sparse_mode 0 applies atten_mask as it stands (row and
column 0 of the mask at the first query and key; no mask, no masking); sparse_mode 3 is causal, aligned to the last key,
and wants the compressed 2048×2048 triangle as atten_mask. A mask entry of 1 hides.
"""

from __future__ import annotations

from typing import Any

import torch

from torch_npu.schemas import published

_TRIANGLE = 2048


def _cache_rows(cache: torch.Tensor, table: torch.Tensor, length: int, heads: int) -> torch.Tensor:
    """Keys or values [length, heads, D] of one sequence, out of a paged cache [blocks, block_size, heads·D]."""
    block_size = cache.shape[1]
    blocks = table[: -(-length // block_size)].long()
    return cache[blocks].reshape(-1, heads, cache.shape[2] // heads)[:length]


def _hidden(mode: int, mask: torch.Tensor | None, queries: int, keys: int) -> torch.Tensor | None:
    """Bool [queries, keys], True where a key is hidden from a query; None for nothing hidden."""
    if mode == 0:
        return None if mask is None else mask[:queries, :keys].bool()
    if mode == 3:
        if mask is None or tuple(mask.shape) != (_TRIANGLE, _TRIANGLE):
            raise ValueError("sparse_mode 3 wants the compressed 2048×2048 mask")
        if not torch.equal(mask[:8, :8].bool(), torch.ones(8, 8).triu(1).bool()):
            raise ValueError("sparse_mode 3: the mask is no upper triangle")
        return torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    raise NotImplementedError(f"sparse_mode {mode}")


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, hidden: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Plain attention in fp32: query [Tq, N, D], key and value [Tk, Nkv, D]."""
    groups = query.shape[1] // key.shape[1]
    q, k, v = (t.float().transpose(0, 1) for t in (query, key, value))
    scores = q @ k.repeat_interleave(groups, 0).transpose(1, 2) * scale
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    out = scores.softmax(-1) @ v.repeat_interleave(groups, 0)
    return out.transpose(0, 1).to(query.dtype)


def _fused_infer(**a: Any) -> torch.Tensor:
    query, key, value, table = a["query"], a["key"], a["value"], a["block_table"]
    if a["input_layout"] != "TND":
        raise NotImplementedError(f"layout {a['input_layout']}")
    if query.dim() != 3 or query.shape[1] != a["num_heads"]:
        raise ValueError(f"TND query is {tuple(query.shape)} with {a['num_heads']} heads")
    kv_heads = a["num_key_value_heads"] or a["num_heads"]
    ends, lengths = a["actual_seq_lengths"], a["actual_seq_lengths_kv"]
    if ends[-1] != query.shape[0]:
        raise ValueError(f"cumulative query lengths end at {ends[-1]}, the query has {query.shape[0]} tokens")
    if table is not None:
        if key.dim() != 3 or key.shape[1] != a["block_size"] or a["block_size"] % 128:
            raise ValueError(f"paged key is {tuple(key.shape)} with block_size {a['block_size']}")
        if table.dtype != torch.int32 or table.shape[0] != len(ends) or len(lengths) != len(ends):
            raise ValueError("block_table int32 and lengths must have one row per sequence")
    elif list(lengths) != list(ends) or key.shape[0] != query.shape[0]:
        raise ValueError("without a block table the keys are this step's own")
    out, start = torch.empty_like(query), 0
    for n, end in enumerate(ends):
        if table is None:
            k, v = key[start:end], value[start:end]
        else:
            k = _cache_rows(key, table[n], lengths[n], kv_heads)
            v = _cache_rows(value, table[n], lengths[n], kv_heads)
        hidden = _hidden(a["sparse_mode"], a["atten_mask"], end - start, k.shape[0])
        out[start:end] = _attend(query[start:end], k, v, hidden, a["scale"])
        start = end
    return out


class _FusedInfer:
    """An operator with an `.out` overload, as torch packets are called."""

    @staticmethod
    @published("npu_fused_infer_attention_score")
    def __call__(**a: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return _fused_infer(**a), torch.zeros(1)

    @staticmethod
    @published("npu_fused_infer_attention_score.out")
    def out(**a: Any) -> tuple[torch.Tensor, torch.Tensor]:
        a["out"][0].copy_(_fused_infer(**a).view_as(a["out"][0]))
        return a["out"][0], a["out"][1]


npu_fused_infer_attention_score = _FusedInfer()


@published("_npu_fused_infer_attention_score_get_max_workspace")
def _npu_fused_infer_attention_score_get_max_workspace(**_: Any) -> torch.Tensor:
    return torch.zeros(1)


@published("_npu_reshape_and_cache")
def _npu_reshape_and_cache(key: Any, value: Any, key_cache: Any, value_cache: Any, slot_indices: Any) -> None:
    """key, value [T, N, D] into caches [blocks, block_size, N, D] at int32 slots block·block_size + offset."""
    if slot_indices.dtype != torch.int32:
        raise ValueError(f"slot_indices are {slot_indices.dtype}, int32 is wanted")
    slots = slot_indices.long()
    key_cache.view(-1, *key_cache.shape[2:])[slots] = key
    value_cache.view(-1, *value_cache.shape[2:])[slots] = value


@published("_npu_rotary_embedding")
def _npu_rotary_embedding(
    positions: Any, query: Any, key: Any, head_size: int, cos_sin_cache: Any, is_neox_style: bool
) -> None:
    """Rotates query and key [T, N·head_size] in place; cache [positions, head_size]: cosines, then sines."""
    if not is_neox_style:
        raise NotImplementedError("interleaved rotary embedding")
    cos, sin = cos_sin_cache[positions].float().chunk(2, -1)
    for tensor in (query, key):
        heads = tensor.view(tensor.shape[0], -1, head_size)
        first, second = heads.float().chunk(2, -1)
        c, s = cos[:, None], sin[:, None]
        heads.copy_(torch.cat((first * c - second * s, second * c + first * s), -1))


@published("npu_rms_norm")
def npu_rms_norm(input: Any, gamma: Any, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = input.float()
    rstd = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
    return (x * rstd * gamma.float()).to(input.dtype), rstd


@published("npu_swiglu")
def npu_swiglu(input: Any, dim: int) -> torch.Tensor:
    gate, up = input.chunk(2, dim)
    return torch.nn.functional.silu(gate) * up
