"""``[connections]``: TCP, TLS and WebSockets once they stand."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Count, Switch, read_text
from natkit.sip.flows import ConnectionReuse
from sip_proxy.config.tables import DEFAULT
from sip_proxy.keeping import KeepAliveSettings
from sip_proxy.shell.securing import TlsSettings
from sip_proxy.shell.streams import StreamSettings

__all__ = ["Connections"]

_SHELL = StreamSettings()
_ORIGIN = re.compile(r"(?i)https?://[^/?#\s]+")


def _origin(value: object) -> str:
    written = read_text(value, "an origin like https://phone.example.org")
    if not _ORIGIN.fullmatch(written):
        raise MisuseError(f"{written!r} is no origin like https://phone.example.org")
    return written.lower()


Origin = Annotated[str, BeforeValidator(_origin)]
Interval = Annotated[float, Field(ge=0, le=3600)]


class Connections(Table):
    """How connections are made, kept and used again."""

    connect_timeout: Annotated[float, Field(gt=0, le=9)] = _SHELL.connect_timeout
    """Seconds for a connection to be made, with the handshakes of TLS and WebSocket; then the next
    server is tried."""
    handshake_timeout: Annotated[float, Field(gt=0, le=60)] = _SHELL.handshake_timeout
    """Seconds for the TLS handshake of a client."""
    message_timeout: Annotated[float, Field(gt=0, le=600)] = _SHELL.message_timeout
    """Seconds from the first byte of a message to its last, and for a client's first message; then
    its connection is closed."""
    idle: Annotated[float, Field(gt=0, le=604_800)] = _SHELL.idle
    """Seconds for which a connection that came may bring nothing, not even a keep-alive."""
    idle_made: Annotated[float, Field(gt=0, le=604_800)] = _SHELL.idle_made
    """Seconds for which a connection that was made from here is kept for further use."""
    made: Count = _SHELL.largest_made
    """Connections at once that were made from here."""
    keep_alive: Interval = DEFAULT.keep_alive.connections
    """Seconds between keep-alives on connections that were made from here, at the most (RFC 5626
    §3.5.1); 0: none are sent."""
    websocket_ping: Interval = DEFAULT.keep_alive.websockets
    """Seconds between pings on WebSockets of phones, at the most; 0: none are sent."""
    websocket_origins: tuple[Origin, ...] | None = None
    """The web sites whose pages may open a WebSocket here, as ``https://phone.example.org``; none:
    any."""
    reuse: Switch = DEFAULT.reuse.secure
    """Whether a proxy that came over TLS and proved its domain is reached by the same connection
    (RFC 5923)."""
    reuse_tcp: Switch = DEFAULT.reuse.tcp
    """Whether that is done over TCP too, where a peer names the address that it comes from: any
    program on its host can say so."""

    def keep_alives(self) -> KeepAliveSettings:
        """What the machine is told of keep-alives."""
        return KeepAliveSettings(self.keep_alive, self.websocket_ping)

    def reused(self) -> ConnectionReuse:
        """What the machine is told of reuse."""
        return ConnectionReuse(self.reuse, self.reuse_tcp)

    def streams(self, tls: TlsSettings) -> StreamSettings:
        """What the shell is told."""
        return StreamSettings(
            tls,
            self.websocket_origins,
            self.connect_timeout,
            self.handshake_timeout,
            self.message_timeout,
            self.idle,
            self.idle_made,
            self.made,
        )
