"""Routes that lead to us, and where a request goes next (RFC 3261 §16.4, §16.6 steps 6 and 7)."""

from dataclasses import dataclass, replace

from natkit.machine import Path
from natkit.sip import AbsoluteUri, Headers, NameAddress, Request, SipUri, TelUri
from natkit.sip.kinds import ROUTE
from sip_proxy.flow_tokens import FlowToken, FlowTokens
from sip_proxy.identity import Identity

__all__ = [
    "Preprocessed",
    "next_hop",
    "postprocess",
    "preprocess",
    "with_headers",
    "with_uri",
    "without_our_maddr",
]


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """A request without the Routes that led to us.

    ``token`` is what the last of them proves: that we wrote it, and maybe the flow to go on by;
    ``is_forged``: it has a user part that is none of ours.  ``count`` is how many there were.
    """

    request: Request
    token: FlowToken | None = None
    is_forged: bool = False
    count: int = 0


def preprocess(request: Request, identity: Identity, tokens: FlowTokens) -> Preprocessed:
    """§16.4; MalformedMessage when a Route cannot be read."""
    uri = request.uri
    last: SipUri | None = None
    count = 0
    headers = request.headers
    if isinstance(uri, SipUri) and uri.loose_routing and identity.is_ours(uri):
        # A strict router put our Record-Route into the Request-URI and the target into Route.
        routes = headers.get_all(ROUTE)
        last, count = uri, 1
        if routes:
            headers = headers.replace(ROUTE, *routes[:-1])
            request = with_uri(with_headers(request, headers), routes[-1].uri)
    while (route := headers.first(ROUTE)) is not None:
        if not (isinstance(route.uri, SipUri) and identity.is_ours(route.uri)):
            break
        # Of two that are ours the last one knows the side where the request goes (RFC 5658).
        last, count = route.uri, count + 1
        headers = headers.remove_first(ROUTE)
        request = with_headers(request, headers)
    if last is None or last.user is None:
        return Preprocessed(request, count=count)
    token = tokens.read(last.user)
    return Preprocessed(request, token, token is None, count)


def without_our_maddr(request: Request, identity: Identity, path: Path) -> Request:
    """The same request where its ``maddr`` means us and it came as it says (§16.4)."""
    uri = request.uri
    if not isinstance(uri, SipUri) or uri.maddr is None or not identity.came_as(uri, path):
        return request
    kept = tuple(one for one in uri.parameters if one.key not in ("maddr", "transport"))
    return with_uri(request, replace(uri, port=None, parameters=kept))


def next_hop(request: Request) -> SipUri | TelUri | AbsoluteUri:
    """Whom to send to: the topmost Route, else the Request-URI (§16.6 step 7)."""
    route = request.headers.first(ROUTE)
    return request.uri if route is None else route.uri


def postprocess(request: Request) -> Request:
    """Prepare for a strict router, which wants itself in the Request-URI (§16.6 step 6)."""
    route = request.headers.first(ROUTE)
    if route is None or not isinstance(route.uri, SipUri) or route.uri.loose_routing:
        return request
    headers = request.headers.remove_first(ROUTE)
    headers = headers.append(ROUTE, NameAddress(request.uri))
    return with_uri(with_headers(request, headers), route.uri)


def with_headers(request: Request, headers: Headers) -> Request:
    """The same request with other header fields."""
    return Request(request.method, request.uri_text, headers, request.body, request.version)


def with_uri(request: Request, uri: SipUri | TelUri | AbsoluteUri) -> Request:
    """The same request to another URI, without what no Request-URI has (§19.1.1 table 1)."""
    if isinstance(uri, SipUri) and (uri.headers or uri.has_parameter("method")):
        kept = tuple([one for one in uri.parameters if one.name.lower() != "method"])
        uri = replace(uri, headers=(), parameters=kept)
    return Request(request.method, str(uri), request.headers, request.body, request.version)
