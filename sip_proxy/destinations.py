"""Where an admitted request goes: what its hook says, its flow or Route, or its target set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from natkit.sip import SipUri
from natkit.sip.grammar import domain_name
from natkit.sip.kinds import CALL_ID, ROUTE
from sip_proxy.admission import Admitted
from sip_proxy.asserted import Asserted
from sip_proxy.contact_rewriting import seen_at
from sip_proxy.desk import Desk
from sip_proxy.edge import Edge
from sip_proxy.forwarder import Forwarder
from sip_proxy.gateways import Gateways
from sip_proxy.gathering import gather
from sip_proxy.hooks import (
    Answer,
    AskedRequest,
    Decision,
    ForkTo,
    Point,
    Proceed,
    edited,
    fields_of,
)
from sip_proxy.policies import Policies
from sip_proxy.rejection import Rejection
from sip_proxy.routing import with_headers
from sip_proxy.standing import Standing
from sip_proxy.stateless import Stateless
from sip_proxy.target_set import TargetSet, Then
from sip_proxy.targets import Contact, contact_along, in_order
from sip_proxy.visitors import Visitors, comes_from_phone

__all__ = ["Destinations"]

Groups = list[list[Contact]]


class Destinations:
    """Sends each request that was admitted on its way."""

    def __init__(
        self,
        desk: Desk,
        forwarder: Forwarder,
        gateways: Gateways,
        target_set: TargetSet,
        policies: Policies,
        visitors: Visitors,
        edge: Edge,
        stateless: Stateless,
        asserted: Asserted,
    ) -> None:
        self._desk = desk
        self._edge = edge
        self._forwarder = forwarder
        self._gateways = gateways
        self._target_set = target_set
        self._policies = policies
        self._visitors = visitors
        self._stateless = stateless
        self._asserted = asserted

    def forward(self, one: Admitted, now: float) -> None:
        """Forward a request to wherever it is to go, or answer it."""
        incoming = one.incoming
        refused: Rejection | None = None
        if not self._desk.settings.stateless:
            refused = self._desk.calls.begin(
                incoming.transaction, incoming.request, incoming.path, _name_of(one.user), now
            )
        if refused is not None:
            self._reject(one, refused, now)
            return
        if one.request.method == "REGISTER":
            on_the_way = self._visitors.on_the_way(one.incoming, one.request)
            if isinstance(on_the_way, Rejection):
                self._reject(one, on_the_way, now)
                return
            one = replace(one, request=on_the_way)
        if self._desk.settings.nat.rewrite_contacts and comes_from_phone(one.incoming):
            headers = seen_at(one.request.headers, one.incoming.path.remote)
            one = replace(one, request=with_headers(one.request, headers))
        one = self._asserted.admitted(one)
        request = one.request
        if request.method == "BYE":
            self._gateways.hung_up(request.headers.get(CALL_ID) or "")
        if self._policies.wants(Point.REQUEST) and not one.is_within_dialog:
            user = None if one.user is None else str(one.user.address_of_record())
            asked = AskedRequest(request, one.incoming.path, one.standing, user)
            self._policies.ask(Point.REQUEST, asked, one.incoming, partial(self._decided, one), now)
        else:
            self._go(one, now)

    def _decided(self, one: Admitted, decision: Decision | Rejection, now: float) -> None:
        match decision:
            case Rejection():
                self._reject(one, decision, now)
            case Answer(status, reason, fields):
                self._reject(one, Rejection(status, reason, fields_of(fields)), now)
            case Proceed():
                self._go(_edited(one, decision), now)
            case ForkTo(groups):
                one = _edited(one, decision)
                gather(self._target_set, one, groups, partial(self._gathered, one), now)

    def _gathered(self, one: Admitted, groups: Groups, now: float) -> None:
        if groups:
            self._fork(one, groups, now)
        else:
            self._reject(one, Rejection(480), now)

    def forward_hop_by_hop(
        self, one: Admitted, otherwise: Callable[[float], None], now: float
    ) -> None:
        """A CANCEL or ACK of no transaction: to where its INVITE was forwarded without state.

        A CANCEL goes there whether that can have been or not (§16.10), an ACK only if.
        ``otherwise`` is called where that cannot be.
        """
        is_cancel = one.incoming.request.method == "CANCEL"

        def found(contacts: Sequence[Contact] | Rejection, at: float) -> None:
            if isinstance(contacts, Rejection) or not (
                is_cancel or self._stateless.takes(contacts)
            ):
                otherwise(at)
            else:
                self._stateless.forward(one, in_order(contacts)[0][0], at)

        self._find(one, found, now)

    def _go(self, one: Admitted, now: float) -> None:
        self._find(one, partial(self._found, one), now)

    def _find(self, one: Admitted, then: Then, now: float) -> None:
        uri = one.request.uri
        # A GRUU is looked up within a dialog too: the flow that it began on may be gone.
        by_flow = one.flow is not None and not self._target_set.is_gruu(uri)
        if by_flow and one.flow is not None:
            then([contact_along(uri, one.flow, self._edge)], now)
        elif one.request.headers.has(ROUTE):
            then([Contact(uri)], now)
        elif not one.is_within_dialog and (way := self._visitors.way(one.request)) is not None:
            then([way], now)
        else:
            self._target_set.find(one, then, now)

    def _found(self, one: Admitted, found: Sequence[Contact] | Rejection, now: float) -> None:
        if isinstance(found, Rejection):
            self._reject(one, found, now)
        elif self._stateless.takes(found):
            self._desk.calls.forget(one.incoming.transaction)
            self._stateless.forward(one, in_order(found)[0][0], now)
        else:
            self._fork(one, in_order(found), now)

    def _fork(self, one: Admitted, groups: Groups, now: float) -> None:
        find = partial(gather, self._target_set, one)
        self._forwarder.forward(one.incoming, one.request, groups, find, now)

    def _reject(self, one: Admitted, fault: Rejection, now: float) -> None:
        incoming = one.incoming
        if one.standing is Standing.STRANGER:
            self._desk.refuse(incoming, fault, now)
        else:
            self._desk.reject(incoming, fault.status, now, reason=fault.reason, fields=fault.fields)


def _name_of(user: SipUri | None) -> str:
    return "" if user is None else f"{user.user_text}@{domain_name(user.host)}"


def _edited(one: Admitted, decision: Proceed | ForkTo) -> Admitted:
    request = one.request
    return replace(one, request=with_headers(request, edited(request.headers, decision)))
