"""Record-Route: stay on the way of a dialog, on both sides of it (RFC 3261 §16.6 step 4, RFC 5658).

Two values always, one for each side: each names the listener there and the flow, so that requests
of either side find their way, across transports and through NATs.
"""

from functools import lru_cache

from natkit.machine import Transport
from natkit.sip import HeaderField, Headers, NameAddress, Parameter, Scheme, SipUri
from natkit.sip.kinds import RECORD_ROUTE
from sip_proxy.flow_tokens import FlowToken, FlowTokens
from sip_proxy.settings import Listener

__all__ = ["RECORDED_METHODS", "record", "uri_of"]

RECORDED_METHODS = frozenset({"INVITE", "SUBSCRIBE", "NOTIFY", "REFER", "UPDATE"})
"""Requests that open a dialog, or change where it leads (RFC 3261 §12, RFC 6665, RFC 3515)."""


def record(
    headers: Headers,
    inbound: tuple[Listener, FlowToken],
    outbound: tuple[Listener, FlowToken],
    tokens: FlowTokens,
    scheme: Scheme,
) -> Headers:
    """Put our two values on top, the side where the request goes first."""
    for listener, token in (inbound, outbound):
        headers = headers.prepend_field(_value(listener, scheme, tokens.write(token)))
    return headers


def uri_of(listener: Listener, scheme: Scheme, user: str | None = None) -> SipUri:
    """A URI that leads to a listener of ours."""
    parameters = [Parameter("lr", None)]
    if listener.transport is not Transport.UDP and not (
        scheme is Scheme.SIPS and listener.transport is Transport.TLS
    ):
        # URIs have one name for both kinds of WebSocket, and tell them by the scheme (RFC 7118 §5).
        spoken = Transport.WS if listener.transport is Transport.WSS else listener.transport
        parameters.insert(0, Parameter("transport", spoken.value))
    is_understood = listener.is_default_port and (
        listener.transport is not Transport.WSS or scheme is Scheme.SIPS
    )
    port = None if listener.name and is_understood else listener.address.port
    return SipUri(scheme, listener.host, user, None, port, tuple(parameters))


@lru_cache(4096)
def _value(listener: Listener, scheme: Scheme, token: str) -> HeaderField:
    return HeaderField.of(RECORD_ROUTE, NameAddress(uri_of(listener, scheme, token)))
