"""An object store for tests: moto, a server that speaks S3, behind a door that counts requests and breaks some."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# s3fs and moto, beside the environment: `make test` puts them there.
OBJECTS = Path(sys.prefix) / "objects"


@dataclass
class Asked:
    """A request. body: may be replaced; headers: of the environment of WSGI, may be changed."""

    method: str
    path: str
    query: str
    environ: dict[str, Any] = field(repr=False)

    @property
    def writes(self) -> bool:
        """Whether it puts an object or a part of one there, or makes one of parts."""
        return self.method == "PUT" or (self.method == "POST" and "uploadId" in self.query)


# What becomes of a request: None, it is answered; "lost", the connection breaks before it is heard; "unanswered", it
# is done and the connection breaks; a number, it is refused with this status; "sealed", its ETag is not told.
Fate = str | int | None


@dataclass
class Store:
    """url: of the server. asked: what was asked, in order. fate: decides of each request. door: of another protocol."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    fate: Callable[[Asked], Fate] = lambda asked: None
    door: Callable[[Any, dict[str, Any], Any], Iterable[bytes]] | None = None

    def __call__(self, app: Any, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        asked = Asked(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""), environ
        )
        self.asked.append(asked)
        fate = self.fate(asked)
        if fate == "lost":
            self._break(environ)
        if isinstance(fate, int):
            code = {403: "AccessDenied", 500: "InternalError"}[fate]
            start(f"{fate} {code}", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>by the test</Message></Error>".encode()]
        if self.door is not None and environ.get("HTTP_AUTHORIZATION", "").startswith("OSS "):
            return self.door(app, environ, start)
        answer = app(environ, _sealed(start) if fate == "sealed" else start)
        if fate == "unanswered":
            self._break(environ)
        if fate == "sealed":
            return [_without_tags(b"".join(answer))]
        return answer  # type: ignore[no-any-return]

    def _break(self, environ: dict[str, Any]) -> None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError


def _sealed(start: Any) -> Any:
    def told(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        kept = [
            (name, f'"{value.strip(chr(34))[::-1]}"' if name.lower() == "etag" else value)
            for name, value in headers
        ]
        return start(status, [pair for pair in kept if pair[0].lower() != "content-length"], *rest)

    return told


def _without_tags(body: bytes) -> bytes:
    """Every ETag in the XML reversed: opaque, and the same for the same object."""
    import re

    return re.sub(rb"(<ETag>(?:&quot;|\")?)([^<&\"]*)", lambda found: found[1] + found[2][::-1], body)


@contextmanager
def serving() -> Iterator[Store]:
    """A store with no bucket, whose address stands in the environment."""
    if not OBJECTS.is_dir():
        pytest.skip("`make test` installs s3fs and moto beside the environment")
    store = Store()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(OBJECTS))
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):  # type: ignore[misc]
            def log(self, *_: Any) -> None:
                pass

        app = DomainDispatcherApplication(create_backend_app)
        server = make_server(
            "127.0.0.1", 0, lambda environ, start: store(app, environ, start), True, request_handler=Quiet
        )
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        store.url = f"http://127.0.0.1:{server.server_port}"
        for name, value in environment(store).items():
            patch.setenv(name, value)
        from s3fs import S3FileSystem

        S3FileSystem.clear_instance_cache()  # one that asks another server
        yield store
        server.shutdown()
        thread.join()
        server.server_close()


def environment(store: Store) -> dict[str, str]:
    """What a process needs to find the store. botocore tries each request twice, so that a fault takes no time."""
    return {
        "AWS_ENDPOINT_URL": store.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
        "PYTHONPATH": os.pathsep.join([str(OBJECTS), os.environ.get("PYTHONPATH", "")]),
    }
