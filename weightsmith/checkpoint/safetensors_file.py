"""safetensors: the header of one file, read more strictly than the reference reader does.

Layout (safetensors README): u64 little-endian header length, JSON header, then the data; the ranges of the
tensors cover the data from its first to its last byte, without holes or overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.json_file import JsonFaultError, JsonLimits, parse_object
from weightsmith.checkpoint.layout import MOST_TENSORS_IN_FILE, row_major, shape_fault
from weightsmith.checkpoint.names import check_name, quoted
from weightsmith.checkpoint.table import FilePart, Problem, Storage, Tensor
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint

if TYPE_CHECKING:
    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.json_value import Json

# safetensors/src/tensor.rs, MAX_HEADER_SIZE.
LARGEST_HEADER = 100_000_000
# What is read of it. The header of the largest published model, were all its 210,000 tensors in one file, has 30 MB;
# MOST_TENSORS_IN_FILE with four axes each have a million values.
_READ = JsonLimits(40_000_000, 10 * MOST_TENSORS_IN_FILE)
_KEYS = {"dtype", "shape", "data_offsets"}
_STRICTER = "the reference reader accepts this, weightsmith does not, because two readers could see two files"
_SHARDS = "no published model needs so much in one file; save it in several shards, with short metadata"
_DAMAGED = "the file is damaged; download it again or save it again"


def read_safetensors(file: ByteFile) -> FilePart:
    """The tensors of one safetensors file, in the order of their bytes. Raises CorruptCheckpoint."""
    header, data_start = _header(file)
    metadata = _metadata(file, header.pop("__metadata__", None))
    if max(len(header), len(metadata)) > MOST_TENSORS_IN_FILE:
        raise HostileCheckpoint(
            file.subject,
            f"describes {max(len(header), len(metadata)):,} tensors or notes, more than {MOST_TENSORS_IN_FILE:,}",
            _SHARDS,
        )
    entries = [_entry(file, name, value) for name, value in header.items()]
    entries.sort()
    tensors: dict[str, Tensor] = {}
    unaligned: list[str] = []
    expected = 0
    for begin, end, name, dtype, shape in entries:
        if begin != expected:
            what = "overlaps the one before" if begin < expected else "leaves a hole before it"
            _refuse(file, f"tensor {quoted(name)} starts at data byte {begin:,}, not {expected:,}: it {what}")
        if begin * 8 % BITS[dtype]:
            unaligned.append(name)
        storage = Storage(file.name, data_start + begin, end - begin)
        tensors[name] = Tensor(name, dtype, shape, storage, 0, row_major(shape))
        expected = end
    if data_start + expected != file.size:
        missing = data_start + expected - file.size
        what = (
            f"{missing:,} bytes are missing" if missing > 0 else f"{-missing:,} bytes follow the last tensor"
        )
        _refuse(file, f"has {file.size:,} bytes but its header describes {data_start + expected:,}: {what}")
    problems: tuple[Problem, ...] = ()
    if unaligned:
        text = f"{file.name}: {len(unaligned)} tensors do not start at a multiple of their element size"
        problems = (Problem("unaligned", f"{text} (first: {quoted(unaligned[0])}); memory-mapping is slow"),)
    return FilePart("safetensors", tensors, metadata, problems, data_start)


def _header(file: ByteFile) -> tuple[dict[str, Json], int]:
    """The parsed header and the byte at which the data starts."""
    if file.size < 10:
        _refuse(file, f"has {file.size} bytes, too few for a safetensors file")
    length = int.from_bytes(file.read(0, 8), "little")
    if length > LARGEST_HEADER:
        _refuse(file, f"states a header of {length:,} bytes, more than the format's {LARGEST_HEADER:,}")
    if 8 + length > file.size:
        _refuse(file, f"states a header of {length:,} bytes but has only {file.size:,} bytes in all")
    if length > _READ.bytes:
        raise HostileCheckpoint(
            file.subject,
            f"has a header of {length:,} bytes, more than {_READ.bytes:,}",
            _SHARDS,
        )
    raw = file.read(8, length)
    if not raw.startswith(b"{"):
        _refuse(file, f"the header starts with {quoted(raw[:8])}, not with '{{'", _STRICTER)
    if not raw.rstrip(b" ").endswith(b"}"):
        _refuse(file, "the header ends with something other than '}' and spaces", _STRICTER)
    try:
        return parse_object(raw, limits=_READ), 8 + length
    except JsonFaultError as fault:
        way_outs = {"twice in one object": _STRICTER, "holds more than": _SHARDS}
        way_out = next((way for words, way in way_outs.items() if words in fault.fact), _DAMAGED)
        _refuse(file, f"the header {fault.fact}", way_out)


def _metadata(file: ByteFile, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse(file, "__metadata__ is no object")
    for key, text in value.items():
        if not isinstance(text, str):
            _refuse(file, f"__metadata__ holds something other than text under {quoted(key)}")
    return value


def _entry(file: ByteFile, name: str, value: object) -> tuple[int, int, str, str, tuple[int, ...]]:
    """(first byte, end byte, name, dtype, shape) of one header entry; bytes count from the data's start."""
    check_name(file.subject, name)
    if not isinstance(value, dict):
        _refuse(file, f"the header's entry {quoted(name)} is no object")
    if value.keys() != _KEYS:
        keys = ", ".join(sorted(quoted(key, 40) for key in list(value)[:4])) or "nothing"
        _refuse(file, f"tensor {quoted(name)} is described by {keys}, not by dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    bits = BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        _refuse(file, f"tensor {quoted(name)} has the unknown dtype {quoted(dtype)}", "update weightsmith")
    fault = shape_fault(shape)
    if fault:
        _refuse(file, f"tensor {quoted(name)}: {fault}")
    if not isinstance(offsets, list) or [type(offset) for offset in offsets] != [int, int]:
        _refuse(file, f"tensor {quoted(name)}: data_offsets are not two whole numbers")
    begin, end = offsets
    if not 0 <= begin <= end <= file.size:
        _refuse(
            file, f"tensor {quoted(name)}: data_offsets [{quoted(begin)}, {quoted(end)}] lie outside the file"
        )
    count = bits
    for size in shape:
        count *= size
    if count % 8:
        _refuse(file, f"tensor {quoted(name)}: {count} bits of {dtype} do not fill whole bytes")
    if end - begin != count // 8:
        shown = "x".join(map(str, shape)) or "scalar"
        _refuse(
            file, f"tensor {quoted(name)} ({dtype} {shown}) has {end - begin:,} bytes, not {count // 8:,}"
        )
    return begin, end, name, dtype, tuple(shape)


def _refuse(file: ByteFile, fact: str, way_out: str = _DAMAGED) -> NoReturn:
    raise CorruptCheckpoint(file.subject, fact, way_out)
