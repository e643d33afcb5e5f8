"""A bucket of S3, or of a store that speaks its protocol, by s3fs.

s3fs and botocore below it try each request again that a network broke or a server answered with 5xx; how often says
AWS_MAX_ATTEMPTS. Parameters: the API reference of Amazon S3, of the operations that are named here.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.convert.destination.bucket import Receipt, content_md5
from weightsmith.convert.destination.destination import FileState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Of one request (DeleteObjects).
_MOST_DELETED = 1000


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """store: the file system of s3fs."""

    store: Any
    name: str

    def put(self, key: str, data: bytes, *, only_new: bool = False) -> Receipt:
        """PutObject."""
        condition = {"IfNoneMatch": "*"} if only_new else {}
        answer = self._call("put_object", Key=key, Body=data, ContentMD5=content_md5(data), **condition)
        return Receipt(_tag(answer), len(data))

    def begin(self, key: str) -> str:
        """CreateMultipartUpload."""
        upload: str = self._call("create_multipart_upload", Key=key)["UploadId"]
        return upload

    def put_part(self, key: str, upload: str, number: int, data: bytes) -> Receipt:
        """UploadPart."""
        which = {"Key": key, "UploadId": upload, "PartNumber": number}
        answer = self._call("upload_part", **which, Body=data, ContentMD5=content_md5(data))
        return Receipt(_tag(answer), len(data))

    def complete(self, key: str, upload: str, parts: Sequence[Receipt]) -> Receipt:
        """CompleteMultipartUpload."""
        listed = [{"PartNumber": number, "ETag": f'"{part.tag}"'} for number, part in enumerate(parts, 1)]
        answer = self._call(
            "complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": listed}
        )
        return Receipt(_tag(answer), sum(part.nbytes for part in parts))

    def abort(self, key: str, upload: str) -> None:
        """AbortMultipartUpload."""
        self._call("abort_multipart_upload", Key=key, UploadId=upload)

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """ListMultipartUploads: the first 1,000."""
        found = self._call("list_multipart_uploads", Prefix=prefix)
        return [(upload["Key"], upload["UploadId"]) for upload in found.get("Uploads", ())]

    def listed(self, prefix: str) -> Iterator[tuple[str, FileState]]:
        """ListObjectsV2: 1,000 a request."""
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=prefix, **more)
            for entry in page.get("Contents", ()):
                yield entry["Key"], FileState(entry["Size"], _tag(entry))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, key: str, start: int, stop: int) -> bytes:
        """GetObject, of a range."""
        data: bytes = self.store.cat_file(f"{self.name}/{key}", start=start, end=stop)
        return data

    def delete(self, keys: Collection[str]) -> None:
        """DeleteObjects."""
        rest = [{"Key": key} for key in keys]
        while rest:
            found = self._call("delete_objects", Delete={"Objects": rest[:_MOST_DELETED], "Quiet": True})
            for fault in found.get("Errors", ()):
                raise OSError(errno.EIO, f"{fault.get('Key')}: {fault.get('Message')}")
            rest = rest[_MOST_DELETED:]

    def _call(self, operation: str, **parameters: Any) -> Any:
        return self.store.call_s3(operation, Bucket=self.name, **parameters)


def _tag(answer: Any) -> str:
    """Its entity tag, without quotes."""
    return str(answer.get("ETag") or "").strip('"')
