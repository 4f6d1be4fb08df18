"""TLS connections that carry framed messages, for a driver: TCP's, with the ssl module beneath.

::

    client = TlsClient("example.org", client_context())
    streams = TlsConnections(SipFraming, client=client)
    ...
    session = streams.session(path)      # version, cipher, the peer's certificates

Which names a certificate must carry differs by protocol, so :class:`TlsClient` takes a ``check``
that sees the session before anything is sent on it.
"""

import asyncio
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from socket import socket
from typing import ClassVar, Protocol, TypeVar, cast

from natkit.address import Address
from natkit.aio.system_errors import reason
from natkit.aio.tcp import BACKLOG, CONNECT_TIMEOUT, LINGER, StreamConnections
from natkit.aio.tls_alert import AlertingContext, farewell, reason_of
from natkit.errors import MisuseError, TlsFailed
from natkit.machine import Path, StreamFraming, Transport
from natkit.net.proxy import Proxy

P = TypeVar("P", bound=asyncio.BaseProtocol)

__all__ = ["TlsClient", "TlsConnections", "TlsSession", "client_context", "server_context"]


@dataclass(frozen=True, slots=True)
class TlsSession:
    """What a handshake agreed on.

    ``certificates`` are the peer's, its own first, each in DER, as it sent them; nobody but the
    context and ``check`` of the TlsClient looked at them.
    """

    version: str
    cipher: str
    alpn: str | None
    certificates: tuple[bytes, ...]


def _accept_any(_: TlsSession) -> None:
    pass


@dataclass(frozen=True, slots=True)
class TlsClient:
    """How connections are made secure.

    ``server_name`` is named to the server (SNI) unless it is None or an IP address, and is what the
    context checks if its ``check_hostname`` is set.  ``check`` raises :class:`TlsFailed` for a peer
    that is not to be spoken to.
    """

    server_name: str | None
    context: ssl.SSLContext
    check: Callable[[TlsSession], None] = _accept_any

    def __post_init__(self) -> None:
        try:
            if (self.server_name or "x").startswith("."):
                raise UnicodeError
            (self.server_name or "").encode("idna")
        except UnicodeError:
            raise MisuseError(f"{self.server_name!r} is not a server's name") from None


