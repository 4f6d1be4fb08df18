"""All clients but those on UDP, as one carrier: connections, plain and TLS, and DTLS."""

import asyncio
import socket
from collections.abc import Sequence
from functools import partial

from OpenSSL import SSL

from natkit.address import Address
from natkit.aio.accepting import StreamListener
from natkit.aio.driver import Inputs
from natkit.aio.dtls import DtlsAssociations
from natkit.aio.dtls_listener import DtlsListener
from natkit.aio.tcp import Detached, StreamConnections, Taker
from natkit.aio.tls import TlsConnections
from natkit.errors import MisuseError, UnreachableError
from natkit.machine import Path, Transmit, Transport
from natkit.stun.framing import StunFraming
from natkit.stun.registry import MessageClass, Method, message_type
from stun_server.shell.certificates import Certificates
from stun_server.shell.connections import Admission
from stun_server.shell.listening import Listener

__all__ = ["Clients"]

_CONNECTION_BIND = message_type(Method.CONNECTION_BIND, MessageClass.REQUEST)


class Clients:
    """A :class:`~natkit.aio.driver.StreamCarrier` that keeps each transport's clients apart.

    ``certificates`` are needed for listeners of TLS and DTLS.  A connection on TCP or TLS may
    become a client data connection (RFC 6062), which :meth:`detach` gives away.
    """

    def __init__(self, admission: Admission, certificates: Certificates | None) -> None:
        self._admission = admission
        self._certificates = certificates
        # What follows a ConnectionBind request may be data.
        framing = partial(StunFraming, hold_after=(_CONNECTION_BIND,))
        self._tcp = StreamConnections(framing)
        self._tls = TlsConnections(framing)
        self._dtls = DtlsAssociations()
        self._carriers: dict[Transport, StreamConnections | DtlsAssociations] = {
            Transport.TCP: self._tcp,
            Transport.TLS: self._tls,
            Transport.DTLS: self._dtls,
        }
        self._stream_listeners: list[StreamListener] = []
        self._dtls_listeners: list[DtlsListener] = []
        self.renew()

    def renew(self) -> None:
        """Take the certificate that is in use now for the handshakes that begin later."""
        if self._certificates is not None:
            self._tls.server = self._certificates.current.tls

    def listen(self, listeners: Sequence[Listener]) -> None:
        """Serve on these; those for TCP and TLS may share a socket."""
        streams: dict[socket.socket, list[Listener]] = {}
        for listener in listeners:
            match listener.transport:
                case Transport.DTLS:
                    self._dtls_listeners.append(
                        self._dtls.listen(listener.socket, self._dtls_context, self._admission)
                    )
                case Transport.TCP | Transport.TLS:
                    streams.setdefault(listener.socket, []).append(listener)
                case _:
                    raise MisuseError(f"{listener.transport} clients are not served here")
        for sock, sharing in streams.items():
            transports = {each.transport for each in sharing}
            self._stream_listeners.append(
                StreamListener(
                    sock,
                    self._admission,
                    plain=self._tcp if Transport.TCP in transports else None,
                    secure=self._tls if Transport.TLS in transports else None,
                    proxies=next((each.proxies for each in sharing if each.proxies), None),
                )
            )

    def _dtls_context(self) -> SSL.Context:
        if self._certificates is None:
            raise MisuseError("DTLS needs a certificate")
        return self._certificates.current.dtls

    @property
    def unframeable(self) -> int:
        """Connections cut because their bytes could not be framed."""
        return self._tcp.unframeable + self._tls.unframeable

    @property
    def refused(self) -> int:
        """Connections that did not begin as they must, TLS handshakes that failed among them."""
        return sum(each.refused for each in self._stream_listeners)

    @property
    def crowded_out(self) -> int:
        """DTLS clients turned away because too many were shaking hands."""
        return sum(each.crowded_out for each in self._dtls_listeners)

    def last_messages(self) -> dict[Path, float]:
        """Each open path, and the loop's time of its last whole message or else its beginning."""
        return {
            path: last
            for carrier in self._carriers.values()
            for path, last in carrier.last_messages().items()
        }

    # ── the carrier ─────────────────────────────────────────────────────────────────────────────

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        for carrier in self._carriers.values():
            carrier.attach(inputs)

    def share(self, taker: Taker) -> None:
        """Let ``taker`` have the messages of connections on TCP and TLS first."""
        self._tcp.taker = self._tls.taker = taker

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect; raises UnreachableError."""
        carrier = self._carriers.get(transport)
        if carrier is None:
            raise UnreachableError(f"cannot connect to {remote} over {transport.upper()}")
        return await carrier.connect(transport, local, remote)

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that :meth:`connect` made."""
        self._carriers[path.transport].start(path)

    def send(self, transmit: Transmit) -> None:
        """Send a message."""
        self._carriers[transmit.path.transport].send(transmit)

    def offer(self, path: Path, data: bytes) -> bool:
        """Send a message that may be lost, unless the client is behind with reading."""
        return self._carriers[path.transport].offer(path, data)

    def detach(self, path: Path) -> Detached | None:
        """Give away a connection on TCP or TLS; None when it is gone."""
        carrier = self._tls if path.transport is Transport.TLS else self._tcp
        return carrier.detach(path)

    def close_path(self, path: Path) -> None:
        """Close that connection, if it is there."""
        self._carriers[path.transport].close_path(path)

    async def aclose(self) -> None:
        """Stop accepting, and close every connection."""
        for listener in self._stream_listeners:
            await listener.aclose()
        await asyncio.gather(*(carrier.aclose() for carrier in self._carriers.values()))
