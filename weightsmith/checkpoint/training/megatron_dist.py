"""Megatron's distributed checkpoints (`torch_dist`): every parameter whole, all layers of a kind in one tensor.

`decoder.layers.mlp.linear_fc1.weight` is [layers, rows, columns], experts are [layers, experts, rows, columns]; layers
that are not alike have their number in the name. `common.pt` has the run's args.
Source: megatron/core/dist_checkpointing, transformer/transformer_block.py (sharded_state_dict).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.small_file import is_there
from weightsmith.checkpoint.tiling import row_of, rows_of
from weightsmith.checkpoint.training.limits import MOST_EXPERTS, MOST_LAYERS, need_few, need_few_tensors
from weightsmith.checkpoint.training.megatron_join import need_axes, parameter_of
from weightsmith.checkpoint.training.megatron_names import AHEAD, EMBEDDING, LATENT, canonical
from weightsmith.checkpoint.training.megatron_ranks import claims_of
from weightsmith.checkpoint.training.rank_file import read_rank_file
from weightsmith.checkpoint.training.ways_out import DAMAGED
from weightsmith.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.megatron_join import Joined

_STACKED = re.compile(r"decoder\.layers\.(?![0-9]+\.)(.+)")
_EXPERTS = re.compile(r"(decoder\.layers\.[0-9]+\.mlp\.experts\.)experts\.(linear_fc[12]\.weight)")
_OF_MODEL = ("decoder.", "embedding.", "output_layer.", AHEAD)
_PREFIXES = ("", "module.", "model.", "model.module.")
COMMON = "common.pt"


def prefix_of(tensors: Mapping[str, Tensor]) -> str | None:
    """What stands before Megatron's names in a distributed checkpoint, as NeMo's `module.`; None where it has none of
    these names.
    """
    for prefix in _PREFIXES:
        if prefix + EMBEDDING in tensors and any(
            name.startswith(f"{prefix}decoder.layers.") for name in tensors
        ):
            return prefix
    return None


def joined_model(subject: object, tensors: Mapping[str, Tensor]) -> tuple[Joined, dict[str, Tensor], int]:
    """(the model's parameters by Megatron's names in the whole model, all other tensors of the run, how many tensors of
    heads that look ahead are left out).

    Raises CorruptCheckpoint for a parameter that is no matrix where one of its kind is.
    """
    flat: dict[str, Tensor] = {}
    beside: dict[str, Tensor] = {}
    prefix = prefix_of(tensors) or ""
    for name, tensor in tensors.items():
        own = name.removeprefix(prefix) if name.startswith(prefix) else ""
        new = canonical(own) if own.startswith(_OF_MODEL) else None
        if new is None:
            beside[name] = tensor
        else:
            flat.update(_of_layers(subject, new, tensor))
            need_few_tensors(subject, len(flat))
    latent = any(name.endswith(LATENT) for name in flat)
    table: Joined = {}
    ahead = 0
    for name, tensor in flat.items():
        if name.startswith(AHEAD):
            ahead += 1
            continue
        parameter = parameter_of(name, latent)
        gated = parameter is not None and parameter.cut == "gated"
        try:
            need_axes(name, parameter.cut if parameter else "same", (tensor,))
        except ValueError as error:
            raise CorruptCheckpoint(
                subject, f"holds parts of {quoted(name)} that do not fit together: {error}", DAMAGED
            ) from error
        half = tensor.shape[0] // 2
        table[name] = (rows_of(tensor, 0, half), rows_of(tensor, half, 2 * half)) if gated else (tensor,)
    return table, beside, ahead


def _of_layers(subject: object, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor of many layers, and of many experts, as one tensor for each of them."""
    stacked = _STACKED.fullmatch(name)
    if stacked is None:
        yield from _of_experts(subject, name, tensor)
        return
    need_few(subject, tensor.shape[0] if tensor.shape else 0, MOST_LAYERS, "layers")
    for layer in range(tensor.shape[0] if tensor.shape else 0):
        yield from _of_experts(subject, f"decoder.layers.{layer}.{stacked[1]}", row_of(tensor, layer))


def _of_experts(subject: object, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    experts = _EXPERTS.fullmatch(name)
    if experts is None:
        yield name, tensor
        return
    need_few(subject, tensor.shape[0] if tensor.shape else 0, MOST_EXPERTS, "experts")
    for number in range(tensor.shape[0] if tensor.shape else 0):
        yield f"{experts[1]}{number}.{experts[2]}", row_of(tensor, number)


def common_claims(root: Place) -> dict[str, object]:
    """What the run states of itself in the file that all processes share; nothing where it is not there."""
    return claims_of(read_rank_file(root, COMMON)) if is_there(root / COMMON) else {}
