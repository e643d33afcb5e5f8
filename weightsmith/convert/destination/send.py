"""Sends a file to a bucket, in parts where it is large, and proves that the object which appeared has its bytes.

The tag of an object is the MD5 of what was sent, of one sent in n parts the MD5 of the parts' digests and `-n` (Amazon
S3 user guide, "Checking object integrity"). With some kinds of encryption, and in some stores, it is something else:
where no checksum of the whole was compared either, the object is read back. An equal tag later means the same object.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import open_own
from weightsmith.convert.destination.bucket import Receipt
from weightsmith.convert.destination.destination import FileState
from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.convert.destination.bucket import Bucket

# Of one request: what is lost when a connection breaks. S3 takes 5 MiB to 5 GiB, and at most 10,000 parts.
_PART, _MOST_PARTS = 16 << 20, 10_000
# At the same time; each holds one part in memory: 64 MiB for files of less than 160 GB.
_SENDERS = 4


class GivenUpError(Exception):
    """Somebody set the event that stops a sending."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """receipt: for all of it. usual: the tag that these bytes have in S3."""

    receipt: Receipt
    usual: str


def send(bucket: Bucket, key: str, path: Path, stop: Event) -> FileState:
    """Puts the file at `path` into the bucket, in place of what has this key.

    Raises GivenUpError where `stop` is set, TargetRefused where other bytes came back; what the bucket raises. Then
    no object has appeared, or it is removed, and no part of it stays behind.
    """
    with open_own(path) as file:
        sent = _in_parts(bucket, key, file, stop) if file.size > _PART else _at_once(bucket, key, file)
        if not sent.receipt.proven and sent.receipt.tag.lower() != sent.usual:
            _need_same(bucket, key, file, stop)
        return FileState(file.size, sent.receipt.tag)


def _at_once(bucket: Bucket, key: str, file: ByteFile) -> _Sent:
    data = file.read(0, file.size)
    return _Sent(bucket.put(key, data), md5(data, usedforsecurity=False).hexdigest())


def _in_parts(bucket: Bucket, key: str, file: ByteFile, stop: Event) -> _Sent:
    size = max(_PART, -(-file.size // _MOST_PARTS))
    upload = bucket.begin(key)

    def put(number: int) -> tuple[Receipt, bytes]:
        if stop.is_set():
            raise GivenUpError
        start = (number - 1) * size
        data = file.read(start, min(size, file.size - start))
        return bucket.put_part(key, upload, number, data), md5(data, usedforsecurity=False).digest()

    try:
        numbers = range(1, -(-file.size // size) + 1)
        with ThreadPoolExecutor(_SENDERS) as pool:
            parts = list(pool.map(put, numbers))
        digests = md5(b"".join(digest for _, digest in parts), usedforsecurity=False).hexdigest()
        usual = f"{digests}-{len(parts)}"
        return _Sent(_completed(bucket, key, upload, [receipt for receipt, _ in parts], usual), usual)
    except BaseException:
        with suppress(Exception):  # the fault that ended it is the one to tell
            bucket.abort(key, upload)
        raise


def _completed(bucket: Bucket, key: str, upload: str, parts: list[Receipt], usual: str) -> Receipt:
    """For the object that is there now. A lost answer is asked for again, when the upload is no more."""
    try:
        return bucket.complete(key, upload, parts)
    except FileNotFoundError:
        found = dict(bucket.listed(key)).get(key)
        if found is None or found.tag.lower() != usual:
            raise
        return Receipt(found.tag, found.nbytes)


def _need_same(bucket: Bucket, key: str, file: ByteFile, stop: Event) -> None:
    """Reads the object again, and removes one that has other bytes, or cannot be read."""
    try:
        for start in range(0, file.size, _PART):
            if stop.is_set():
                raise GivenUpError
            count = min(_PART, file.size - start)
            if bucket.read(key, start, start + count) != file.read(start, count):
                fact = f"gave other bytes back than were sent (from byte {start:,} on)"
                raise TargetRefused(f"{bucket.name}/{key}", fact, "check the store, then run again")
    except BaseException:
        with suppress(Exception):
            bucket.delete([key])
        raise
