"""What is settled about the flows of phones (RFC 5626); :mod:`sip_proxy.edge` works by it."""

from dataclasses import dataclass

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip import SipUri

__all__ = ["OutboundSettings", "read_edge"]


@dataclass(frozen=True, slots=True)
class OutboundSettings:
    """``edge`` leads to this very proxy, from others that share its bindings.

    None: the listener that a flow came to, by its address.
    """

    edge: SipUri | None = None
    flow_timer: int | None = 120
    """Seconds for which a connection of RFC 5626 may be silent; None: for ever."""
    service_route: tuple[SipUri, ...] = ()
    """The way that phones are told to send their requests by (RFC 3608)."""
    path_needs_support: bool = False
    """Refuse a Path that the phone does not say to understand (RFC 3327 §5.3)."""

    def __post_init__(self) -> None:
        if self.flow_timer is not None and self.flow_timer < 1:
            raise MisuseError("flow_timer is a second at the least")


def read_edge(text: str) -> SipUri:
    """The setting ``edge``; MisuseError when it is no SIP URI of a host alone."""
    try:
        uri = SipUri.parse(text)
    except MalformedMessage as error:
        raise MisuseError(str(error)) from error
    if uri.user is not None or uri.headers:
        raise MisuseError(f"{text} has more than a host, a port and a transport")
    return uri
