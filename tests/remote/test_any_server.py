"""A server may send anything at all: it ends, in time and memory that are bounded, with one line."""

from __future__ import annotations

import gc
import random
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.remote.conftest import SOUND
from tests.remote.hub import Hub, serving
from weightsmith import library
from weightsmith.checkpoint.remote import path as remote_path
from weightsmith.checkpoint.remote.transport import Patience
from weightsmith.errors import MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Speak = "Callable[[socket.socket], None]"


@contextmanager
def speaking(speak: Callable[[socket.socket], None], asked: list[bytes] | None = None) -> Iterator[str]:
    """A server that reads a request and then says what it likes. asked: gets the requests."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            request = connection.recv(65536)
            if asked is not None:
                asked.append(request)
            speak(connection)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                Thread(target=answer, args=(connection,), daemon=True).start()

    Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Patience(timeout=0.5, tries=2, first_wait=0.01, longest_wait=0.02, grace=1.0)
    monkeypatch.setattr(remote_path, "Patience", lambda **_: quick)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "a line without end": b"HTTP/1.1 " + b"2" * 1_000_000,
    "many headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    "a header without end": OK + b"X: " + b"y" * 1_000_000,
    "a length that is none": OK + b"Content-Length: -5\r\n\r\n{}",
    "a length in words": OK + b"Content-Length: many\r\n\r\n{}",
    "a length beyond the body": OK + b"Content-Length: 1000\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 900\r\n\r\n{}",
    "chunks that are none": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a chunk beyond the body": OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n{}\r\n",
    "a status that is none": b"HTTP/1.1 999 Odd\r\n\r\n",
    "an answer before the answer": b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    "a redirect with a line break": b"HTTP/1.1 302 Found\r\nLocation: http://x/\x0bHost:y\r\nContent-Length: 0\r\n\r\n",
    "a redirect to a port that is none": b"HTTP/1.1 302 F\r\nLocation: http://x:999999/\r\nContent-Length: 0\r\n\r\n",
    "a redirect to half an address": b"HTTP/1.1 302 F\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n",
    "a redirect in another alphabet": b"HTTP/1.1 302 F\r\nLocation: /\xc3\xa9/\xff?\xe4\r\nContent-Length: 0\r\n\r\n",
    "a redirect to a host that is none": b"HTTP/1.1 302 F\r\nLocation: http://a..b/\r\nContent-Length: 0\r\n\r\n",
    "a redirect to a host of signs": b"HTTP/1.1 302 F\r\nLocation: http://\xfc\xf1/\r\nContent-Length: 0\r\n\r\n",
    "a retry at no time": b"HTTP/1.1 429 Wait\r\nRetry-After: yesterday, 99:99\r\nContent-Length: 0\r\n\r\n",
    "a retry at the end of time": b"HTTP/1.1 429 Wait\r\nRetry-After: 9999999999999\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("scheme", ["hf", "modelscope", "web"])
def test_any_answer_is_one_line(monkeypatch: pytest.MonkeyPatch, answer: bytes, scheme: str) -> None:
    with speaking(lambda connection: connection.sendall(answer)) as url:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9" if scheme == "web" else url)
        monkeypatch.setenv("MODELSCOPE_DOMAIN", url)
        address = f"{url}/model.safetensors" if scheme == "web" else f"{scheme}://org/name"
        with pytest.raises(WeightsmithError) as refused:
            library.open(address)
    assert "\n" not in str(refused.value) and str(refused.value).isprintable()


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_are_one_line(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Of real answers with bytes changed at random."""
    draw = random.Random(seed)
    files = b'[{"rfilename": "model.safetensors", "size": 9}]'
    listing = b'{"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": %s}' % files
    raw = bytearray(OK + b"Content-Length: %d\r\nETag: x\r\n\r\n" % len(listing) + listing)
    for _ in range(draw.randint(1, 6)):
        raw[draw.randrange(len(raw))] = draw.randrange(256)
    with speaking(lambda connection: connection.sendall(raw)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(WeightsmithError) as refused:
            library.open("hf://org/name")
    assert str(refused.value).isprintable()


def test_an_endless_listing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n" + b'{"siblings": [')
        for _ in range(200):
            connection.sendall(b'{"rfilename": "a"},' * 50_000)

    monkeypatch.setattr(
        remote_path, "Patience", lambda **_: Patience(timeout=2.0, tries=1, first_wait=0.01, grace=30.0)
    )
    with speaking(endless) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(WeightsmithError, match="a list of files of more than 67,108,864 bytes"):
            library.open("hf://org/name")


def test_a_head_that_drips_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is never silence: only the time of the whole answer ends it."""

    def drip(connection: socket.socket) -> None:
        import time

        for byte in OK * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    monkeypatch.setattr(
        remote_path, "Patience", lambda **_: Patience(timeout=0.5, tries=1, grace=0.6, slowest=1 << 40)
    )
    with speaking(drip) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(MissingInput, match="the server is too slow"):
            library.open("hf://org/name")


def test_https_goes_through_a_proxy_by_a_tunnel(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """The proxy sees the name of the server and no more; a proxy that says no is told."""
    asked: list[bytes] = []
    with serving(Hub({"org/sound": SOUND}), certificate=certificate) as hub:
        host, port = "127.0.0.1", int(hub.url.rpartition(":")[2])

        def tunnel(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection((host, port)) as server:
                to = Thread(target=_copy, args=(connection, server), daemon=True)
                to.start()
                _copy(server, connection)

        with speaking(tunnel, asked) as url:
            monkeypatch.setenv("https_proxy", url)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            monkeypatch.setenv("HF_TOKEN", "hf_secret")
            with pytest.raises(WeightsmithError, match="redirects from https to http"):
                library.open("hf://org/sound")  # so far it came: the listing was read through the tunnel
        assert asked[0].startswith(f"CONNECT {host}:{port} HTTP/1".encode()) and b"secret" not in b"".join(
            asked
        )
        refusing = lambda connection: connection.sendall(b"HTTP/1.1 407 Who are you\r\n\r\n")  # noqa: E731
        with speaking(refusing, asked) as url:
            monkeypatch.setenv("https_proxy", url)
            with pytest.raises(MissingInput, match="407"):
                library.open("hf://org/sound")
        monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
        with pytest.raises(WeightsmithError, match="name an HTTP proxy"):
            library.open("hf://org/sound")


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass


def test_nothing_is_left_open(hub: Hub) -> None:
    """Many checkpoints one after the other: their connections go with them."""
    descriptors = Path("/proc/self/fd")
    library.infer("hf://org/sound")
    gc.collect()
    before = len(list(descriptors.iterdir()))
    for _ in range(30):
        library.infer("hf://org/sound")
    gc.collect()
    left = len(list(descriptors.iterdir())) - before
    assert left < 10, "not one for each; those of the server's side may close a moment later"
