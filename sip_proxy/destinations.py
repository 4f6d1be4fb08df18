"""The target set of a request (RFC 3261 §16.5): by its rules, its flow, or the location service."""

from collections.abc import Sequence
from dataclasses import replace

from natkit.errors import MalformedMessage
from natkit.machine import Failure
from natkit.sip import (
    AbsoluteUri,
    HeaderField,
    NameAddress,
    SipUri,
    TelUri,
    parse_absolute_uri,
)
from natkit.sip.grammar import domain_name
from natkit.sip.kinds import CALL_ID, CONTACT, ROUTE
from natkit.sip.tel import Parameter
from sip_proxy.admission import Admitted
from sip_proxy.callees import Callees
from sip_proxy.desk import Desk
from sip_proxy.dialled import Dialled, dialled
from sip_proxy.events import FindNumber, ProxyResult
from sip_proxy.forwarder import Forwarder
from sip_proxy.gateways import Gateway, Gateways
from sip_proxy.rejection import Rejection
from sip_proxy.route_rules import (
    AskNumber,
    Refuse,
    RouteRule,
    Rules,
    ToDomain,
    ToGateways,
    ToNextHops,
    ToUsers,
)
from sip_proxy.secure import NOT_SECURE, let_through
from sip_proxy.targets import Contact
from sip_proxy.visitors import Visitors

__all__ = ["Destinations"]


class Destinations:
    """Sends each request that was admitted on its way."""

    def __init__(
        self,
        desk: Desk,
        forwarder: Forwarder,
        gateways: Gateways,
        rules: Rules,
        callees: Callees,
        visitors: Visitors,
    ) -> None:
        self._desk = desk
        self._visitors = visitors
        self._forwarder = forwarder
        self._gateways = gateways
        self._rules = rules
        self._callees = callees

    def forward(self, one: Admitted, now: float) -> None:
        """Forward a request to wherever it is to go, or answer it."""
        incoming = one.incoming
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
        request = one.request
        uri = request.uri
        if request.method == "BYE":
            self._gateways.hung_up(request.headers.get(CALL_ID) or "")
        # A GRUU is looked up within a dialog too: the flow that it began on may be gone.
        by_flow = one.flow is not None and not self._callees.is_gruu(uri)
        if by_flow or request.headers.has(ROUTE):
            self._to(one, [Contact(uri, flow=one.flow)], now)
        elif not one.is_within_dialog and (way := self._visitors.way(request)) is not None:
            self._to(one, [way], now)
        elif one.is_within_dialog or not self._rules:
            self._by_domain(one, now)
        else:
            self._by_rules(one, 0, now)

    # ── by rules ────────────────────────────────────────────────────────────────────────────────

    def _by_rules(self, one: Admitted, position: int, now: float) -> None:
        incoming = one.incoming
        number = dialled(one.request.uri)
        found = self._rules.after(position, one.request.method, number, incoming.path, one.standing)
        if found is None:
            self._by_domain(one, now)
            return
        after, rule = found
        match rule.action:
            case ToUsers():
                self._by_domain(one, now)
            case ToDomain(domain):
                user = number.changed(rule.strip, rule.prefix)
                self._by_domain(one.to(_user_of(user, domain)), now)
            case ToNextHops(hops):
                self._to(one, _through(hops, one.request.uri), now)
            case ToGateways(groups, failover_on):
                self._to_gateways(one, rule, number, groups, failover_on, now)
            case AskNumber(suffixes):
                self._ask_number(one, rule, number, suffixes, after, now)
            case Refuse(status, reason):
                self._reject(one, Rejection(status, reason), now)

    def _to_gateways(
        self,
        one: Admitted,
        rule: RouteRule,
        number: Dialled,
        groups: Sequence[str],
        failover_on: frozenset[int],
        now: float,
    ) -> None:
        user = number.changed(rule.strip, rule.prefix)
        contacts = [
            Contact(_at(gateway, user), gateway=gateway.name, failover_on=failover_on)
            for gateway in self._gateways.in_order(groups)
        ]
        if contacts:
            self._to(one, _in_turn(contacts), now)
        else:
            self._reject(one, Rejection(500, "No gateway is up and free"), now)

    def _ask_number(
        self,
        one: Admitted,
        rule: RouteRule,
        number: Dialled,
        suffixes: tuple[str, ...],
        after: int,
        now: float,
    ) -> None:
        changed = Dialled(number.changed(rule.strip, rule.prefix), "")
        if not changed.is_global:
            self._by_rules(one, after, now)
            return

        def found(result: ProxyResult | Failure, at: float) -> None:
            contacts = [] if isinstance(result, Failure) else _named(result)
            if contacts:
                self._to(one, _in_turn(contacts), at)
            else:
                self._by_rules(one, after, at)

        self._desk.ask(lambda asked: FindNumber(asked, changed.user, suffixes), found, now)

    # ── by domain ───────────────────────────────────────────────────────────────────────────────

    def _by_domain(self, one: Admitted, now: float) -> None:
        uri = _local(one.request.uri)
        if isinstance(uri, SipUri) and self._desk.settings.answers_for(uri):
            self._by_location(one, uri, now)
        elif isinstance(uri, SipUri) and not self._desk.identity.is_ours(uri):
            self._to(one, [Contact(uri)], now)
        else:
            # A number that no rule knows, or a user at our address and of no domain.
            self._reject(one, Rejection(404), now)

    def _by_location(self, one: Admitted, uri: SipUri, now: float) -> None:
        self._callees.find(uri, lambda found, at: self._found(one, found, at), now)

    def _found(self, one: Admitted, contacts: list[Contact] | Rejection, now: float) -> None:
        if isinstance(contacts, Rejection):
            self._reject(one, contacts, now)
            return
        usable = let_through(one.request.uri, contacts)
        if not usable:
            self._reject(one, NOT_SECURE, now)
        elif self._desk.settings.redirect:
            fields = [HeaderField.of(CONTACT, NameAddress(each.uri)) for each in usable]
            self._reject(one, Rejection(302, None, fields), now)
        else:
            self._to(one, usable, now)

    # ── ends ────────────────────────────────────────────────────────────────────────────────────

    def _to(self, one: Admitted, contacts: Sequence[Contact], now: float) -> None:
        self._forwarder.forward(one.incoming, one.request, contacts, now)

    def _reject(self, one: Admitted, fault: Rejection, now: float) -> None:
        self._desk.reject(one.incoming, fault.status, now, reason=fault.reason, fields=fault.fields)


