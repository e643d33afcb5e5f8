"""Connections that are kept open for each server, made directly or through the environment's proxies."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from weightsmith.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS = {"http": 80, "https": 443}
# RFC 1123, 2.1, with the underscore that is used all the same; or an IPv6 address. Others fail in Python's codecs.
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?|[0-9a-f:.]*:[0-9a-f:.]*", re.ASCII)
# Idle ones for one server: as many as there are threads that read.
_MOST_IDLE = 16


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a request goes to: what a secret may be sent to is one of these."""

    scheme: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """As a `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def server_of(url: str) -> Server:
    """Raises ValueError for a URL of another scheme, with a user in it, or whose host is no name or number."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or parts.username is not None or not _HOST.fullmatch(host):
        raise ValueError(url)
    return Server(parts.scheme, host, parts.port or _PORTS[parts.scheme])


@dataclass(slots=True)
class Connection:
    """A connection. proxied: it goes through a proxy, which then resolves the names. plain: the proxy wants whole URLs,
    as it does for http. used: a request has been answered on it. private: it leads to this machine or its own network;
    behind a proxy nobody here can say."""

    wire: http.client.HTTPConnection
    server: Server
    proxied: bool = False
    plain: bool = False
    authorization: str = ""
    used: bool = False
    private: bool = False
    socket: socket.socket | None = None

    def connect(self) -> None:
        """Raises what sockets and ssl raise."""
        if self.wire.sock is None:
            self.wire.connect()
            self.socket = self.wire.sock
            peer: tuple[str, int] = self.wire.sock.getpeername()  # type: ignore[attr-defined]
            self.private = not (self.proxied or is_public(peer[0]))

    def cut(self) -> None:
        """From another thread: whoever waits for it gets an end."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def send(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Asks for a URL of its server, and reads the head of the answer. Raises what http.client and ssl raise."""
        self.connect()
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if self.plain:
            path = f"http://{self.server.name}{path}"
        own = {"Proxy-Authorization": self.authorization} if self.plain and self.authorization else {}
        self.wire.request("GET", path, headers={**headers, **own})
        return self.wire.getresponse()


def is_public(host: str) -> bool:
    """Whether an IP address is one of the Internet."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:10.0.0.1 is 10.0.0.1
    return bool((mapped or address).is_global)


class Connections:
    """Open connections by server; several threads take from it and give back."""

    def __init__(self, timeout: float) -> None:
        """timeout: seconds of silence after which a server counts as gone."""
        self._timeout = timeout
        self._idle: dict[Server, list[Connection]] = {}
        self._lock = Lock()

    def take(self, server: Server) -> Connection:
        """One that is idle, or else a new one, which is connected when it is used first."""
        with self._lock:
            idle = self._idle.get(server)
            if idle:
                return idle.pop()
        return self._made(server)

    def give(self, connection: Connection) -> None:
        """Keeps a connection whose last answer was read to its end."""
        connection.used = True
        with self._lock:
            idle = self._idle.setdefault(connection.server, [])
            if len(idle) < _MOST_IDLE:
                idle.append(connection)
                return
        connection.wire.close()

    def close(self) -> None:
        with self._lock:
            for idle in self._idle.values():
                for connection in idle:
                    connection.wire.close()
            self._idle.clear()

    def _made(self, server: Server) -> Connection:
        proxy = _proxy_for(server)
        if proxy is None:
            return Connection(self._opened(server.scheme, server.host, server.port), server)
        authorization = _authorization(proxy)
        host, port = proxy.hostname or "", proxy.port or _PORTS[proxy.scheme]
        if server.scheme == "http":
            plain = self._opened(proxy.scheme, host, port)
            return Connection(plain, server, proxied=True, plain=True, authorization=authorization)
        tunnel = self._opened("https", host, port)
        secret = {"Proxy-Authorization": authorization} if authorization else {}
        tunnel.set_tunnel(server.host, server.port, secret)
        return Connection(tunnel, server, proxied=True)

    def _opened(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._trust)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The system's authorities, or those that the variables of the hub libraries' HTTP clients name."""
        named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        try:
            return ssl.create_default_context(cafile=named or None)
        except (OSError, ssl.SSLError) as error:
            raise Usage(
                named or "the system", f"gives no certificates ({error})", "mend the file or unset it"
            ) from error


def _proxy_for(server: Server) -> SplitResult | None:
    """What `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` say, in either case, as everywhere."""
    proxies = getproxies_environment()
    named = proxies.get(server.scheme) or proxies.get("all")
    if not named or proxy_bypass_environment(f"{server.host}:{server.port}", proxies):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme not in _PORTS or not proxy.hostname:
        name = "a proxy of the environment"
        raise Usage(name, f"is one of {proxy.scheme}://, not of http://", "name an HTTP proxy in https_proxy")
    return proxy


def _authorization(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
