"""What a request must be to be treated at all (RFC 3261 §16.3), but for its credentials."""

from collections.abc import Sequence
from typing import Final

from natkit.sip import AbsoluteUri, HeaderField, Request, SipUri, TelUri
from natkit.sip.kinds import MAX_BREADTH, MAX_FORWARDS, PROXY_REQUIRE, REQUIRE, ROUTE, UNSUPPORTED
from natkit.sip.message import is_version
from natkit.sip.registry import SIP_VERSION
from sip_proxy.desk import Incoming
from sip_proxy.identity import Identity
from sip_proxy.loops import is_loop, passed_others
from sip_proxy.rejection import Rejection

__all__ = ["is_other_version", "unsupported", "validate"]

SUPPORTED_EXTENSIONS: Final = frozenset({"path", "outbound", "gruu"})


def is_other_version(request: Request) -> bool:
    """Whether it names a version of SIP that is not ours; what is no version at all does not."""
    return request.version.upper() != SIP_VERSION and is_version(request.version)


def validate(incoming: Incoming, identity: Identity) -> Rejection | None:
    """The first fault by §16.3's numbers, or None.

    MalformedMessage for a field that forwarding reads, so that a 400 comes before anything is asked
    or sent.
    """
    request = incoming.request
    if is_other_version(request):
        return Rejection(505)
    uri = request.uri
    if isinstance(uri, AbsoluteUri):
        return Rejection(416)  # step 2
    if isinstance(uri, SipUri) and uri.is_secure and not identity.is_secure:
        return Rejection(416)  # RFC 5630 §3.3
    if request.headers.get(MAX_FORWARDS) == 0 and not _ends_here(request, uri, identity):
        return Rejection(483)  # step 3
    if passed_others(request) and is_loop(request, incoming.fingerprint, identity):
        return Rejection(482)  # step 4
    request.headers.get(MAX_BREADTH)
    return _refused(request.headers.get_all(PROXY_REQUIRE))  # step 5


def unsupported(request: Request) -> Rejection | None:
    """420 where a request that ends here requires what we cannot do (§8.2.2.3, §10.3 step 2)."""
    return _refused(request.headers.get_all(REQUIRE))


def _refused(options: Sequence[str]) -> Rejection | None:
    if not options:
        return None
    unknown = [option for option in options if option.lower() not in SUPPORTED_EXTENSIONS]
    return Rejection(420, None, [HeaderField.of(UNSUPPORTED, *unknown)]) if unknown else None


def _ends_here(request: Request, uri: SipUri | TelUri, identity: Identity) -> bool:
    """Whether we are asked ourselves: an OPTIONS for others is not (RFC 4475 §3.3.11)."""
    is_ours = isinstance(uri, SipUri) and uri.user is None and identity.is_ours(uri)
    return is_ours and not request.headers.has(ROUTE)
