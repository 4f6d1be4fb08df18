"""Which keep-alive a SIP flow takes and how often, as its two ends agree (RFC 5626, RFC 6223)."""

from typing import Final, assert_never

from natkit.errors import MisuseError
from natkit.keepalive.flows import Technique
from natkit.machine import Transport

UDP_BOUND: Final = 29.0
"""Seconds between keep-alives over UDP, unless agreed otherwise (RFC 5626 §4.4.2)."""

STREAM_BOUND: Final = 120.0
"""Seconds over connections, unless agreed otherwise (RFC 5626 §4.4.1)."""

LEAST_BOUND: Final = 1.0
"""Seconds; a peer that asks for more haste is not heard."""

GRACE: Final = 10.0
"""Seconds past Flow-Timer before a server may call a flow dead (RFC 5626 §5.4)."""


def technique_for(transport: Transport) -> Technique:
    """The keep-alive of a SIP flow: STUN over UDP, CRLF over connections (RFC 5626 §3.5).

    WebSockets have a ping of their own (RFC 7118 §6).  MisuseError for DTLS and SCTP, on which
    SIP's outbound flows do not run.
    """
    match transport:
        case Transport.UDP:
            return Technique.STUN
        case Transport.TCP | Transport.TLS:
            return Technique.CRLF
        case Transport.WS | Transport.WSS:
            return Technique.WEBSOCKET
        case Transport.DTLS | Transport.SCTP | Transport.TLS_SCTP:
            raise MisuseError(f"no keep-alive is defined for SIP over {transport}")
        case _:
            assert_never(transport)


def default_bound(transport: Transport) -> float:
    """The upper bound in seconds when nothing was agreed."""
    return STREAM_BOUND if transport.is_reliable else UDP_BOUND


def negotiated_bound(
    transport: Transport, *, flow_timer: int | None = None, keep: int | None = None
) -> float:
    """The upper bound in seconds by what the other end asked for.

    ``flow_timer`` is the value of a Flow-Timer header field (RFC 5626 §4.4), ``keep`` that of the
    ``keep`` parameter in our Via of a response (RFC 6223 §4.3), both in seconds; zero is no wish.
    Flow-Timer says how long the edge waits and is kept to even where it is the shorter.
    """
    asked = [float(one) for one in (flow_timer, keep) if one]
    if not asked:
        return default_bound(transport)
    return max(min(asked), LEAST_BOUND)


def dead_after(flow_timer: float) -> float:
    """Seconds of silence after which an edge that sent Flow-Timer may end the flow (§5.4)."""
    return flow_timer + GRACE
