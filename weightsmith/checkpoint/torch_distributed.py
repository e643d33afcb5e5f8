"""torch's distributed checkpoints: a folder with `.metadata` and, for each writing process, a `.distcp` file.

`.metadata` is a pickle of plain data classes: for every tensor its dtype, shape and chunks, and for every chunk
the bytes of a file, in which lies a torch zip archive of that chunk alone.
Source: torch/distributed/checkpoint/metadata.py (the classes) and filesystem.py (`_StorageInfo`, `_write_item`).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.distributed_objects import (
    CHUNK,
    INFO,
    METADATA,
    TENSOR,
    DistributedVocabulary,
    entry,
)
from weightsmith.checkpoint.folder import METADATA_FILE
from weightsmith.checkpoint.layout import shape_fault
from weightsmith.checkpoint.names import check_name, quoted
from weightsmith.checkpoint.pickle_machine import read_pickle
from weightsmith.checkpoint.pickle_state import Inert
from weightsmith.checkpoint.place import open_file
from weightsmith.checkpoint.small_file import is_there
from weightsmith.checkpoint.table import Checkpoint, Tensor
from weightsmith.checkpoint.tiling import tiled, tiling_fault
from weightsmith.checkpoint.torch_dtypes import DTYPES
from weightsmith.checkpoint.torch_objects import DType
from weightsmith.checkpoint.torch_zip import LARGEST_PICKLE, read_single_tensor
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, MissingInput, UnknownFormat

if TYPE_CHECKING:
    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.checkpoint.place import Place

# 82 opcodes and 7 calls a chunk, half as many more with Megatron's plans. The weights and two moments of 300 tensors in
# 128 processes are 115,000 chunks. Measured: 0.1 ms a chunk for the pickle, 0.4 ms for its archive.
_MOST_STEPS, _MOST_CHUNKS = 25_000_000, 150_000
_DAMAGED = "the checkpoint is damaged; copy it again from where it was written"


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A block of a tensor: where it begins in it, its shape, and the bytes of a file that hold it."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    nbytes: int


def read_torch_distributed(path: Place, root: Place) -> Checkpoint:
    """The table of the folder `root`: every tensor, optimizer state included, under its flat name.

    Raises MissingInput (a file is absent), CorruptCheckpoint, HostileCheckpoint, or UnknownFormat (compressed chunks).
    """
    subject = str(root / METADATA_FILE)
    shapes, places = _metadata(root)
    tensors: dict[str, Tensor] = {}
    _refuse_many_chunks(subject, shapes)
    with ExitStack() as stack:
        files: dict[str, ByteFile] = {}
        read: dict[tuple[str, int, int], Tensor] = {}
        for name, described in shapes.items():
            if not (isinstance(described, Inert) and described.name == TENSOR):
                continue  # BytesStorageMetadata: a pickled number or list
            check_name(subject, name)
            dtype, shape, chunks = _described(subject, name, described, places)
            for chunk in chunks:
                if chunk.file not in files:
                    files[chunk.file] = stack.enter_context(_open(root, chunk.file))
            pieces = [_piece(files[c.file], name, dtype, c, read) for c in chunks]
            if not pieces:
                _refuse(subject, f"names no chunk of the tensor {quoted(name)}")
            tensors[name] = tiled(name, pieces[0].dtype, shape, pieces)
    if not tensors:
        raise CorruptCheckpoint(subject, "describes no tensors", _DAMAGED)
    sizes = {name: files[name].size for name in sorted(files)}
    return Checkpoint(path, root, "torch-distributed", sizes, tensors, METADATA_FILE, {}, ())


def _metadata(root: Place) -> tuple[dict[str, object], dict[str, object]]:
    """Descriptions by tensor name; storage infos by `entry`."""
    with open_file(root / METADATA_FILE, METADATA_FILE) as file:
        if file.size > LARGEST_PICKLE:
            raise HostileCheckpoint(
                file.subject,
                f"has {file.size:,} bytes, more than {LARGEST_PICKLE:,}",
                "no honest checkpoint describes so many tensors",
            )
        vocabulary = DistributedVocabulary(file.subject)
        found, _ = read_pickle(file.read(0, file.size), 0, file.subject, vocabulary, _MOST_STEPS)
        state = _state(found, METADATA)
        shapes, places = state.get("state_dict_metadata"), state.get("storage_data")
        if not isinstance(shapes, dict) or not isinstance(places, dict):
            raise CorruptCheckpoint(file.subject, "does not describe a distributed checkpoint", _DAMAGED)
        return shapes, places


def _state(value: object, name: str) -> dict[str, object]:
    """The fields of a data class; none where it is another."""
    state = value.state if isinstance(value, Inert) and value.name == name else None
    return state if isinstance(state, dict) else {}


def _described(
    subject: str, name: str, described: object, places: dict[str, object]
) -> tuple[str, tuple[int, ...], list[_Chunk]]:
    """(torch dtype, shape, chunks; empty ones, of processes without a part of it, left out)."""
    state = _state(described, TENSOR)
    properties, size, listed = state.get("properties"), state.get("size"), state.get("chunks")
    told = properties.state if isinstance(properties, Inert) else None
    dtype = told[0] if isinstance(told, tuple) and told else None
    if not isinstance(dtype, DType) or not isinstance(size, tuple) or not isinstance(listed, list):
        _refuse(subject, f"describes the tensor {quoted(name)} without dtype, shape or chunks")
    fault = shape_fault(size)
    if fault:
        _refuse(subject, f"describes the tensor {quoted(name)} wrongly: {fault}")
    chunks = [_chunk(subject, name, size, _state(chunk, CHUNK), places) for chunk in listed]
    fault = tiling_fault(size, [(chunk.offsets, chunk.sizes) for chunk in chunks])
    if fault:
        _refuse(subject, f"names chunks of {quoted(name)} that do not make up its {list(size)}: {fault}")
    full = [chunk for chunk in chunks if 0 not in chunk.sizes]
    return dtype.name, size, full or chunks[:1]


def _chunk(
    subject: str, name: str, size: tuple[int, ...], state: dict[str, object], places: dict[str, object]
) -> _Chunk:
    offsets, sizes = state.get("offsets"), state.get("sizes")
    if (
        not isinstance(offsets, tuple)
        or not isinstance(sizes, tuple)
        or shape_fault(sizes)
        or shape_fault(offsets)
    ):
        _refuse(subject, f"describes a chunk of {quoted(name)} without offsets and sizes")
    if not len(offsets) == len(sizes) == len(size):
        _refuse(subject, f"describes a chunk of {quoted(name)} with another number of axes")
    if any(o + s > n for o, s, n in zip(offsets, sizes, size, strict=True)):
        _refuse(subject, f"describes a chunk of {quoted(name)} that reaches outside of it")
    info = _state(places.get(entry(name, offsets)), INFO)
    file, start, nbytes = info.get("relative_path"), info.get("offset"), info.get("length")
    if type(file) is not str or type(start) is not int or type(nbytes) is not int:
        _refuse(subject, f"does not say where the chunk of {quoted(name)} at {offsets} lies")
    if info.get("transform_descriptors"):
        raise UnknownFormat(
            subject, f"holds {quoted(name)} transformed (compressed)", "save it again without extensions"
        )
    if os.path.basename(file) != file or file in ("", ".", ".."):  # noqa: PTH119 - text, not a path yet
        raise HostileCheckpoint(
            subject, f"names the file {quoted(file)}, which is none of its folder", "do not trust it"
        )
    return _Chunk(offsets, sizes, file, start, nbytes)


def _open(root: Place, name: str) -> ByteFile:
    if not is_there(root / name):
        raise MissingInput(
            root / METADATA_FILE,
            f"names {quoted(name)}, which is not there",
            "copy the missing file of the checkpoint",
        )
    return open_file(root / name, name)


def _refuse_many_chunks(subject: str, shapes: dict[str, object]) -> None:
    """One list of chunks may be named by thousands of tensors: chunks are counted, not the lists."""
    lists = (_state(described, TENSOR).get("chunks") for described in shapes.values())
    count = sum(len(chunks) for chunks in lists if isinstance(chunks, list))
    if count > _MOST_CHUNKS:
        raise HostileCheckpoint(
            subject,
            f"describes {count:,} chunks of tensors, more than {_MOST_CHUNKS:,}",
            "join it where torch is: python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIR FILE",
        )


def _piece(
    file: ByteFile, name: str, dtype: str, chunk: _Chunk, read: dict[tuple[str, int, int], Tensor]
) -> Tensor:
    """The chunk's own archive, compared with what `.metadata` says of it. read: the archives that have been read."""
    place = (chunk.file, chunk.start, chunk.nbytes)
    if place not in read:
        read[place] = read_single_tensor(file.section(chunk.start, chunk.nbytes), name)
    tensor = replace(read[place], name=name, corner=chunk.offsets)
    if (tensor.dtype, tensor.shape) != (DTYPES[dtype][1], chunk.sizes):
        stated = f"{dtype} {list(chunk.sizes)}"
        _refuse(file.subject, f"holds {quoted(name)} as {tensor.dtype} {list(tensor.shape)}, not {stated}")
    return tensor


def _refuse(subject: str, fact: str) -> NoReturn:
    raise CorruptCheckpoint(subject, fact, _DAMAGED)
