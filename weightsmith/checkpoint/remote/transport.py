"""One request at a time, to its end: redirects, retries, and why nothing came, in one line.

A secret goes to the server that it is for, and to no other that this one sends us to. Nothing waits for ever: every
silence, every wait and every number of tries is bounded by `Patience`.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from threading import Event, Timer
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.remote.address import AS_THEY_ARE
from weightsmith.checkpoint.remote.connections import Connection, Connections, Server, server_of
from weightsmith.errors import HostileCheckpoint, MissingInput, WeightsmithError
from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from email.message import Message

T = TypeVar("T")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Too many requests, and what a server or a gateway says that will be well again.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_AGENT = f"weightsmith/{__version__}"
_CHUNK = 1 << 20
# What is read of an answer that nobody wants, so that its connection can be used again.
_LEFT_OVER = 1 << 16
_NETWORK = "check the network and the proxy (https_proxy, no_proxy), or read a local copy"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often. Seconds, but for the counts.

    timeout: of silence, as huggingface_hub has it (HF_HUB_DOWNLOAD_TIMEOUT). first_wait doubles with each try.
    longest_wait: also where a server asks for more by `Retry-After`. grace: for any answer, and as much again as its
    bytes take at `slowest` bytes a second: a server that sends a byte now and then is never silent.
    """

    timeout: float = 10.0
    tries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    redirects: int = 5
    slowest: int = 10_000
    grace: float = 60.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    subject: what errors are about: the address as the user knows it.
    secret: headers for the server of `url` alone.
    span: (first byte, how many); None for all of it. expected: bytes that the answer may have.
    public: a public server led here, and may not lead into this machine's own network.
    """

    url: str
    subject: str
    secret: Mapping[str, str] = field(default_factory=dict)
    span: tuple[int, int] | None = None
    expected: int = 1 << 20
    public: bool = False


@dataclass(slots=True)
class Reply:
    """The head of an answer, and its body to be read.

    url: where it came from in the end. first: the head of the first answer, where that was a redirect. public: see Ask.
    """

    status: int
    headers: Message
    url: str
    public: bool
    first: Message
    _body: http.client.HTTPResponse

    def read_into(self, view: memoryview) -> Iterator[int]:
        """Fills `view`, and gives how many bytes came each time. Raises Passing where it ends before."""
        done = 0
        while done < len(view):
            got = self._body.readinto(view[done : done + _CHUNK])
            if not got:
                raise Passing(f"the connection broke after {done:,} of {len(view):,} bytes")
            done += got
            yield got

    def data(self, largest: int) -> bytes | None:
        """All of it; None where it is more than `largest` bytes."""
        found = bytearray()
        while len(found) <= largest:
            part = self._body.read(min(_CHUNK, largest + 1 - len(found)))
            if not part:
                break
            found += part
        if len(found) > largest:
            return None
        if self._body.length:  # http.client says nothing where a counted read ends early
            raise Passing(f"the connection broke {self._body.length:,} bytes before the end")
        return bytes(found)


class Passing(Exception):
    """A fault that another try may not meet. after: seconds that the server asks for."""

    def __init__(self, fact: str, after: float | None = None, way_out: str = _NETWORK) -> None:
        super().__init__(fact)
        self.fact, self.after, self.way_out = fact, after, way_out


class Transport:
    """Sends requests for several threads over connections that stay open."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._connections = Connections(patience.timeout)

    def close(self) -> None:
        self._connections.close()

    def exchange(self, ask: Callable[[], Ask], take: Callable[[Reply], T]) -> T:
        """What `take` makes of the answer to `ask()`; both are called anew for each try.

        take: gets every answer that is neither a redirect nor a passing fault, whatever its status. Raises what it
        raises; MissingInput where nothing can be reached or a server gives no answer in so many tries;
        HostileCheckpoint for a redirect that leads where none may lead.
        """
        tried = 0
        while True:
            tried += 1
            now = ask()
            try:
                with self._answered(now) as reply:
                    return take(reply)
            except Passing as fault:
                if tried >= self.patience.tries:
                    raise MissingInput(now.subject, f"{fault.fact} ({tried} tries)", fault.way_out) from fault
                backoff = self.patience.first_wait * 2 ** (tried - 1)
                time.sleep(min(max(fault.after or 0.0, backoff), self.patience.longest_wait))

    @contextmanager
    def _answered(self, ask: Ask) -> Iterator[Reply]:
        """The answer at the end of all redirects."""
        first: Message | None = None
        for _ in range(self.patience.redirects + 1):
            server = server_of(ask.url)
            with _told(ask, server), self._sent(ask, server) as (connection, response):
                if response.status not in _REDIRECTS:
                    yield self._reply(ask, connection, response, first)
                    return
                first = first or response.headers
                ask = _redirected(ask, response.headers.get("Location", ""), connection)
        raise HostileCheckpoint(
            ask.subject, f"redirects more than {self.patience.redirects} times", "tell its owner"
        )

    def _reply(
        self, ask: Ask, connection: Connection, response: http.client.HTTPResponse, first: Message | None
    ) -> Reply:
        if response.status in _PASSING:
            what = "the server asks to wait" if response.status == 429 else "the server failed"
            raise Passing(f"{what} (HTTP {response.status})", _seconds(response.headers.get("Retry-After")))
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            _refuse(ask, "is sent packed, which was not asked for", "ask its owner, or download it")
        public = ask.public or not (connection.proxied or connection.private)
        return Reply(
            response.status,
            response.headers,
            ask.url,
            public,
            first or response.headers,
            response,
        )

    @contextmanager
    def _sent(self, ask: Ask, server: Server) -> Iterator[tuple[Connection, http.client.HTTPResponse]]:
        """The head of the answer. A connection that the server closed while it was idle says nothing: try another."""
        while True:
            connection = self._connections.take(server)
            with self._in_time(ask, connection):
                try:
                    self._refuse_private(ask, connection)
                    response = connection.send(ask.url, _headers(ask))
                except (http.client.HTTPException, ConnectionError):
                    connection.wire.close()
                    if not connection.used:
                        raise
                    continue
                except BaseException:
                    connection.wire.close()
                    raise
                with self._kept(connection, response):
                    yield connection, response
                return

    @contextmanager
    def _kept(self, connection: Connection, response: http.client.HTTPResponse) -> Iterator[None]:
        """The connection is used again where the answer was read to its end."""
        reusable = False
        try:
            yield
            if response.length is not None and response.length <= _LEFT_OVER:
                response.read()
            reusable = response.isclosed() and not response.will_close
        finally:
            if reusable:
                self._connections.give(connection)
            else:
                response.close()
                connection.wire.close()

    @contextmanager
    def _in_time(self, ask: Ask, connection: Connection) -> Iterator[None]:
        """Cuts the connection when the block takes too long, and says so."""
        seconds = self.patience.grace + ask.expected / self.patience.slowest
        late = Event()

        def cut() -> None:
            late.set()
            connection.cut()

        timer = Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        slow = Passing(f"the server is too slow (not done in {seconds:.0f} s)")
        try:
            yield
        except Exception as error:  # whatever is made of a half answer
            if late.is_set():
                raise slow from error
            raise
        finally:
            timer.cancel()
        if late.is_set():
            raise slow

    def _refuse_private(self, ask: Ask, connection: Connection) -> None:
        """Before a byte is sent: a page of the Internet must not make this machine ask its neighbours."""
        if not ask.public:
            return
        connection.connect()
        if connection.private:
            host = urlsplit(ask.url).hostname
            fact = f"redirects from a public server to {quoted(host)}, which is in this machine's own network"
            raise HostileCheckpoint(ask.subject, fact, "name that server yourself where it is meant")


