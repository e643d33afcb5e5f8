"""The protocol of OSS in front of moto: its requests are those of S3 but for some headers and codes.

What is known of it here is what its API reference says; the client is Alibaba's own (oss2, by ossfs).
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# ossfs and oss2, beside the environment: `make test` puts them there.
OSS = Path(sys.prefix) / "oss"
_ANYBODY = (
    "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)
_EXISTS = b"<Error><Code>FileAlreadyExists</Code><Message>it is there</Message></Error>"
_TAG = re.compile(rb"<ETag>(?:&quot;|\")?([^<&\"]*)")


class OssDoor:
    """Takes requests of OSS, and lets a server of S3 answer.

    tells_checksums: the CRC-64 of what was sent, as OSS does.
    """

    def __init__(self) -> None:
        self.tells_checksums = True
        # (upload, number) of a part -> checksum and bytes.
        self._parts: dict[tuple[str, int], tuple[int, int]] = {}

    def __call__(self, app: Any, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """An application of WSGI. app: that of the server."""
        self._translate(environ)
        checksum = self._checksum(environ)
        said: list[Any] = []
        body = b"".join(app(environ, lambda status, headers, *_: said.extend((status, headers))))
        status, headers = said
        if status.startswith("412"):
            start("409 Conflict", [("Content-Type", "application/xml")])
            return [_EXISTS]
        lower = {name.lower(): value for name, value in headers}
        if environ["REQUEST_METHOD"] == "POST" and (found := _TAG.search(body)):
            lower["etag"] = found[1].decode()
        if "partNumber" not in environ["QUERY_STRING"] and "etag" in lower:
            tag = _tag(lower["etag"].strip('"').encode())
            lower["etag"] = f'"{tag.decode()}"'
        if checksum is not None and self.tells_checksums and status.startswith("200"):
            lower["x-oss-hash-crc64ecma"] = str(checksum)
        if body.startswith(b"<"):
            body = _as_oss(body)
            lower.pop("content-length", None)
        start(status, list(lower.items()))
        return [body]

    def _translate(self, environ: dict[str, Any]) -> None:
        environ["HTTP_AUTHORIZATION"] = _ANYBODY
        # Empty where a list begins, which S3 does not take.
        environ["QUERY_STRING"] = re.sub(r"continuation-token=(&|$)", "", environ.get("QUERY_STRING", ""))
        if environ.pop("HTTP_X_OSS_FORBID_OVERWRITE", "") == "true":
            environ["HTTP_IF_NONE_MATCH"] = "*"

    def _checksum(self, environ: dict[str, Any]) -> int | None:
        """Of what is sent; of an object that is made of parts the one that their checksums make."""
        from oss2.utils import Crc64

        query = environ["QUERY_STRING"]
        upload, number = re.search(r"uploadId=([^&]+)", query), re.search(r"partNumber=([0-9]+)", query)
        if environ["REQUEST_METHOD"] == "POST" and upload:
            total, size = 0, 0
            for (of, _), (one, nbytes) in sorted(self._parts.items()):
                if of == upload[1]:
                    total, size = Crc64(0).combine(total, one, nbytes) if size else one, size + nbytes
            return total
        if environ["REQUEST_METHOD"] != "PUT":
            return None
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        crc = Crc64(0)
        crc.update(body)
        if upload and number:
            self._parts[upload[1], int(number[1])] = crc.crc, len(body)
        return int(crc.crc)


def _tag(tag: bytes) -> bytes:
    """In large letters; that of an object that was sent in parts says nothing to anybody outside."""
    digest, dash, count = tag.upper().partition(b"-")
    return (digest[::-1] if dash else digest) + dash + count


def _as_oss(answer: bytes) -> bytes:
    """OSS has no XML namespace, says of each list whether it goes on, and of each object its kind."""
    plain = re.sub(rb' xmlns="[^"]*"', b"", answer).replace(b"<Contents>", b"<Contents><Type>Normal</Type>")
    plain = _TAG.sub(lambda found: found[0].replace(found[1], _tag(found[1])), plain)
    if b"<IsTruncated>" not in plain:
        plain = re.sub(rb"(<List\w+Result>)", rb"\1<IsTruncated>false</IsTruncated>", plain)
    markers = rb"\1<NextKeyMarker></NextKeyMarker><NextUploadIdMarker></NextUploadIdMarker>"
    return re.sub(rb"(<ListMultipartUploadsResult>)", markers, plain)
