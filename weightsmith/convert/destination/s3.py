"""What a bucket is asked for while it is written to: a few requests of S3, by s3fs.

s3fs and botocore below it try each request again that a network broke or a server answered with 5xx; how often says
AWS_MAX_ATTEMPTS. Parameters: the API reference of Amazon S3, of the operations that are named here.
"""

from __future__ import annotations

import errno
from base64 import b64encode
from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING, Any

from weightsmith.convert.destination.destination import FileState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Of one request (DeleteObjects).
_MOST_DELETED = 1000


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """A bucket. store: the file system of s3fs. Every method raises what s3fs raises."""

    store: Any
    name: str

    def put(self, key: str, data: bytes, *, only_new: bool = False) -> str:
        """PutObject; the tag. only_new: raises FileExistsError where something has this key."""
        condition = {"IfNoneMatch": "*"} if only_new else {}
        return _tag(self._call("put_object", Key=key, Body=data, ContentMD5=_sum(data), **condition))

    def begin(self, key: str) -> str:
        """CreateMultipartUpload; its number."""
        upload: str = self._call("create_multipart_upload", Key=key)["UploadId"]
        return upload

    def put_part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """UploadPart, from 1 on; its tag."""
        return _tag(
            self._call(
                "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=data, ContentMD5=_sum(data)
            )
        )

    def complete(self, key: str, upload: str, tags: Sequence[str]) -> str:
        """CompleteMultipartUpload: from now on the object is there. tags: of all parts, in order. Its tag."""
        parts = [{"PartNumber": number, "ETag": f'"{tag}"'} for number, tag in enumerate(tags, 1)]
        return _tag(
            self._call(
                "complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        )

    def abort(self, key: str, upload: str) -> None:
        """AbortMultipartUpload: its parts are gone."""
        self._call("abort_multipart_upload", Key=key, UploadId=upload)

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """ListMultipartUploads: (key, number) of the first 1,000 that nobody completed."""
        found = self._call("list_multipart_uploads", Prefix=prefix)
        return [(upload["Key"], upload["UploadId"]) for upload in found.get("Uploads", ())]

    def listed(self, prefix: str) -> Iterator[tuple[str, FileState]]:
        """ListObjectsV2: every object whose key begins so. 1,000 a request."""
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
        """DeleteObjects: those that are there."""
        rest = [{"Key": key} for key in keys]
        while rest:
            found = self._call("delete_objects", Delete={"Objects": rest[:_MOST_DELETED], "Quiet": True})
            for fault in found.get("Errors", ()):
                raise OSError(errno.EIO, f"{fault.get('Key')}: {fault.get('Message')}")
            rest = rest[_MOST_DELETED:]

    def _call(self, operation: str, **parameters: Any) -> Any:
        return self.store.call_s3(operation, Bucket=self.name, **parameters)


def _sum(data: bytes) -> str:
    """As a Content-MD5 header has it: the server refuses other bytes than were sent."""
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()


def _tag(answer: Any) -> str:
    """Its entity tag, without quotes."""
    return str(answer.get("ETag") or "").strip('"')
