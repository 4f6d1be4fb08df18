"""How a STUN or TURN client reaches a server: by which carrier, and whom it believes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from natkit.aio.driver import StreamCarrier
from natkit.aio.dtls import DtlsAssociations, DtlsClient, dtls_client_context
from natkit.aio.tcp import StreamConnections
from natkit.aio.tls import TlsClient, TlsConnections, client_context
from natkit.errors import MisuseError
from natkit.locate import Target
from natkit.machine import StreamFraming, Transport
from natkit.net.proxy import Proxy
from natkit.stun.framing import StunFraming

__all__ = [
    "ALPN_NAT_DISCOVERY",
    "ALPN_TURN",
    "SYSTEM_TRUST",
    "Trust",
    "client_connections",
    "client_streams",
]

ALPN_TURN: Final = "stun.turn"
"""What a TURN client says that it speaks (RFC 7443 §3)."""

ALPN_NAT_DISCOVERY: Final = "stun.nat-discovery"
"""What a client says that uses Binding alone (RFC 7443 §3)."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which servers a client believes, over TLS and DTLS.

    ``roots`` is a PEM file of the authorities that may vouch for them, by default the system's.
    Without ``verify`` anybody is believed, and so nobody is proven: for tests of one's own server.
    """

    roots: FilePath | None = None
    verify: bool = True


SYSTEM_TRUST: Final = Trust()
"""The system's authorities."""


def client_streams(
    server: Target, alpn: Sequence[str], trust: Trust, proxy: Proxy | None = None
) -> StreamCarrier:
    """What carries STUN to ``server`` by its transport, if that is not UDP.

    Over TCP and TLS it is reached through ``proxy``, if there is one.
    Its certificate must be for ``server.tls_name`` (RFC 8489 §6.2.3).  MisuseError when the
    authorities of ``trust`` can't be read.
    """
    match server.transport:
        case Transport.TLS:
            return client_connections(server, alpn, trust, StunFraming, proxy)
        case Transport.DTLS:
            context = dtls_client_context(trust=trust.roots, verify=trust.verify, alpn=alpn)
            return DtlsAssociations(client=DtlsClient(server.tls_name, context))
        case _:
            return client_connections(server, alpn, trust, StunFraming, proxy)


def client_connections(
    server: Target,
    alpn: Sequence[str],
    trust: Trust,
    framing: Callable[[], StreamFraming],
    proxy: Proxy | None = None,
) -> StreamConnections:
    """Connections to ``server``, over TLS if that is its transport, else over TCP."""
    if server.transport is Transport.TLS:
        client = _tls_client(server.tls_name, alpn, trust)
        return TlsConnections(framing, client=client, proxy=proxy)
    return StreamConnections(framing, proxy=proxy)


def _tls_client(name: str, alpn: Sequence[str], trust: Trust) -> TlsClient:
    try:
        context = client_context(
            trust=trust.roots, verify=trust.verify, check_hostname=True, alpn=alpn
        )
    except OSError as error:
        raise MisuseError(f"cannot read the trusted certificates in {trust.roots}") from error
    return TlsClient(name, context)
