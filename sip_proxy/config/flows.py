"""``[flows]``: how phones are reached that nobody can connect to."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from natkit.errors import MalformedMessage, MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Switch, read_text
from natkit.sip import SipUri
from sip_proxy.config.tables import DEFAULT
from sip_proxy.outbound import OutboundSettings, read_edge

__all__ = ["Flows"]

_OUTBOUND = DEFAULT.outbound


def _edge(value: object) -> SipUri:
    return read_edge(read_text(value, "a URI like sip:10.0.0.5:5060;transport=tcp"))


def _route(value: object) -> SipUri:
    text = read_text(value, "a URI like sip:proxy.example.org;lr")
    try:
        uri = SipUri.parse(text)
    except MalformedMessage as error:
        raise MisuseError(str(error)) from None
    if not uri.loose_routing:
        raise MisuseError(f"{text!r} lacks ;lr, without which phones route strictly")
    return uri


EdgeUri = Annotated[SipUri, BeforeValidator(_edge)]
RouteUri = Annotated[SipUri, BeforeValidator(_route)]


class Flows(Table):
    """How phones are reached by the flows that they registered on (RFC 5626)."""

    edge: EdgeUri | None = None
    """The URI by which other proxies with the same registrations reach this one, like
    ``sip:10.0.0.5:5060;transport=tcp``; none: the listener that a phone came to, by its address."""
    flow_timer: Annotated[int, Field(ge=0, le=86_400, strict=True)] = _OUTBOUND.flow_timer or 0
    """Seconds for which a connection registered by RFC 5626 may be silent before it is closed;
    0: for ever."""
    service_route: tuple[RouteUri, ...] = ()
    """URIs by which phones are told to send their requests (RFC 3608), like
    ``sip:proxy.example.org;lr``."""
    path_needs_support: Switch = _OUTBOUND.path_needs_support
    """Whether a registration that came through other proxies is refused by 420 when the phone does
    not say that it understands Path (RFC 3327)."""

    def outbound(self) -> OutboundSettings:
        """What the machine is told."""
        return OutboundSettings(
            edge=self.edge,
            flow_timer=self.flow_timer or None,
            service_route=self.service_route,
            path_needs_support=self.path_needs_support,
        )
