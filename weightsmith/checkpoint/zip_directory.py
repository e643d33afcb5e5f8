"""Where the entries of a zip archive lie, with the two copies of every name compared.

Only what torch writes is understood: unencrypted entries in one volume, zip or zip64. An archive describes
itself twice (local headers, central directory); where the copies differ, two readers would see two files.
Layout: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.names import quoted
from weightsmith.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from weightsmith.checkpoint.file_bytes import ByteFile

_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
# One entry per storage: more than a pickle of MOST_STEPS can name. 5 us each, so half a second.
MOST_ENTRIES = 100_000
LARGEST_DIRECTORY = 64 << 20
# Extra fields of one entry, which may be empty: 65,535 bytes hold 16,383 of them. torch and zip tools write one or two.
_MOST_EXTRA_FIELDS = 64
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SIZES_FOLLOW = 0x8  # a data descriptor behind the data holds the sizes; torch sets it
_NONE32 = 0xFFFFFFFF
# Bytes: what torch begins data at multiples of, and what its extra fields have beside the padding (zip64: 4 + 24).
_ALIGNMENT, _LARGEST_EXTRA = 64, 32


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its bytes are [start, start + nbytes) of the archive, and not what it holds where it is packed."""

    name: str
    start: int
    nbytes: int
    packed: bool


@dataclass(frozen=True, slots=True)
class _Record:
    """An entry as the central directory states it; `header` is the byte of its local header."""

    raw_name: bytes
    flags: int
    method: int
    packed: int
    nbytes: int
    header: int


def read_directory(file: ByteFile, *, sparing: bool = False) -> dict[str, Entry]:
    """Every entry by name, in the order of the directory, checked against its local header and its neighbours.

    sparing: of a remote file, no local header is asked for that did not come along and whose entry lies where torch's
    own alignment puts it: see `_aligned`. Raises CorruptCheckpoint.
    """
    count, directory, size = _end_of_directory(file)
    records = _records(file, file.read(directory, size), count)
    entries: dict[bytes, Entry] = {}
    # torch's reader (miniz) finds entries without regard to case: `DATA.PKL` could stand in for `data.pkl`.
    folded: set[bytes] = set()
    end = 0
    in_order = sorted(records, key=lambda item: item.header)
    limits = [*(record.header for record in in_order[1:]), directory]
    for record, limit in zip(in_order, limits, strict=True):
        if record.header < end:
            _refuse(file, f"the zip entry {quoted(record.raw_name)} overlaps the one before it")
        start = _aligned(file, record, limit) if sparing else None
        entry = _entry(file, record, _stated(file, record) if start is None else start)
        if record.raw_name.lower() in folded:
            _refuse(file, f"the zip entry {quoted(entry.name)} exists twice")
        folded.add(record.raw_name.lower())
        end = entry.start + entry.nbytes
        if end > directory:
            _refuse(file, f"the zip entry {quoted(entry.name)} runs past the archive's data")
        entries[record.raw_name] = entry
    return {entry.name: entry for entry in (entries[record.raw_name] for record in records)}


def _end_of_directory(file: ByteFile) -> tuple[int, int, int]:
    """(entries, first byte, bytes) of the central directory."""
    if file.size < _END.size:
        _refuse(file, f"has {file.size} bytes, too few for a zip archive")
    at = file.size - _END.size
    end = _END.unpack(file.read(at, _END.size))
    if end[0] != b"PK\x05\x06" or end[7]:
        _refuse(file, "is a zip archive without its directory at the end: truncated, or with bytes appended")
    _, disk, directory_disk, here, count, size, directory, _ = end
    if disk or directory_disk or here != count:
        _refuse(file, "is one volume of a split zip archive")
    # torch's reader (miniz) follows a zip64 locator wherever one stands before the end record, also where the 32-bit
    # fields would do; a locator that is part of a comment or of an extra field leads it to another directory.
    if directory + size != at or _has_locator64(file, at):
        stated = (count, size, directory)
        count, size, directory, at = _zip64_end(file, at)
        limits = (0xFFFF, _NONE32, _NONE32)
        actual = (count, size, directory)
        if any(a not in (b, limit) for a, b, limit in zip(stated, actual, limits, strict=True)):
            _refuse(file, "has a zip64 record that contradicts its zip record")
    if count > MOST_ENTRIES or size > LARGEST_DIRECTORY:
        _refuse(
            file, f"states a zip directory of {count:,} entries in {size:,} bytes, more than torch writes"
        )
    if directory + size != at:
        _refuse(
            file,
            f"states a zip directory at bytes {directory:,} to {directory + size:,}, but it ends at {at:,}",
        )
    return count, directory, size


def _has_locator64(file: ByteFile, at: int) -> bool:
    return at >= _LOCATOR64.size and file.read(at - _LOCATOR64.size, 4) == b"PK\x06\x07"


def _zip64_end(file: ByteFile, at: int) -> tuple[int, int, int, int]:
    """(entries, bytes, first byte of the directory, byte where the end records begin)."""
    if at < _LOCATOR64.size + _END64.size:
        _refuse(file, "is a zip64 archive without its zip64 record")
    magic, disk, where, disks = _LOCATOR64.unpack(file.read(at - _LOCATOR64.size, _LOCATOR64.size))
    if magic != b"PK\x06\x07" or disk or disks > 1 or where + _END64.size > at - _LOCATOR64.size:
        _refuse(file, "is a zip64 archive without its zip64 record")
    record = _END64.unpack(file.read(where, _END64.size))
    magic, length, _, _, disk, directory_disk, here, count, size, directory = record
    if magic != b"PK\x06\x06" or length + 12 != at - _LOCATOR64.size - where:
        _refuse(file, "has a malformed zip64 record")
    if disk or directory_disk or here != count:
        _refuse(file, "is one volume of a split zip archive")
    return count, size, directory, where


