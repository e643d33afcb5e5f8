"""GGUF, the format of llama.cpp: the header of one file, with every number in it bounded before it is used.

Layout (ggml, docs/gguf.md; version 2 and 3, little-endian): "GGUF", u32 version, u64 tensors, u64 entries; each entry
a string, a u32 type and a value; each tensor a string, u32 axes, u64 sizes with the innermost first, a u32 type and a
u64 offset into the data, which begin at the next multiple of `general.alignment`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.gguf_frequencies import MOST
from weightsmith.checkpoint.gguf_frequencies import TENSOR as FREQUENCIES
from weightsmith.checkpoint.gguf_model import Stored, model_of
from weightsmith.checkpoint.gguf_types import TYPES
from weightsmith.checkpoint.layout import MOST_AXES, MOST_TENSORS_IN_FILE, row_major, shape_fault
from weightsmith.checkpoint.names import check_name, quoted
from weightsmith.checkpoint.table import FilePart, Storage, Tensor
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.json_value import Json

# A tokenizer of 256,000 words with its merges takes some 12 MB.
_LARGEST_HEADER, _MOST_ENTRIES, _LONGEST_KEPT = 100_000_000, 10_000, 65_536
_MOST_ITEMS = 1_500_000
# What is held of the header. Of a remote file it begins with what the magic brought along: without a tokenizer there is
# no more.
_WINDOW, _FIRST_REMOTE = 1 << 22, (1 << 17) - 4
# Of a model in several files: which one it is, from 0 on, and how many there are.
_PLACE, _FILES = "split.no", "split.count"
_DAMAGED = "the file is damaged; download it again"
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", _BOOL: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
# What a number of the file is stored as, where it is not in blocks.
_PLAIN = {
    "f32": "F32",
    "f16": "F16",
    "bf16": "BF16",
    "f64": "F64",
    "i8": "I8",
    "i16": "I16",
    "i32": "I32",
    "i64": "I64",
}


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What one file says of itself. subject: as messages name it. read: its bytes. divisors: of rotary frequencies."""

    subject: str
    metadata: Mapping[str, Json]
    stored: Sequence[Stored]
    read: int
    divisors: Sequence[float] = ()


def read_gguf(file: ByteFile) -> FilePart:
    """The tensors of one file under the model's names, as far as the architecture is known, and the model's config.

    Raises CorruptCheckpoint, HostileCheckpoint, and UnknownFormat for another version.
    """
    return joined([read_header(file)])


def joined(headers: Sequence[GgufHeader]) -> FilePart:
    """The model of several files, of which the first says what it is (gguf-split). Raises CorruptCheckpoint."""
    first = headers[0]
    for number, one in enumerate(headers if len(headers) > 1 else ()):
        place = one.metadata.get(_PLACE, number), one.metadata.get(_FILES, len(headers))
        if place != (number, len(headers)):
            fact = f"says that it is file {quoted(place[0])} of {quoted(place[1])}, counted from 0"
            raise CorruptCheckpoint(
                one.subject, fact, "download the files of one model, under their own names"
            )
    divisors = next((one.divisors for one in headers if one.divisors), ())
    model = model_of(first.metadata, [stored for one in headers for stored in one.stored], divisors)
    tensors = {tensor.name: tensor for tensor in model.tensors}
    if len(tensors) != len(model.tensors):
        raise CorruptCheckpoint(first.subject, "names a tensor twice", _DAMAGED)
    read = sum(one.read for one in headers)
    return FilePart("gguf", tensors, {}, model.problems, read, model.config)


