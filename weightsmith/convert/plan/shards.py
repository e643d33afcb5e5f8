"""Which tensor goes into which file, by the Hugging Face rules, and the index that says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.checkpoint.index import MOST_SHARDS
from weightsmith.checkpoint.names import quoted
from weightsmith.convert.plan.header import size_of
from weightsmith.errors import ConversionRefused
from weightsmith.formats import bytes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.convert.protocol import Output

SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# A file for each tensor is what a smaller limit comes to; 2^60 bytes are more than any file system takes.
_SMALLEST, _LARGEST = 1000, 1 << 60
_OPTION, _WAY_OUT = "--max-shard-size", "write it like 5GB, 500MB or 2GiB"


def parse_size(text: str) -> int:
    """ "5GB" -> 5_000_000_000. Raises ConversionRefused for anything but a positive number with a unit."""
    size = bytes_of(text)
    if size is None:
        raise ConversionRefused(_OPTION, f"{quoted(text)} is no size", _WAY_OUT)
    if not _SMALLEST <= size <= _LARGEST:
        raise ConversionRefused(
            _OPTION, f"{quoted(text)} is less than {_SMALLEST:,} bytes, or more than any disk has", _WAY_OUT
        )
    return int(size)


def split(outputs: Sequence[Output], max_shard_size: int) -> dict[str, list[Output]]:
    """File name -> tensors, in the order given.

    As huggingface_hub's split_torch_state_dict_into_shards: a tensor larger than the limit gets a file of its
    own, any other opens a new file when it does not fit into the current one. Raises ConversionRefused for more files
    than anybody reads.
    """
    shards: list[list[Output]] = []
    current: list[Output] = []
    filled = 0
    for output in outputs:
        size = size_of(output)
        if size > max_shard_size:
            shards.append([output])
            continue
        if current and filled + size > max_shard_size:
            shards.append(current)
            current, filled = [], 0
        current.append(output)
        filled += size
    if current:
        shards.append(current)
    if len(shards) == 1:
        return {SINGLE_FILE: shards[0]}
    count = len(shards)
    if count > MOST_SHARDS:
        raise ConversionRefused(
            _OPTION, f"{max_shard_size:,} bytes make {count:,} files, more than {MOST_SHARDS:,}", _WAY_OUT
        )
    return {f"model-{n:05d}-of-{count:05d}.safetensors": shard for n, shard in enumerate(shards, 1)}


def index(shards: Mapping[str, Sequence[Output]]) -> bytes | None:
    """The bytes of the index file; None for a single file, which has none."""
    if len(shards) == 1:
        return None
    weight_map = {output.name: file for file, outputs in shards.items() for output in outputs}
    total = sum(size_of(output) for outputs in shards.values() for output in outputs)
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
