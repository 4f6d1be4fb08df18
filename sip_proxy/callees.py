"""Where the users of our domains are: by their address of record, or by a GRUU (RFC 3261 §16.5)."""

from collections.abc import Callable
from typing import TypeGuard

from natkit.machine import Failure
from natkit.sip import AbsoluteUri, SipUri, TelUri
from sip_proxy.desk import Desk
from sip_proxy.edge import Edge
from sip_proxy.events import FindBindings, ProxyResult
from sip_proxy.gruu import Gruus, Sought, canonical
from sip_proxy.location import Binding
from sip_proxy.rejection import Rejection
from sip_proxy.targets import Contact, contacts_of
from sip_proxy.unavailable import unavailable

__all__ = ["Callees"]

Found = Callable[[list[Contact] | Rejection, float], None]


class Callees:
    """Asks the location service."""

    def __init__(self, desk: Desk, edge: Edge, gruus: Gruus) -> None:
        self._desk = desk
        self._edge = edge
        self._gruus = gruus

    def is_gruu(self, uri: SipUri | TelUri | AbsoluteUri) -> TypeGuard[SipUri]:
        """Whether a URI is of one phone of a user of ours (RFC 5627)."""
        if not isinstance(uri, SipUri) or not uri.has_parameter("gr"):
            return False
        return self._desk.settings.serves(uri.host)

    def find(self, uri: SipUri, found: Found, now: float) -> None:
        """Give the contacts that a URI of a domain of ours leads to, or what to answer."""
        sought: Sought | None = None
        if uri.has_parameter("gr"):
            sought = self._gruus.read(uri)
            if sought is None:
                found(Rejection(404), now)  # RFC 5627 §6.1
                return
        address = canonical(uri) if sought is None else sought.address_of_record

        def bound(result: ProxyResult | Failure, at: float) -> None:
            found(self._chosen(address, sought, result), at)

        self._desk.ask(lambda number: FindBindings(number, address), bound, now)

    def _chosen(
        self, address: str, sought: Sought | None, result: ProxyResult | Failure
    ) -> list[Contact] | Rejection:
        if isinstance(result, Failure):
            return unavailable("The location service", result, self._desk.random)
        assert isinstance(result, tuple)  # noqa: S101 - the contract of FindBindings
        bindings = [one for one in result if isinstance(one, Binding)]
        chosen = bindings if sought is None else sought.among(bindings)
        if sought is not None and not chosen and sought.is_invalid(bindings):
            return Rejection(404)
        return contacts_of(address, chosen, self._edge) or Rejection(480)
