"""Where a request is to go: the target set (RFC 3261 §16.5), in the order to try it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from natkit.errors import MalformedMessage
from natkit.machine import Path
from natkit.sip import AbsoluteUri, NameAddress, SipUri, TelUri, parse_absolute_uri
from natkit.sip.kinds import Wildcard
from natkit.sip.uri import parse_uri
from sip_proxy.contact_rewriting import restored
from sip_proxy.edge import Edge
from sip_proxy.location import Binding, LostFlow
from sip_proxy.location.binding import LARGEST_Q
from sip_proxy.preference import q_of

__all__ = ["Contact", "Origin", "contact_along", "contacts_named", "contacts_of", "in_order"]

FAILED: Final = frozenset({430, 503})
"""A flow that is gone (RFC 5626 §5.3.1), a server that serves nobody now (RFC 3263 §4.3)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A binding of an address of record; ``flow`` is what is lost when its flow has failed."""

    address_of_record: str
    flow: LostFlow | None


@dataclass(frozen=True, slots=True)
class Contact:
    """A URI to try; ``route`` is what goes before it, ``flow`` the best way to it if it has one.

    ``gateway`` is whose it is.  ``is_stateless``: nothing is to be remembered of what goes there.
     ``ring_for``: seconds after which it is given up, None for timer C.
     ``hop`` is found in its place, if set and no Route says another.
    With ``needs_flow`` there is no other way.  ``others`` stand in for it, such as further flows of
    the same user agent (RFC 5626 §6): the next is tried when one fails, or answers with a status
    of ``failover_on``.  ``origin`` is the binding that it came from.
    """

    uri: SipUri | TelUri | AbsoluteUri
    q: int = LARGEST_Q
    route: tuple[NameAddress, ...] = ()
    flow: Path | None = None
    needs_flow: bool = True
    hop: SipUri | None = None
    gateway: str | None = None
    is_stateless: bool = False
    ring_for: float | None = None
    others: tuple["Contact", ...] = ()
    failover_on: frozenset[int] = FAILED
    origin: Origin | None = None


def contacts_of(address_of_record: str, bindings: Sequence[Binding], edge: Edge) -> list[Contact]:
    """The contacts of an address of record; flows of one instance are one, the latest first."""
    flows: dict[str, list[Contact]] = {}
    contacts: list[Contact] = []
    for binding in sorted(bindings, key=lambda binding: -binding.updated_at):
        contact = _contact(address_of_record, binding, edge)
        if contact is None:
            continue
        if binding.is_outbound and binding.instance is not None:
            flows.setdefault(binding.instance, []).append(contact)
        else:
            contacts.append(contact)
    for first, *others in flows.values():
        contacts.append(replace(first, others=tuple(others)))
    return contacts


def contact_along(uri: SipUri | TelUri | AbsoluteUri, flow: Path, edge: Edge) -> Contact:
    """The way of a request that a token of ours leads: by its flow, here or at another proxy."""
    other = edge.elsewhere(flow)
    if other is not None:
        return Contact(uri, route=(NameAddress(other),))
    return Contact(restored(uri), flow=flow)


def contacts_named(values: Sequence[NameAddress | Wildcard]) -> list[Contact]:
    """The targets that the Contacts of a 3xx name, each with its q (§16.5); MalformedMessage."""
    return [Contact(one.uri, q_of(one)) for one in values if isinstance(one, NameAddress)]


def in_order(contacts: Sequence[Contact]) -> list[list[Contact]]:
    """Groups to try one after the other, by q; those of a group go at the same time (§16.6)."""
    ordered = sorted(contacts, key=lambda contact: -contact.q)
    return [list(group) for _, group in groupby(ordered, key=lambda contact: contact.q)]


def _contact(address_of_record: str, binding: Binding, edge: Edge) -> Contact | None:
    try:
        uri = parse_absolute_uri(binding.contact)
        route = tuple([NameAddress(parse_uri(path)) for path in binding.path])
    except MalformedMessage:
        # Another version of ours, or somebody, wrote what we cannot use.
        return None
    flow, needs_flow = None, binding.needs_flow
    own = edge.read(route[0].uri) if route and isinstance(route[0].uri, SipUri) else None
    if own is not None:
        # The flow is here, or was before a restart with other listeners; after one with another key
        # the binding still says which it is.
        flow, route = own.flow or edge.ours(binding.flow), route[1:]
        if flow is None and needs_flow:
            return None
    if route:
        flow = None
    lost = LostFlow(binding.path[0], binding.contact) if binding.path and needs_flow else None
    origin = Origin(address_of_record, lost)
    contact = Contact(uri, binding.q, route, flow, needs_flow, origin=origin)
    if route and binding.flow is not None and not needs_flow:
        # Without the proxy that has its flow, the phone may be reached where it says that it is.
        return replace(contact, others=(replace(contact, route=()),))
    return contact