def _records(file: ByteFile, raw: bytes, count: int) -> list[_Record]:
    records = []
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(raw):
            _refuse(file, "the zip directory ends inside an entry")
        magic, _, _, flags, method, _, _, _, packed, nbytes, *rest = _CENTRAL.unpack_from(raw, at)
        name_length, extra_length, comment_length, disk, _, _, header = rest
        name_end = at + _CENTRAL.size + name_length
        extra_end = name_end + extra_length
        name = raw[at + _CENTRAL.size : name_end]
        if magic != b"PK\x01\x02" or extra_end + comment_length > len(raw) or disk:
            _refuse(file, "the zip directory holds a malformed entry")
        if flags & _ENCRYPTED:
            _refuse(file, f"the zip entry {quoted(name)} is encrypted", "decrypt it and save it again")
        if _NONE32 in (packed, nbytes, header):
            packed, nbytes, header = _zip64_sizes(file, raw[name_end:extra_end], (packed, nbytes, header))
        if not method and packed != nbytes:
            _refuse(file, f"the zip entry {quoted(name)} is stored as it is, yet states two sizes")
        records.append(_Record(name, flags, method, packed, nbytes, header))
        at = extra_end + comment_length
    if at != len(raw):
        _refuse(file, f"the zip directory holds {len(raw) - at:,} bytes beyond its {count:,} entries")
    return records


def _zip64_sizes(file: ByteFile, extra: bytes, fields: tuple[int, int, int]) -> tuple[int, int, int]:
    """The three numbers with every 0xFFFFFFFF replaced from the zip64 extra field (APPNOTE 4.5.3)."""
    at = 0
    for _ in range(_MOST_EXTRA_FIELDS):
        if at + 4 > len(extra):
            _refuse(file, "a zip64 entry lacks its sizes")
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1 and at + 4 + length <= len(extra):
            break
        at += 4 + length
    else:
        _refuse(
            file, f"a zip64 entry has more than {_MOST_EXTRA_FIELDS} extra fields, which torch never writes"
        )
    packed, nbytes, header = fields
    numbers = list(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))[::-1]
    if len(numbers) < fields.count(_NONE32):
        _refuse(file, "a zip64 entry lacks its sizes")
    nbytes = numbers.pop() if nbytes == _NONE32 else nbytes
    packed = numbers.pop() if packed == _NONE32 else packed
    header = numbers.pop() if header == _NONE32 else header
    return packed, nbytes, header


def _aligned(file: ByteFile, record: _Record, limit: int) -> int | None:
    """Where an entry's data begin by torch's own rule, or None: then its local header says it.

    torch begins data at multiples of 64 and puts a data descriptor behind them (caffe2/serialize/inline_container.cc,
    `getPadding`; APPNOTE 4.3.9), and the next header, at byte `limit`, right behind that. Both must come out.
    """
    header = _LOCAL.size + len(record.raw_name)
    if file.holds(record.header, header):
        return None
    descriptor = (24 if record.packed >= _NONE32 else 16) if record.flags & _SIZES_FOLLOW else 0
    start = limit - descriptor - record.packed
    padding = start - record.header - header
    return start if start % _ALIGNMENT == 0 and 0 <= padding < _ALIGNMENT + _LARGEST_EXTRA else None


def _stated(file: ByteFile, record: _Record) -> int:
    """Where an entry's data begin by its local header, which must agree with the directory."""
    shown = quoted(record.raw_name)
    if record.header + _LOCAL.size + len(record.raw_name) > file.size:
        _refuse(file, f"the zip entry {shown} lies outside the file")
    raw = file.read(record.header, _LOCAL.size + len(record.raw_name))
    magic, _, flags, method, _, _, _, packed, nbytes, name_length, extra_length = _LOCAL.unpack_from(raw)
    if magic != b"PK\x03\x04" or raw[_LOCAL.size :] != record.raw_name or name_length != len(record.raw_name):
        _refuse(file, f"the zip entry {shown} has another name in its own header than in the directory")
    if flags != record.flags or method != record.method:
        _refuse(file, f"the zip entry {shown} is stored otherwise than the directory says")
    if _NONE32 in (packed, nbytes):
        extra = file.read(record.header + len(raw), extra_length)
        packed, nbytes, _ = _zip64_sizes(file, extra, (packed, nbytes, 0))
    # With a data descriptor the local sizes are 0 or repeat the directory's.
    unstated = flags & _SIZES_FOLLOW and packed == nbytes == 0
    if not unstated and (packed, nbytes) != (record.packed, record.nbytes):
        _refuse(file, f"the zip entry {shown} has another size in its own header than in the directory")
    start: int = record.header + len(raw) + extra_length
    return start


def _entry(file: ByteFile, record: _Record, start: int) -> Entry:
    shown = quoted(record.raw_name)
    try:
        name = record.raw_name.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(file, f"the zip entry {shown} has a name that is not UTF-8")
    if "\0" in name:  # where C strings end: torch would take it for the entry of the shorter name
        _refuse(file, f"the zip entry {shown} has a zero byte in its name")
    return Entry(name, start, record.packed, bool(record.method))


def _refuse(
    file: ByteFile, fact: str, way_out: str = "the file is damaged or was repacked; download it again"
) -> NoReturn:
    raise CorruptCheckpoint(file.subject, fact, way_out)