def _in_turn(contacts: Sequence[Contact]) -> list[Contact]:
    """The first, with the others to stand in for it."""
    return [replace(contacts[0], others=tuple(contacts[1:]))]


def _through(hops: Sequence[SipUri], uri: SipUri | TelUri | AbsoluteUri) -> list[Contact]:
    return _in_turn([Contact(uri, hop=hop) for hop in hops])


def _at(gateway: Gateway, user: str) -> SipUri:
    """A number at a gateway: what it says of itself stays, and ``user=phone`` is added."""
    number = Dialled(user, "")
    named = SipUri.build(gateway.uri.host, user=user)
    parameters = tuple(one for one in gateway.uri.parameters if one.key != "user")
    if number.is_number:
        parameters = (*parameters, Parameter("user", "phone"))
    return replace(gateway.uri, user=named.user, password=None, parameters=parameters, headers=())


def _user_of(user: str, domain: str) -> SipUri:
    return SipUri.build(domain, user=user)


def _name_of(user: SipUri | None) -> str:
    return "" if user is None else f"{user.user_text}@{domain_name(user.host)}"


def _named(result: ProxyResult) -> list[Contact]:
    """The URIs that ENUM gave, as far as a proxy can use them."""
    contacts: list[Contact] = []
    for text in result if isinstance(result, tuple) else ():
        try:
            uri = parse_absolute_uri(text) if isinstance(text, str) else None
        except MalformedMessage:
            continue
        if isinstance(uri, SipUri):
            contacts.append(Contact(uri))
    return contacts


def _local(uri: SipUri | TelUri | AbsoluteUri) -> SipUri | TelUri | AbsoluteUri:
    """A local number whose context is a domain is a user there (RFC 3966 §5.1.5)."""
    if not isinstance(uri, TelUri) or uri.is_global:
        return uri
    context = uri.phone_context or ""
    return uri if context.startswith("+") else _user_of(uri.digits, domain_name(context))
