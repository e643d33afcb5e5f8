"""A bucket of Alibaba Cloud's OSS, by ossfs and oss2 below it.

oss2 compares CRC-64 checksums of all that it sends, of whole objects too, with those of the store. Requests, headers
and codes: the API reference of OSS, of the operations that are named here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.convert.destination.bucket import Receipt, content_md5
from weightsmith.convert.destination.destination import FileState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Of one request (ListObjectsV2, DeleteMultipleObjects).
_MOST = 1000
# ossfs tries again what a network broke; what a server answers with 5xx is tried here. Seconds before the next time.
_WAITS = (0.2, 1.0, 4.0, 10.0)


@dataclass(frozen=True, slots=True)
class OssBucket:
    """store: the file system of ossfs."""

    store: Any
    name: str

    def put(self, key: str, data: bytes, *, only_new: bool = False) -> Receipt:
        """PutObject."""
        headers = {"Content-MD5": content_md5(data)} | (
            {"x-oss-forbid-overwrite": "true"} if only_new else {}
        )
        try:
            return _receipt(self._call("put_object", key, data, headers=headers), len(data))
        except OSError as error:
            if getattr(error.__cause__, "code", "") == "FileAlreadyExists":
                raise FileExistsError(key) from error
            raise

    def begin(self, key: str) -> str:
        """InitiateMultipartUpload."""
        upload: str = self._call("init_multipart_upload", key).upload_id
        return upload

    def put_part(self, key: str, upload: str, number: int, data: bytes) -> Receipt:
        """UploadPart."""
        headers = {"Content-MD5": content_md5(data)}
        return _receipt(self._call("upload_part", key, upload, number, data, headers=headers), len(data))

    def complete(self, key: str, upload: str, parts: Sequence[Receipt]) -> Receipt:
        """CompleteMultipartUpload; the checksum of the object is compared with that of its parts."""
        from oss2.models import PartInfo

        told = [
            PartInfo(number, part.tag, size=part.nbytes, part_crc=part.checksum)
            for number, part in enumerate(parts, 1)
        ]
        try:
            answer = self._call("complete_multipart_upload", key, upload, told)
        except OSError as error:
            if getattr(error.__cause__, "code", "") == "NoSuchUpload":
                raise FileNotFoundError(key) from error
            raise
        return _receipt(answer, sum(part.nbytes for part in parts))

    def abort(self, key: str, upload: str) -> None:
        """AbortMultipartUpload."""
        self._call("abort_multipart_upload", key, upload)

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """ListMultipartUploads: the first 1,000."""
        found = self._call("list_multipart_uploads", prefix=prefix, max_uploads=_MOST)
        return [(upload.key, upload.upload_id) for upload in found.upload_list]

    def listed(self, prefix: str) -> Iterator[tuple[str, FileState]]:
        """ListObjectsV2: 1,000 a request."""
        more = ""
        while True:
            page = self._call("list_objects_v2", prefix=prefix, continuation_token=more, max_keys=_MOST)
            for entry in page.object_list:
                yield entry.key, FileState(entry.size, entry.etag.strip('"'))
            if not page.is_truncated:
                return
            more = page.next_continuation_token

    def read(self, key: str, start: int, stop: int) -> bytes:
        """GetObject, of a range. Its end is the last byte here."""
        data: bytes = self._call("get_object", key, byte_range=(start, stop - 1)).read()
        return data

    def delete(self, keys: Collection[str]) -> None:
        """DeleteMultipleObjects."""
        rest = list(keys)
        while rest:
            self._call("batch_delete_objects", rest[:_MOST])
            rest = rest[_MOST:]

    def _call(self, operation: str, *given: Any, **named: Any) -> Any:
        for wait in (*_WAITS, None):
            try:
                return self.store._call_oss(operation, *given, bucket=self.name, **named)
            except OSError as error:
                if wait is None or not 500 <= getattr(error.__cause__, "status", 0) < 600:
                    raise
                time.sleep(wait)
        return None  # the last time raises


def _receipt(answer: Any, nbytes: int) -> Receipt:
    return Receipt(answer.etag or "", nbytes, answer.crc)