def client_context(
    *,
    trust: FilePath | None = None,
    verify: bool = True,
    check_hostname: bool = False,
    certificate: tuple[FilePath, FilePath] | None = None,
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """A client's context: TLS 1.2 and up (RFC 9325 §3.1.1).

    ``trust`` is a PEM file of roots, by default the system's.  Without ``verify`` any certificate
    passes, for those who examine it afterwards.  ``check_hostname`` compares names as RFC 9525
    does; SIP has rules of its own (RFC 5922).  ``certificate`` is ours, with its key, in PEM.
    """
    context = AlertingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = verify and check_hostname
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if verify and trust is None:
        context.load_default_certs()
    elif verify:
        context.load_verify_locations(cafile=trust)
    _present(context, certificate, alpn)
    return context


def server_context(
    certificate: tuple[FilePath, FilePath],
    *,
    client_trust: FilePath | None = None,
    client_revoked: FilePath | None = None,
    require_client: bool = True,
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """A server's context: TLS 1.2 and up.

    ``certificate`` is a PEM file of the chain and one of its key.  With ``client_trust``, a PEM
    file of roots, clients must present a certificate; without ``require_client`` they may have
    none, but not a wrong one.  ``client_revoked`` is a PEM file of revocation lists (RFC 5280 §5):
    with it a certificate counts only if a list of its issuer, which is in force, does not have it.
    """
    context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if client_trust is not None:
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
        context.load_verify_locations(cafile=client_trust)
        if client_revoked is not None:
            context.load_verify_locations(cafile=client_revoked)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    _present(context, certificate, alpn)
    return context


def _present(
    context: ssl.SSLContext, certificate: tuple[FilePath, FilePath] | None, alpn: Sequence[str]
) -> None:
    try:
        if certificate is not None:
            context.load_cert_chain(*certificate)
    except OSError as error:
        raise MisuseError(f"cannot use {certificate}: {_why(error)}") from error
    if alpn:
        context.set_alpn_protocols(list(alpn))


class TlsConnections(StreamConnections):
    """The TLS connections of one driver; a :class:`natkit.aio.driver.StreamCarrier`.

    Makes connections as ``client`` says and accepts them with the context ``server``; either may be
    left out, and ``server`` replaced for the handshakes that begin later.  A connection exists once
    its handshake is done; connecting and shaking hands have ``connect_timeout`` seconds each.
    ``on_accepted`` is told of each that was accepted, before anything that comes on it.
    """

    speaks: ClassVar[Transport] = Transport.TLS

    def __init__(
        self,
        framing: Callable[[], StreamFraming],
        *,
        client: TlsClient | None = None,
        server: ssl.SSLContext | None = None,
        on_accepted: Callable[[Path, TlsSession], None] | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        proxy: Proxy | None = None,
    ) -> None:
        super().__init__(framing, connect_timeout=connect_timeout, proxy=proxy)
        self._on_accepted = on_accepted
        self._client = client
        self.server = server

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect and shake hands; UnreachableError, TlsFailed for what is TLS's own fault."""
        path = await super().connect(transport, local, remote)
        if self._client is not None:
            try:
                self._client.check(self.session(path))
            except BaseException:
                self.close_path(path)
                raise
        return path

    def accepted(self, path: Path) -> None:
        """A connection was accepted, its handshake done."""
        if self._on_accepted is not None:
            self._on_accepted(path, self.session(path))

    def session(self, path: Path) -> TlsSession:
        """What the handshake on ``path`` agreed on; MisuseError when there is no connection."""
        tls = self.known_of(path, "ssl_object")
        if not isinstance(tls, ssl.SSLObject):
            raise MisuseError(f"{path} is no connection")
        cipher = tls.cipher()
        return TlsSession(
            version=tls.version() or "",
            cipher="" if cipher is None else cipher[0],
            alpn=tls.selected_alpn_protocol(),
            certificates=_chain(tls),
        )

    async def open_stream(self, protocol: Callable[[], P], sock: socket, doing: str) -> P:
        """Shake hands on a connected socket."""
        client = self._client
        if client is None:
            raise TlsFailed(f"cannot {doing}: this program only accepts TLS")
        try:
            # Who connects says why it goes, and does not wait until that is read.
            async with asyncio.timeout(self.connect_timeout), farewell(sock, 0.0):
                _, made = await self.loop.create_connection(
                    protocol,
                    sock=sock,
                    ssl=client.context,
                    server_hostname=client.server_name or "",
                    ssl_shutdown_timeout=LINGER,
                )
        except (OSError, EOFError) as error:
            # The connection stood: whatever happened since, TLS is what failed.  Frames of the loop
            # that the traceback knows know the error, and all of the handshake.
            raise TlsFailed(f"cannot {doing}: {_why(error)}") from error.with_traceback(None)
        return made

    async def open_accepted(self, protocol: asyncio.BaseProtocol, sock: socket, doing: str) -> None:
        """Shake hands on an accepted socket, within the time limit."""
        if self.server is None:
            raise MisuseError("there is no context to accept TLS with")
        try:
            async with farewell(sock, LINGER):
                await self.loop.connect_accepted_socket(
                    lambda: protocol,
                    sock,
                    ssl=self.server,
                    ssl_handshake_timeout=self.connect_timeout,
                    ssl_shutdown_timeout=LINGER,
                )
        except (OSError, EOFError) as error:
            raise TlsFailed(f"cannot {doing}: {_why(error)}") from error.with_traceback(None)

    async def open_server(
        self, protocol: Callable[[], asyncio.BaseProtocol], sock: socket
    ) -> asyncio.Server:
        """Accept connections that shake hands within the time limit.

        A client that is refused sees its connection end, without a reason: it is told by what
        :class:`natkit.aio.accepting.StreamListener` accepts and :meth:`adopt` is given.
        """
        if self.server is None:
            raise MisuseError("there is no context to accept TLS with")
        return await self.loop.create_server(
            protocol,
            sock=sock,
            backlog=BACKLOG,
            ssl=self.server,
            ssl_handshake_timeout=self.connect_timeout,
            ssl_shutdown_timeout=LINGER,
        )


class _Der(Protocol):
    """A certificate of the ssl module."""

    def public_bytes(self, encoding: int) -> bytes: ...


class _ChainSource(Protocol):
    """What the ssl module has of it before Python 3.13."""

    def get_unverified_chain(self) -> Sequence[_Der] | None: ...


_ENCODING_DER = 2
"""``_ssl.ENCODING_DER``."""


def _chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The peer's certificates, whether or not they are good."""
    if tls.getpeercert(binary_form=True) is None:
        # A client that has none; the ssl module would give a chain of nothing.
        return ()
    if sys.version_info >= (3, 13):
        return tuple(tls.get_unverified_chain())
    source = cast("_ChainSource", getattr(tls, "_sslobj"))  # noqa: B009 - unknown to typeshed
    return tuple(one.public_bytes(_ENCODING_DER) for one in source.get_unverified_chain() or ())


def _why(error: OSError | EOFError) -> str:
    """Why TLS failed, in a few words; the ssl module's errors carry no errno of the system."""
    match error := reason_of(error):
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "UNEXPECTED_MESSAGE"):
            return "what it speaks is not TLS"
        case ssl.SSLError(reason=str(code)):
            return f"TLS failed: {code.replace('_', ' ').lower()}"
        case EOFError() | ConnectionResetError() | ConnectionAbortedError():
            return "it ended the connection in the TLS handshake"
        case _:
            return reason(error)
