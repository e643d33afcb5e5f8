"""What a checkpoint states about its packed weights: the `quantization_config` of its config, read without trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What Ascend's ModelSlim writes beside the weights, and vllm-ascend looks for (quantization/modelslim_config.py): of
# each tensor, whether and how it is quantized.
DESCRIPTION_FILE = "quant_model_description.json"


@dataclass(frozen=True, slots=True)
class ScaleBlock:
    """How many rows and how many channels share one scale."""

    rows: int
    cols: int


def quantization(config: Mapping[str, object] | None) -> Mapping[str, object]:
    """The quantization_config, at the top or in the text model's part; empty when there is none."""
    for place in (config, config.get("text_config") if config else None):
        found = place.get("quantization_config") if isinstance(place, Mapping) else None
        if isinstance(found, dict):
            return found
    return {}


def compressed_formats(stated: Mapping[str, object]) -> set[object]:
    """The formats that a compressed-tensors config names, for all weights and for groups of them."""
    return {stated.get("format"), *(group.get("format") for group in _groups(stated))} - {None}


def compressed_bits(stated: Mapping[str, object]) -> int | None:
    """num_bits of a compressed-tensors config, when all its groups agree on one between 1 and 8."""
    found = {_weights(group).get("num_bits") for group in _groups(stated)}
    bits = found.pop() if len(found) == 1 else None
    return bits if isinstance(bits, int) and 1 <= bits <= 8 else None


def compressed_block(stated: Mapping[str, object]) -> ScaleBlock | None:
    """The first block_structure of a compressed-tensors config."""
    blocks = (_block(_weights(group).get("block_structure")) for group in _groups(stated))
    return next((block for block in blocks if block is not None), None)


def fp8_block(stated: Mapping[str, object]) -> ScaleBlock:
    """weight_block_size of a config for 8-bit floats; DeepSeek's 128 x 128 where it states none."""
    return _block(stated.get("weight_block_size")) or ScaleBlock(128, 128)


def _block(stated: object) -> ScaleBlock | None:
    if isinstance(stated, list) and len(stated) == 2 and all(type(n) is int and n > 0 for n in stated):
        return ScaleBlock(*stated)
    return None


def _groups(stated: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    groups = stated.get("config_groups")
    if isinstance(groups, dict):
        yield from (group for group in groups.values() if isinstance(group, dict))


def _weights(group: Mapping[str, object]) -> Mapping[str, object]:
    weights = group.get("weights")
    return weights if isinstance(weights, dict) else {}
