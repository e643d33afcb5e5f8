"""Probes Ascend's attention operators themselves, in the forms that the HRM-Text adapter uses, against fp32.

Each probe calls the operator on the NPU in bfloat16 and computes the same attention on the CPU in float32; what comes
back is the largest absolute difference. Inputs are standard normal, so outputs are of order 1 and bfloat16 rounding is
0.01 to 0.02.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Several of the sizes that break kernels: one token, odd, one block exactly, a block and one, several blocks.
LENGTHS = (1, 5, 37, 128, 129, 300)
HEADS, HEAD_DIM, BLOCK = 2, 128, 128
_MASK = 2048  # side of the compressed causal mask that sparse_mode 3 takes


def probe_operators(device: str = "npu") -> dict[str, float]:
    """Name of the question → largest absolute difference from fp32."""
    import torch
    import torch_npu

    torch.manual_seed(0)
    scale = HEAD_DIM**-0.5
    total = sum(LENGTHS)
    q, k, v = (torch.randn(total, HEADS, HEAD_DIM).to(torch.bfloat16) for _ in range(3))
    ends = [sum(LENGTHS[: n + 1]) for n in range(len(LENGTHS))]
    triangle = torch.ones(_MASK, _MASK).triu(1).to(torch.int8).to(device)
    caches, table, slots = _paged(k, v, device)
    torch_npu._npu_reshape_and_cache(
        key=k.to(device), value=v.to(device), key_cache=caches[0], value_cache=caches[1], slot_indices=slots
    )
    keys, values = (cache.view(cache.shape[0], BLOCK, -1) for cache in caches)
    last = [end - 1 for end in ends]
    lengths, ones = list(LENGTHS), list(range(1, len(LENGTHS) + 1))
    whole = _reference(q, k, v, ends, scale, masked=False)
    causal = _reference(q, k, v, ends, scale, masked=True)
    run = partial(_attend, device, scale)
    masked = {"sparse_mode": 3, "atten_mask": triangle}
    found = {
        "whole prompts without a mask": (run((q, k, v), ends, ends, sparse_mode=0), whole),
        "whole prompts under the causal mask": (run((q, k, v), ends, ends, **masked), causal),
        "whole prompts without a mask, from the cache": (
            run((q, keys, values), ends, lengths, sparse_mode=0, block_table=table),
            whole,
        ),
        "decode under the causal mask, from the cache": (
            run((q[last], keys, values), ones, lengths, block_table=table, **masked),
            causal[last],
        ),
    }
    return {name: float((got - right).abs().max()) for name, (got, right) in found.items()}


def _attend(
    device: str,
    scale: float,
    inputs: tuple[Tensor, Tensor, Tensor],
    q_ends: list[int],
    kv_lengths: list[int],
    **more: Tensor | int,
) -> Tensor:
    """The operator as vllm_ascend calls it (attention_v1.py): TND, cumulative query lengths.

    inputs: query, key and value. Returns [tokens, heads, head_dim] in float32 on the CPU.
    """
    import torch_npu

    query, key, value = (tensor.to(device) for tensor in inputs)
    out, _ = torch_npu.npu_fused_infer_attention_score(
        query=query,
        key=key,
        value=value,
        input_layout="TND",
        block_size=BLOCK,
        actual_seq_lengths=q_ends,
        actual_seq_lengths_kv=kv_lengths,
        num_key_value_heads=HEADS,
        num_heads=HEADS,
        scale=scale,
        **more,
    )
    return out.reshape(-1, HEADS, HEAD_DIM).float().cpu()


def _paged(k: Tensor, v: Tensor, device: str) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Empty caches [blocks, BLOCK, heads, head_dim], int32 block table and slots; blocks in reverse order."""
    import torch

    per = [-(-length // BLOCK) for length in LENGTHS]
    blocks = list(range(sum(per), 0, -1))
    rows, slots = [], []
    for length, count in zip(LENGTHS, per, strict=True):
        mine, blocks = blocks[:count], blocks[count:]
        rows.append(mine + [0] * (max(per) - count))
        slots += [mine[p // BLOCK] * BLOCK + p % BLOCK for p in range(length)]
    shape = (sum(per) + 1, BLOCK, HEADS, HEAD_DIM)
    caches = tuple(torch.zeros(shape, dtype=k.dtype, device=device) for _ in (k, v))
    table = torch.tensor(rows, dtype=torch.int32, device=device)
    return (caches[0], caches[1]), table, torch.tensor(slots, dtype=torch.int32, device=device)


def _reference(q: Tensor, k: Tensor, v: Tensor, ends: list[int], scale: float, *, masked: bool) -> Tensor:
    """Attention of every sequence on the CPU in float32, [tokens, heads, head_dim]."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    out, start = [], 0
    for end in ends:
        query, key, value = (t[start:end].float().transpose(0, 1)[None] for t in (q, k, v))
        attended = scaled_dot_product_attention(query, key, value, scale=scale, is_causal=masked)
        out.append(attended[0].transpose(0, 1))
        start = end
    return torch.cat(out)
