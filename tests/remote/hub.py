"""A hub on the loopback device: the protocols of Hugging Face and ModelScope, a CDN on another port, every fault.

Real sockets and real HTTP/1.1; what it is asked is written down. Nothing of it is a mock of our own client.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_the_test"


@dataclass(slots=True)
class Asked:
    """One request that came, and what was sent of it. server: "hub" or "cdn"."""

    server: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0

    @property
    def is_listing(self) -> bool:
        return "/api/" in self.path and "/repo?" not in self.path


@dataclass(slots=True)
class Answer:
    """What the server is about to send. A fault changes it. broken_at: bytes of the body after which the connection is
    cut. pause: seconds before the head. drip: seconds before each piece of the body, which is then small."""

    status: int
    headers: dict[str, str]
    body: Callable[[int, int], bytes]
    start: int = 0
    stop: int = 0
    broken_at: int | None = None
    pause: float = 0.0
    drip: float = 0.0


Fault = "Callable[[Asked, Answer], None]"


@dataclass(slots=True)
class Hub:
    """Repositories by name, each a folder; with what they were asked.

    gated: names of those that want TOKEN. fault: sees each request and changes the answer.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    revisions: tuple[str, ...] = ("main", "master", COMMIT)
    fault: Callable[[Asked, Answer], None] | None = None
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    cdn: str = ""
    digests: dict[Path, str] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def of_files(self, name: str = "") -> list[Asked]:
        """Requests for the bytes of files of this name, redirects included."""
        return [one for one in self.asked if not one.is_listing and name in unquote(one.path)]

    def forget(self) -> None:
        self.asked.clear()

    def digest(self, path: Path) -> str:
        """SHA-256 of small files; of others the name of something that stays the same while nobody writes."""
        found = self.digests.get(path)
        if found is None:
            small = path.stat().st_size <= 64 << 20
            data = path.read_bytes() if small else f"{path} {path.stat().st_mtime_ns}".encode()
            found = self.digests[path] = hashlib.sha256(data).hexdigest()
        return found


@contextmanager
def serving(hub: Hub, *, certificate: Path | None = None, host: str = "127.0.0.1") -> Iterator[Hub]:
    """The hub and its CDN, each on a port of its own, for the block."""
    with _listening(hub, "cdn", None, "127.0.0.1") as cdn, _listening(hub, "hub", certificate, host) as url:
        hub.url, hub.cdn = url, cdn
        yield hub


