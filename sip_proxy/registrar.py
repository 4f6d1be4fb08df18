"""What a REGISTER asks for.

RFC 3261 §10.3, RFC 5626 §6, RFC 3327 §5.3.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from natkit.machine import Path
from natkit.sip import AbsoluteUri, HeaderField, NameAddress, Request, SipUri, TelUri
from natkit.sip.kinds import (
    CALL_ID,
    CONTACT,
    CSEQ,
    EXPIRES,
    MIN_EXPIRES,
    PATH,
    SUPPORTED,
    TO,
    UNSUPPORTED,
    USER_AGENT,
    VIA,
    Wildcard,
)
from sip_proxy.edge import Edge
from sip_proxy.location import ContactChange, Registration, RegistrationLimits
from sip_proxy.preference import q_of
from sip_proxy.rejection import Rejection
from sip_proxy.settings import Settings

__all__ = ["address_of_record", "read_registration", "supported_by"]

LARGEST_REG_ID: Final = 2**31 - 1
"""RFC 5626 §4.2."""

LARGEST_BINDING: Final = 2048
"""Bytes of text that one contact may make us keep: a few proxies in its path, and room."""

LONGEST_USER_AGENT: Final = 128
"""Characters; what is cut is for people to read."""

_NOTHING: Final[AbstractSet[str]] = frozenset()


def address_of_record(request: Request) -> SipUri | None:
    """The canonical address that To names, or None where it names none of SIP (§10.3 step 5)."""
    to = request.headers.get(TO)
    if to is None or not isinstance(to.uri, SipUri):
        return None
    return to.uri.address_of_record()


def read_registration(
    request: Request, settings: Settings, flow: Path, edge: Edge
) -> Registration | Rejection:
    """What a REGISTER asks for; MalformedMessage when a field of it cannot be read."""
    headers, limits = request.headers, settings.registration
    cseq = headers.get(CSEQ)
    call_id = headers.get(CALL_ID) or ""
    number = cseq.number if cseq else 0
    contacts = headers.get_all(CONTACT)
    # What the answer will need is read before anything is changed.
    supported = supported_by(request)
    paths = tuple([str(path.uri) for path in headers.get_all(PATH)])
    if Wildcard.ALL in contacts:
        # §10.3 step 6.
        if len(contacts) != 1 or headers.get(EXPIRES) != 0:
            return Rejection(400, "Contact: * stands alone, with Expires: 0")
        return Registration(None, call_id, number)
    if paths and settings.outbound.path_needs_support and "path" not in supported:
        return Rejection(420, None, [HeaderField.of(UNSUPPORTED, "path")])  # RFC 3327 §5.3
    is_direct = len(headers.get_all(VIA)) == 1
    changes: list[ContactChange] = []
    wants_flow = keeps_flow = False
    longest = 0
    for contact in contacts:
        assert isinstance(contact, NameAddress)  # noqa: S101 - the wildcard was handled above
        granted = limits.granted(_asked(contact.parameter("expires"), headers.get(EXPIRES)))
        if granted is None:
            return too_brief(limits)
        change = _change_of(contact, granted, flow, is_outbound="outbound" in supported)
        wants_flow = wants_flow or change.reg_id is not None
        keeps_flow = keeps_flow or (is_direct and change.by_flow)
        longest = max(longest, len(change.contact) + len(change.instance or ""))
        changes.append(change)
    if wants_flow and len(changes) > 1:
        return Rejection(400, "One contact at a time has a reg-id")  # RFC 5626 §6
    if wants_flow and not is_direct and not _has_outbound_edge(request):
        return Rejection(439)
    entry = edge.entry(flow) if keeps_flow else None
    if entry is not None:
        paths = (entry, *paths)
    if longest + len(call_id) + sum(map(len, paths)) > LARGEST_BINDING:
        return Rejection(403, f"A contact with more than {LARGEST_BINDING} bytes to keep")
    return Registration(
        tuple(changes),
        call_id,
        number,
        paths,
        None if entry is None else flow,
        (headers.get(USER_AGENT) or "")[:LONGEST_USER_AGENT],
        limits.contacts,
    )


def supported_by(request: Request) -> AbstractSet[str]:
    """The options that Supported names, in lower case; MalformedMessage."""
    named = request.headers.get_all(SUPPORTED)
    return {each.lower() for each in named} if named else _NOTHING


def too_brief(limits: RegistrationLimits) -> Rejection:
    """423 with the least that we grant."""
    return Rejection(423, None, [HeaderField.of(MIN_EXPIRES, limits.min_expires)])


def _change_of(
    contact: NameAddress, granted: int, flow: Path, *, is_outbound: bool
) -> ContactChange:
    instance = _instance_of(contact)
    reg_id = _reg_id_of(contact) if is_outbound and instance is not None else None
    uri = contact.uri
    by_flow = reg_id is not None or flow.transport.is_reliable or _needs_flow(uri, flow)
    return ContactChange(str(uri), granted, q_of(contact), instance, reg_id, by_flow)


def _needs_flow(uri: SipUri | TelUri | AbsoluteUri, flow: Path) -> bool:
    """Whether a contact is reached by the flow of its registration, which datagrams came on.

    So it is where these came from another host than the contact names: a NAT stands between.  A
    contact that names its own host can do without.
    """
    if not isinstance(uri, SipUri):
        return False
    remote = flow.remote
    if uri.host != remote.host and uri.address != remote.ip:
        return uri.address is not None or uri.host.endswith(".invalid")  # RFC 7118 §5
    return (uri.port or 5060) == remote.port


def _asked(parameter: str | None, header: int | None) -> int | None:
    if parameter is None:
        return header
    # §10.2.1.1: one that cannot be read counts as 3600.
    digits = parameter.isascii() and parameter.isdigit()
    return min(int(parameter[:11]), 2**32 - 1) if digits else 3600


def _instance_of(contact: NameAddress) -> str | None:
    text = contact.parameter("+sip.instance")
    if text is None or not (text.startswith("<") and text.endswith(">")):
        return None
    return text


def _reg_id_of(contact: NameAddress) -> int | None:
    text = contact.parameter("reg-id")
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 10:
        return None
    number = int(text)
    return number if 1 <= number <= LARGEST_REG_ID else None


def _has_outbound_edge(request: Request) -> bool:
    """Whether the first proxy on the way keeps the flow (RFC 5626 §6): its Path has ``ob``."""
    paths = request.headers.get_all(PATH)
    if not paths:
        return False
    uri = paths[-1].uri
    return isinstance(uri, SipUri) and uri.has_parameter("ob")