def _headers(ask: Ask) -> dict[str, str]:
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **ask.secret}
    if ask.span is not None:
        start, count = ask.span
        headers["Range"] = f"bytes={start}-{start + count - 1}"
    return headers


def _redirected(ask: Ask, location: str, connection: Connection) -> Ask:
    """The next request. What was for this server alone stays with it."""
    if not location or not location.isprintable():
        _refuse(ask, "redirects to nowhere", "tell its owner")
    try:
        url = urljoin(ask.url, quote(location, safe=AS_THEY_ARE))
        server = server_of(url)
    except ValueError:
        _refuse(
            ask,
            f"redirects to {quoted(location.partition('?')[0], 60)}, which is no web address",
            "tell its owner",
        )
    here = connection.server
    if here.scheme == "https" and server.scheme == "http":
        _refuse(ask, "redirects from https to http, which anybody can read and change", "tell its owner")
    public = ask.public or not (connection.proxied or connection.private)
    there = replace(ask, url=url, public=public)
    return there if server == here else replace(there, secret={})


@contextmanager
def _told(ask: Ask, server: Server) -> Iterator[None]:
    """Makes one line of what the network, TLS and the proxy raise; `Passing` of what another try may mend."""
    try:
        yield
    except (WeightsmithError, Passing):
        raise
    except ssl.SSLCertVerificationError as error:
        fact = f"{server.name} shows no certificate that is trusted here ({error.verify_message})"
        way_out = "add its authority with SSL_CERT_FILE, or check the proxy; nothing is read without"
        raise MissingInput(ask.subject, fact, way_out) from error
    except socket.gaierror as error:
        fact = f"{server.name} is not found ({(error.strerror or 'no such host').lower()})"
        raise MissingInput(ask.subject, fact, _NETWORK) from error
    except (
        TimeoutError,
        ssl.SSLEOFError,
        ConnectionResetError,
        ConnectionAbortedError,
        BrokenPipeError,
    ) as error:
        silent = isinstance(error, TimeoutError)
        fact = f"{server.name} does not answer" if silent else f"{server.name} broke the connection"
        raise Passing(fact) from error
    except http.client.HTTPException as error:
        what = str(error) or type(error).__name__
        raise Passing(f"{server.name} broke the connection ({quoted(what)})") from error
    except OSError as error:
        reason = quoted((error.strerror or str(error)).lower())[1:-1]
        raise MissingInput(ask.subject, f"{server.name} cannot be reached ({reason})", _NETWORK) from error


def _seconds(text: str | None) -> float | None:
    """What `Retry-After` says: seconds, or a date (RFC 9110, 10.2.3)."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _refuse(ask: Ask, fact: str, way_out: str) -> NoReturn:
    raise HostileCheckpoint(ask.subject, fact, way_out)