@contextmanager
def _listening(hub: Hub, name: str, certificate: Path | None, host: str) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"hub": hub, "named": name})
    server = _Server((host, 0), handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that goes away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    named: str
    # A head and its body in two packets would wait for each other's acknowledgement, 40 ms a time.
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        """What the hubs' own libraries ask first; ours does not."""
        with self.hub.lock:
            self.hub.asked.append(Asked(self.named, self.path, dict(self.headers.items())))
        answer = self._found()
        self.send_response(answer.status)
        answer.headers.setdefault("Content-Length", str(answer.stop - answer.start))
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()

    def do_GET(self) -> None:
        asked = Asked(self.named, self.path, dict(self.headers.items()))
        with self.hub.lock:
            self.hub.asked.append(asked)
        answer = self._found()
        if self.hub.fault is not None:
            self.hub.fault(asked, answer)
        time.sleep(answer.pause)
        asked.status = answer.status
        self.send_response(answer.status)
        answer.headers.setdefault("Content-Length", str(answer.stop - answer.start))
        for key, value in answer.headers.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        stop = answer.stop if answer.broken_at is None else min(answer.stop, answer.start + answer.broken_at)
        try:
            step = 1000 if answer.drip else 1 << 20
            for start in range(answer.start, stop, step):
                if answer.drip:
                    self.wfile.flush()
                    time.sleep(answer.drip)
                self.wfile.write(answer.body(start, min(step, stop - start)))
                asked.sent += min(step, stop - start)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if answer.broken_at is not None:
            self.close_connection = True

    def _found(self) -> Answer:
        url = urlsplit(self.path)
        steps, query = unquote(url.path).strip("/").split("/"), parse_qs(url.query)
        if self.named == "cdn" or url.netloc == urlsplit(self.hub.cdn).netloc:  # the latter as a proxy
            return self._bytes(Path("/" + "/".join(steps)))
        if steps[:3] == ["api", "v1", "models"]:
            return self._of_modelscope("/".join(steps[3:5]), steps[5:], query)
        if steps[:2] == ["api", "models"] and "tree" in steps:
            return self._tree("/".join(steps[2 : steps.index("tree")]))
        if steps[:2] == ["api", "models"]:
            at = steps.index("revision") if "revision" in steps else len(steps)
            return self._listing("/".join(steps[2:at]), "/".join(steps[at + 1 :]) or "main")
        if "resolve" in steps:
            at = steps.index("resolve")
            return self._resolved("/".join(steps[:at]), steps[at + 1], "/".join(steps[at + 2 :]))
        return self._plain(steps)

    # Hugging Face

    def _listing(self, name: str, revision: str) -> Answer:
        folder = self.hub.repositories.get(name)
        if folder is None:
            return _refused(401, "RepoNotFound", "Invalid username or password.")
        if revision not in self.hub.revisions:
            return _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        siblings = []
        for path in _files(folder):
            one = {"rfilename": str(path.relative_to(folder)), "size": path.stat().st_size}
            digest = self.hub.digest(path)
            large = {"lfs": {"sha256": digest, "size": one["size"], "pointerSize": 134}}
            siblings.append({**one, "blobId": digest[:40], **(large if _is_large(path) else {})})
        return _json({"id": name, "sha": COMMIT, "private": False, "siblings": siblings})

    def _tree(self, name: str) -> Answer:
        """The same list as the hub's own library asks for it."""
        folder = self.hub.repositories[name]
        entries = []
        for path in _files(folder):
            size, digest = path.stat().st_size, self.hub.digest(path)
            large = {"lfs": {"oid": digest, "size": size, "pointerSize": 134}} if _is_large(path) else {}
            one = {"type": "file", "oid": digest[:40], "size": size, "path": str(path.relative_to(folder))}
            entries.append({**one, **large})
        return _json(entries)

    def _resolved(self, name: str, revision: str, file: str) -> Answer:
        folder = self.hub.repositories.get(name)
        if folder is None:
            return _refused(404, "RepoNotFound", "Repository not found")
        if name in self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = 403 if self.headers.get("Authorization") else 401
            return _refused(status, "GatedRepo", "Access to this model is restricted")
        if revision not in self.hub.revisions:
            return _refused(404, "RevisionNotFound", "Invalid rev id")
        path = folder / file
        if not path.is_file():
            return _refused(404, "EntryNotFound", "Entry not found")
        if not _is_large(path):
            return self._bytes(path, {"X-Repo-Commit": COMMIT, "ETag": f'"{self.hub.digest(path)[:40]}"'})
        headers = {
            "Location": f"{self.hub.cdn}{quote(str(path))}?signature=1",
            "X-Linked-Etag": f'"{self.hub.digest(path)}"',
            "X-Linked-Size": str(path.stat().st_size),
            "X-Repo-Commit": COMMIT,
        }
        return Answer(302, headers, lambda start, count: b"Found."[start : start + count], 0, 6)

    # ModelScope

    def _of_modelscope(self, name: str, steps: list[str], query: Mapping[str, list[str]]) -> Answer:
        folder = self.hub.repositories.get(name)
        allowed = f"m_session_id={TOKEN}" in self.headers.get("Cookie", "")
        if folder is None or (name in self.hub.gated and not allowed):
            return _json({"Code": 10010205001, "Message": "record not found", "Success": False}, 404)
        if query.get("Revision", ["master"])[0] not in self.hub.revisions:
            return _json({"Code": 10010205002, "Message": "revision not found", "Success": False}, 404)
        if steps == ["repo", "files"]:
            files = [
                {
                    "Name": path.name,
                    "Path": str(path.relative_to(folder)),
                    "Size": path.stat().st_size,
                    "Sha256": self.hub.digest(path),
                    "Revision": COMMIT,
                    "Type": "blob",
                }
                for path in _files(folder)
            ]
            return _json({"Code": 200, "Data": {"Files": files}, "Success": True})
        path = folder / query["FilePath"][0]
        if not path.is_file():
            return _json({"Code": 10010205003, "Message": "file not found", "Success": False}, 404)
        if not _is_large(path):
            return self._bytes(path)
        return Answer(302, {"Location": f"{self.hub.cdn}{quote(str(path))}?auth_key=1"}, lambda *_: b"", 0, 0)

    # Files

    def _plain(self, steps: list[str]) -> Answer:
        """Any web server: a repository's name as a folder."""
        folder = self.hub.repositories.get("/".join(steps[:2]))
        path = None if folder is None else folder.joinpath(*steps[2:])
        return self._bytes(path) if path is not None and path.is_file() else _refused(404, "", "")

    def _bytes(self, path: Path, more: Mapping[str, str] | None = None) -> Answer:
        size = path.stat().st_size
        headers = {"ETag": f'"{self.hub.digest(path)}"', "Accept-Ranges": "bytes", **(more or {})}

        def body(start: int, count: int) -> bytes:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(count)

        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            return Answer(200, headers, body, 0, size)
        start, stop = int(asked[1]), min(int(asked[2]) + 1, size)
        if start >= size:
            return Answer(416, {**headers, "Content-Range": f"bytes */{size}"}, body, 0, 0)
        return Answer(
            206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, body, start, stop
        )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_large(path: Path) -> bool:
    """What the hub keeps elsewhere (git-lfs)."""
    return path.name.endswith((".safetensors", ".bin", ".gguf", ".pt", ".distcp"))


def _json(document: object, status: int = 200) -> Answer:
    raw = json.dumps(document).encode()
    return Answer(status, {"Content-Type": "application/json"}, lambda s, n: raw[s : s + n], 0, len(raw))


def _refused(status: int, code: str, message: str) -> Answer:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return Answer(status, headers, lambda s, n: message.encode()[s : s + n], 0, len(message.encode()))