def read_header(file: ByteFile) -> GgufHeader:
    """What stands before the data. Raises as `read_gguf`."""
    header = _Header(file)
    version = header.number("<I", "its version")
    if version not in (2, 3):
        raise UnknownFormat(
            file.subject, f"is GGUF of version {version}", "weightsmith reads versions 2 and 3"
        )
    count, entries = header.number("<Q", "its tensors"), header.number("<Q", "its entries")
    if count > MOST_TENSORS_IN_FILE or entries > _MOST_ENTRIES:
        fact = f"describes {count:,} tensors and {entries:,} entries"
        raise HostileCheckpoint(file.subject, fact, "get it from a source that you trust")
    metadata = _metadata(header, entries)
    described = [_described(header) for _ in range(count)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 1 << 16:
        _refuse(file, f"has an alignment of {quoted(alignment)}")
    start = -(-header.at // alignment) * alignment
    stored = [_placed(file, one, start) for one in described]
    _need_apart(file, stored)
    return GgufHeader(file.subject, metadata, stored, header.at, _divisors(file, stored))


def _divisors(file: ByteFile, stored: Sequence[Stored]) -> tuple[float, ...]:
    """The numbers of the one tensor that belongs to the config."""
    for one in stored:
        storage = one.tensor.storage
        if one.tensor.name == FREQUENCIES and one.kind.name == "f32" and 0 < storage.nbytes <= 4 * MOST:
            return struct.unpack(f"<{storage.nbytes // 4}f", file.read(storage.start, storage.nbytes))
    return ()


@dataclass(slots=True)
class _Header:
    """Reads on from where it stands; no more of the file is held than a window. at: the next byte."""

    file: ByteFile
    at: int = 4
    _window: bytes = field(default=b"", repr=False)
    _begins: int = 0
    _next: int = 0

    def take(self, count: int, what: str) -> bytes:
        if self.at + count > min(self.file.size, _LARGEST_HEADER):
            _refuse(self.file, f"ends within its header, in {what}")
        if self.at + count > self._begins + len(self._window):
            self._begins = self.at
            self._next = min(_WINDOW, 2 * self._next or (_FIRST_REMOTE if self.file.costly else _WINDOW))
            self._window = self.file.read(self.at, min(max(count, self._next), self.file.size - self.at))
        found = self._window[self.at - self._begins : self.at - self._begins + count]
        self.at += count
        return found

    def number(self, form: str, what: str) -> int:
        found: int = struct.unpack(form, self.take(struct.calcsize(form), what))[0]
        return found

    def skip(self, count: int, what: str) -> None:
        if self.at + count > min(self.file.size, _LARGEST_HEADER):
            _refuse(self.file, f"ends within its header, in {what}")
        self.at += count
        if self.at > self._begins + len(self._window):
            self._window, self._begins = b"", self.at

    def skip_texts(self, count: int, what: str) -> None:
        """Passes over the words of a tokenizer, of which there may be half a million."""
        for _ in range(count):
            begins = self.at - self._begins
            length = self._window[begins : begins + 8]
            if len(length) < 8:
                length = self.take(8, what)
                self.at -= 8
            self.at += 8 + int.from_bytes(length, "little")
            if self.at > self._begins + len(self._window):
                self.skip(0, what)

    def text(self, what: str) -> str:
        length = self.number("<Q", what)
        if length > _LONGEST_KEPT:
            _refuse(self.file, f"has a text of {length:,} bytes in {what}")
        return self.take(length, what).decode("utf-8", "surrogateescape")


def _metadata(header: _Header, entries: int) -> dict[str, Json]:
    """The entries that are numbers, short texts or short lists of these. Long ones are passed over."""
    found: dict[str, Json] = {}
    for _ in range(entries):
        key = header.text("the name of an entry")
        kind = header.number("<I", quoted(key))
        value = _value(header, kind, quoted(key))
        if key in found:
            _refuse(header.file, f"has the entry {quoted(key)} twice")
        found[key] = value
    return found


def _value(header: _Header, kind: int, what: str) -> Json:
    if kind in _NUMBERS:
        return header.number(_NUMBERS[kind], what)
    if kind == _STRING:
        length = header.number("<Q", what)
        if length > _LONGEST_KEPT:
            header.skip(length, what)
            return None
        return header.take(length, what).decode("utf-8", "surrogateescape")
    if kind != _ARRAY:
        _refuse(header.file, f"has a value of type {kind} in {what}")
    inner, count = header.number("<I", what), header.number("<Q", what)
    if count > _MOST_ITEMS or inner == _ARRAY or (inner != _STRING and inner not in _NUMBERS):
        _refuse(header.file, f"has a list of {count:,} values of type {inner} in {what}")
    if inner == _STRING:
        header.skip_texts(count, what)
        return None
    size = struct.calcsize(_NUMBERS[inner])
    if count > MOST_AXES * 1024:
        header.skip(count * size, what)
        return None
    return [one[0] for one in struct.iter_unpack(_NUMBERS[inner], header.take(count * size, what))]


def _described(header: _Header) -> tuple[str, tuple[int, ...], int, int]:
    """(name, shape, type, offset) of a tensor."""
    name = header.text("the name of a tensor")
    check_name(header.file.subject, name)
    axes = header.number("<I", quoted(name))
    if axes > MOST_AXES:
        _refuse(header.file, f"tensor {quoted(name)} has {axes} axes")
    sizes = struct.unpack(f"<{axes}Q", header.take(8 * axes, quoted(name)))
    return name, sizes[::-1], header.number("<I", quoted(name)), header.number("<Q", quoted(name))


def _placed(file: ByteFile, described: tuple[str, tuple[int, ...], int, int], start: int) -> Stored:
    """The tensor, in bytes where it is stored in blocks."""
    name, shape, number, offset = described
    kind, fault = TYPES.get(number), shape_fault(list(shape))
    if kind is None:
        _refuse(file, f"tensor {quoted(name)} has the unknown type {number}", "update weightsmith")
    if fault or not shape or shape[-1] % kind.count:
        _refuse(
            file, f"tensor {quoted(name)} of {list(shape)[:8]}: {fault or f'no whole blocks of {kind.name}'}"
        )
    stored = shape if kind.count == 1 else (*shape[:-1], shape[-1] // kind.count * kind.nbytes)
    nbytes = prod(shape) // kind.count * kind.nbytes
    if start + offset + nbytes > file.size:
        _refuse(
            file, f"tensor {quoted(name)} ends {start + offset + nbytes - file.size:,} bytes behind the file"
        )
    storage = Storage(file.name, start + offset, nbytes)
    return Stored(Tensor(name, _PLAIN.get(kind.name, "U8"), stored, storage, 0, row_major(stored)), kind)


def _need_apart(file: ByteFile, stored: list[Stored]) -> None:
    """Raises CorruptCheckpoint where two tensors share bytes."""
    end = 0
    for one in sorted(stored, key=lambda one: one.tensor.storage.start):
        storage = one.tensor.storage
        if storage.nbytes and storage.start < end:
            _refuse(file, f"tensor {quoted(one.tensor.name)} overlaps the one before")
        end = max(end, storage.start + storage.nbytes)


def _refuse(file: ByteFile, fact: str, way_out: str = _DAMAGED) -> NoReturn:
    raise CorruptCheckpoint(file.subject, fact, way_out)
