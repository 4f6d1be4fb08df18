"""Proxies on the way to TURN servers: SOCKS 5 and HTTP CONNECT, as handshakes without I/O.

::

    handshake = handshake_with(Proxy.parse("socks5://ann:secret@192.0.2.8:1080"), server)
    send(handshake.begin())
    while not handshake.is_done:
        send(handshake.receive(read()))      # MalformedMessage, or UnreachableError when it refuses
"""

import base64
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, Self
from urllib.parse import unquote, urlsplit

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError, UnreachableError
from natkit.net.registry import (
    SOCKS_CONNECT,
    SOCKS_PASSWORD_VERSION,
    SOCKS_REPLIES,
    SOCKS_SUCCEEDED,
    SOCKS_VERSION,
    SocksAddressType,
    SocksMethod,
)

__all__ = ["Handshake", "Proxy", "ProxyKind", "handshake_with"]

LONGEST_ANSWER: Final = 16 * 1024
"""Bytes of a proxy's answer: a page that explains a refusal may be longer, and is not read."""

LONGEST_CREDENTIAL: Final = 255
"""Bytes of a name or password (RFC 1929 §2)."""

_DEFAULT_PORTS: Final = {"socks5": 1080, "http": 8080}
_HTTP_OK: Final = range(200, 300)
_HTTP_PROXY_AUTHENTICATION = 407


class ProxyKind(StrEnum):
    """What a proxy speaks, by the scheme of its URI."""

    SOCKS5 = "socks5"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; ``host`` is a name or an address."""

    kind: ProxyKind
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for text in (self.username, self.password):
            if len(text.encode()) > LONGEST_CREDENTIAL or "\r" in text or "\n" in text:
                raise MisuseError("a proxy's user name and password have at most 255 bytes each")
        if ":" in self.username:
            raise MisuseError("a proxy's user name has no colon (RFC 7617 §2)")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``socks5://[user:password@]host[:port]``, or ``http://`` likewise.

        The ports are 1080 and 8080 by default.  MisuseError, which shows no password.
        """
        wrong = "a proxy is socks5://[user:password@]host[:port], or http://…"
        try:
            parts = urlsplit(text)
            kind, port = ProxyKind(parts.scheme), parts.port
        except ValueError:
            raise MisuseError(wrong) from None
        if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise MisuseError(wrong)
        return cls(
            kind,
            parts.hostname,
            port or _DEFAULT_PORTS[kind],
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"


class Handshake(Protocol):
    """The bytes before a proxy's connection is one to the server."""

    is_done: bool
    """Whether what follows is between us and the server."""

    def begin(self) -> bytes:
        """What to send first."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Take what came; what to send now.

        Raises UnreachableError when the proxy refuses, MalformedMessage when it speaks another
        protocol.
        """
        ...


def handshake_with(proxy: Proxy, server: Address) -> Handshake:
    """How to have ``proxy`` connect to ``server``."""
    match proxy.kind:
        case ProxyKind.SOCKS5:
            return _Socks5(proxy, server)
        case ProxyKind.HTTP:
            return _HttpConnect(proxy, server)


class _Socks5:
    """RFC 1928 with CONNECT, RFC 1929 for names and passwords."""

    def __init__(self, proxy: Proxy, server: Address) -> None:
        self.is_done = False
        self._proxy = proxy
        self._server = server
        self._buffer = b""
        self._step = self._method

    def begin(self) -> bytes:
        methods = bytes([SocksMethod.NONE])
        if self._proxy.username:
            methods += bytes([SocksMethod.PASSWORD])
        return bytes([SOCKS_VERSION, len(methods)]) + methods

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        sent = b""
        while True:
            step = self._step
            sent += step()
            if self._step == step:
                return sent

    def _method(self) -> bytes:
        if len(self._buffer) < 2:
            return b""
        version, method = self._take(2)
        self._check_version(version)
        if method == SocksMethod.NONE:
            return self._connect()
        if method == SocksMethod.PASSWORD and self._proxy.username:
            self._step = self._accepted
            name, password = self._proxy.username.encode(), self._proxy.password.encode()
            return (
                bytes([SOCKS_PASSWORD_VERSION, len(name)])
                + name
                + bytes([len(password)])
                + password
            )
        if method == SocksMethod.NOT_ACCEPTABLE:
            wants = "another proof than a password" if self._proxy.username else "a user name"
            raise UnreachableError(f"the proxy {self._proxy} wants {wants}")
        raise MalformedMessage(f"the proxy {self._proxy} chose what was not offered")

    def _accepted(self) -> bytes:
        if len(self._buffer) < 2:
            return b""
        _, status = self._take(2)
        if status != SOCKS_SUCCEEDED:
            raise UnreachableError(f"the proxy {self._proxy} refuses the user name or password")
        return self._connect()

    def _connect(self) -> bytes:
        self._step = self._connected
        packed = self._server.packed
        kind = SocksAddressType.IPV4 if len(packed) == 4 else SocksAddressType.IPV6
        port = self._server.port.to_bytes(2, "big")
        return bytes([SOCKS_VERSION, SOCKS_CONNECT, 0, kind]) + packed + port

    def _connected(self) -> bytes:
        buffer = self._buffer
        if len(buffer) < 5:
            return b""
        self._check_version(buffer[0])
        if buffer[1] != SOCKS_SUCCEEDED:
            said = SOCKS_REPLIES.get(buffer[1], f"reply {buffer[1]}")
            raise UnreachableError(
                f"the proxy {self._proxy} does not connect to {self._server}: {said}"
            )
        match buffer[3]:
            case SocksAddressType.IPV4:
                length = 4 + 4 + 2
            case SocksAddressType.IPV6:
                length = 4 + 16 + 2
            case SocksAddressType.DOMAIN_NAME:
                length = 4 + 1 + buffer[4] + 2
            case _:
                raise MalformedMessage(f"the proxy {self._proxy} is bound to no address")
        if len(buffer) > length:
            raise MalformedMessage(f"the proxy {self._proxy} speaks for the server")
        self.is_done = len(buffer) == length
        return b""

    def _check_version(self, version: int) -> None:
        if version != SOCKS_VERSION:
            raise MalformedMessage(f"{self._proxy} does not speak SOCKS 5")

    def _take(self, count: int) -> bytes:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


class _HttpConnect:
    """RFC 9110 §9.3.6, with Basic authentication (RFC 7617)."""

    def __init__(self, proxy: Proxy, server: Address) -> None:
        self.is_done = False
        self._proxy = proxy
        self._server = server
        self._buffer = b""

    def begin(self) -> bytes:
        lines = [f"CONNECT {self._server} HTTP/1.1", f"Host: {self._server}"]
        if self._proxy.username:
            pair = f"{self._proxy.username}:{self._proxy.password}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            if len(self._buffer) > LONGEST_ANSWER:
                raise MalformedMessage(f"the proxy {self._proxy} answers without end")
            return b""
        version, _, status = head.partition(b"\r\n")[0].partition(b" ")
        code, _, phrase = status.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not (len(code) == 3 and code.isdigit()):
            raise MalformedMessage(f"{self._proxy} does not speak HTTP/1.1")
        if int(code) not in _HTTP_OK:
            said = f"{code.decode()} {phrase[:100].decode('ascii', 'replace')}".strip()
            if int(code) == _HTTP_PROXY_AUTHENTICATION and self._proxy.username:
                said += ", for this user name and password"
            raise UnreachableError(
                f"the proxy {self._proxy} does not connect to {self._server}: {said}"
            )
        if rest:
            raise MalformedMessage(f"the proxy {self._proxy} speaks for the server")
        self.is_done = True
        return b""
