"""A request as it leaves (RFC 3261 §16.6): what is changed in the copy that goes to one target."""

from natkit.errors import MalformedMessage
from natkit.machine import Path, Transport
from natkit.sip import AbsoluteUri, NameAddress, Request, Scheme, SipUri, TelUri, Via
from natkit.sip.kinds import CONTACT, CONTENT_LENGTH, MAX_BREADTH, MAX_FORWARDS, ROUTE, VIA
from natkit.sip.registry import INITIAL_MAX_FORWARDS
from sip_proxy.flow_tokens import FlowToken, FlowTokens
from sip_proxy.record_route import RECORDED_METHODS, record
from sip_proxy.routing import next_hop, postprocess, with_headers, with_uri
from sip_proxy.secure import is_secure, raised
from sip_proxy.settings import Listener
from sip_proxy.targets import Contact

__all__ = ["forwarded", "must_be_recorded", "recorded", "signed"]


def forwarded(
    request: Request, contact: Contact, breadth: int | None
) -> tuple[Request, SipUri | TelUri | AbsoluteUri]:
    """Steps 1 to 3, 6 and 7: the copy, and the URI of whom to send it to."""
    headers = request.headers
    hops = headers.get(MAX_FORWARDS)
    headers = headers.replace(MAX_FORWARDS, INITIAL_MAX_FORWARDS if hops is None else hops - 1)
    if breadth is not None:
        headers = headers.replace(MAX_BREADTH, breadth)
    for route in reversed(contact.route):
        headers = headers.prepend(ROUTE, route)
    copy = with_headers(request, headers)
    if contact.uri != request.uri:
        copy = with_uri(copy, contact.uri)
    hop = next_hop(copy)
    if contact.hop is not None and hop == copy.uri:
        hop = contact.hop
    if is_secure(copy.uri):
        hop = raised(hop)
    return postprocess(copy), hop


def must_be_recorded(request: Request, contact: Contact) -> bool:
    """Whether a side of the dialog is reached by a flow of ours alone, whatever is configured.

    So it is who was called by such a flow, and who says by ``ob`` in its Contact that it called by
    one (RFC 5626 §5.3).
    """
    if contact.flow is not None and contact.needs_flow:
        return True
    try:
        caller = request.headers.first(CONTACT)
    except MalformedMessage:
        return False
    uri = caller.uri if isinstance(caller, NameAddress) else None
    return isinstance(uri, SipUri) and uri.has_parameter("ob") and _is_alone(request)


def recorded(
    request: Request,
    inbound: tuple[Listener, Path],
    outbound: tuple[Listener, Path],
    tokens: FlowTokens,
    *,
    reaches_user_agent: bool,
) -> Request:
    """Step 4: our Record-Route, in requests that have use for it."""
    if request.method not in RECORDED_METHODS:
        return request
    secure = is_secure(request.uri) or is_secure(next_hop(request))
    sides = (
        # One Via: nobody stands between us and who sent it.
        (inbound[0], FlowToken(inbound[1], _is_alone(request))),
        (outbound[0], FlowToken(outbound[1], reaches_user_agent)),
    )
    scheme = Scheme.SIPS if secure else Scheme.SIP
    return with_headers(request, record(request.headers, *sides, tokens, scheme))


def signed(request: Request, listener: Listener, branch: str) -> Request:
    """Steps 8 and 9: our Via on top, and a Content-Length where a stream needs one."""
    port = None if listener.name and listener.is_default_port else listener.address.port
    # Whoever trusts our certificate may send back on the same connection (RFC 5923 §5).
    via = Via.of(
        listener.transport,
        listener.host,
        branch,
        port=port,
        alias=listener.transport is Transport.TLS,
    )
    headers = request.headers.prepend(VIA, via)
    if listener.transport.is_reliable and not headers.has(CONTENT_LENGTH):
        headers = headers.append(CONTENT_LENGTH, len(request.body))
    return with_headers(request, headers)


def _is_alone(request: Request) -> bool:
    try:
        return len(request.headers.get_all(VIA)) == 1
    except MalformedMessage:
        return False
