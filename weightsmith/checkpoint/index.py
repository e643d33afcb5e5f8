"""A sharded checkpoint's index: which shards it names, and where it and the shards disagree.

Format (transformers, `*.index.json`): {"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.json_file import JsonLimits, read_json_object
from weightsmith.checkpoint.layout import MOST_TENSORS
from weightsmith.checkpoint.names import check_name, quoted, sample
from weightsmith.checkpoint.table import Problem
from weightsmith.errors import HostileCheckpoint, InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Storage, Tensor
    from weightsmith.json_value import Json

# Grok-1 has 770; each shard is looked up on disk and opened.
MOST_SHARDS = 4_000
# Shards that are told of one by one, where each differs from the index.
_MOST_TOLD = 20
# One comma a tensor, and a hundred notes; the largest real index has 20 MB.
_READ = JsonLimits(64 << 20, MOST_TENSORS + 100)
# What is said where the index and the tensors are not of one checkpoint, by code.
_SAYS = {
    "index-missing-tensor": "{count} tensors that it places in {file} are not there",
    "index-unlisted-tensor": "{count} tensors of {file} are not in the index",
    "index-wrong-file": "{count} tensors that it places in {file} lie in another shard",
}
DISAGREEMENTS = frozenset(_SAYS)


@dataclass(frozen=True, slots=True)
class WeightIndex:
    """What an index file says. files: the shards in name order. total_size: its claim as found, or None."""

    name: str
    weight_map: Mapping[str, str]
    files: tuple[str, ...]
    total_size: Json


def read_index(path: Place) -> WeightIndex:
    """The index at `path`.

    Raises InvalidConfig for a malformed index, HostileCheckpoint for a shard outside the folder.
    """
    value = read_json_object(path, _READ)
    weight_map = value.get("weight_map")
    if not isinstance(weight_map, dict):
        raise InvalidConfig(
            path, "has no weight_map, so it is no checkpoint index", "name the folder or a weights file"
        )
    if not weight_map:
        raise InvalidConfig(
            path, "has an empty weight_map", "delete it: the shards can be read without an index"
        )
    if len(weight_map) > MOST_TENSORS:
        raise HostileCheckpoint(
            path, f"names {len(weight_map):,} tensors", "get the index from a trusted source"
        )
    subject = str(path)
    for name, file in weight_map.items():
        if type(file) is not str:
            raise InvalidConfig(
                path, f"maps {quoted(name)} to something other than a file name", "mend the index"
            )
        check_name(subject, name)
    files = set(weight_map.values())
    if len(files) > MOST_SHARDS:
        raise HostileCheckpoint(path, f"names {len(files):,} files", "get the index from a trusted source")
    for file in files:
        _refuse_outside(path, file)
    metadata = value.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return WeightIndex(path.name, weight_map, tuple(sorted(files)), total)


def _refuse_outside(path: Place, file: str) -> None:
    """A shard's name may only lead downwards from the index's folder.

    A shard that is itself a symbolic link is fine: the hub cache links every file to a blob elsewhere.
    """
    parts = file.split("/")
    if (
        "\\" in file
        or ":" in file
        or not file.isprintable()
        or {"", ".", ".."} & set(parts)
        or len(file) > 1024
    ):
        raise HostileCheckpoint(
            path,
            f"its weight_map names the file {quoted(file)}, which is no plain path inside the folder",
            "get the index from a source that you trust",
        )


def disagreements(index: WeightIndex, tensors: Mapping[str, Tensor]) -> list[Problem]:
    """Where the index and the shards' headers differ, one Problem per code and shard, and one for many more shards.

    Codes: index-missing-tensor (in the index, in no shard), index-unlisted-tensor (in a shard, not in the
    index), index-wrong-file (in another shard than the index says), index-total-size.
    """
    faults: dict[tuple[str, str], list[str]] = {}
    for name, file in index.weight_map.items():
        tensor = tensors.get(name)
        if tensor is None:
            faults.setdefault(("index-missing-tensor", file), []).append(name)
        elif tensor.storage.file != file:
            faults.setdefault(("index-wrong-file", file), []).append(name)
    for name, tensor in tensors.items():
        if name not in index.weight_map:
            faults.setdefault(("index-unlisted-tensor", tensor.storage.file), []).append(name)
    problems = [
        Problem(code, f"{index.name}: {text}", file=index.name)
        for code, says in _SAYS.items()
        for text in _told(says, {file: names for (own, file), names in sorted(faults.items()) if own == code})
    ]
    size = _total_size(index, tensors)
    return [*problems, size] if size else problems


def _told(says: str, shards: Mapping[str, list[str]]) -> Iterator[str]:
    """A phrase for each shard; of many, for the first ones, and one for all others together."""
    listed = list(shards)[: len(shards) if len(shards) <= _MOST_TOLD else _MOST_TOLD - 1]
    for file in listed:
        yield f"{says.format(file=file, count=len(shards[file]))}: {sample(shards[file])}"
    others = [name for file, names in shards.items() if file not in listed for name in names]
    if others:
        count = len(shards) - len(listed)
        yield f"{says.format(file=f'{count} more shards', count=len(others))}: {sample(others)}"


def _total_size(index: WeightIndex, tensors: Mapping[str, Tensor]) -> Problem | None:
    """transformers counts shared bytes once, other writers every tensor: either sum is right."""
    if index.total_size is None:
        return None
    every = sum(tensor.nbytes for tensor in tensors.values())
    counted = type(index.total_size) is not bool
    if counted and (index.total_size == every or index.total_size == _without_shared(tensors)):
        return None
    found = index.total_size if isinstance(index.total_size, (int, float)) else quoted(index.total_size)
    return Problem(
        "index-total-size",
        f"{index.name}: total_size says {quoted(found)}, the tensors have {every} bytes",
        file=index.name,
    )


def _without_shared(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors, those that lie in the same bytes once."""
    once: dict[tuple[Storage, int, tuple[int, ...]], int] = {}
    for tensor in tensors.values():
        once[tensor.storage, tensor.offset * BITS[tensor.dtype], tensor.shape] = tensor.nbytes
    return sum(once.values())
