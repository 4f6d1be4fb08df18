"""The target set of a request (RFC 3261 §16.5): by rules, by domain, by the location service."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

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
from natkit.sip.kinds import CONTACT
from natkit.sip.tel import Parameter
from sip_proxy.admission import Admitted
from sip_proxy.callees import Callees
from sip_proxy.desk import Desk
from sip_proxy.dialled import Dialled, dialled
from sip_proxy.events import FindNumber, ProxyResult
from sip_proxy.gateways import Gateway, Gateways
from sip_proxy.rejection import Rejection
from sip_proxy.route_rules import (
    AskNumber,
    Refuse,
    Rules,
    ToDomain,
    ToGateways,
    ToNextHops,
    ToUsers,
)
from sip_proxy.secure import NOT_SECURE, let_through
from sip_proxy.targets import Contact

__all__ = ["TargetSet", "Then"]

MOST_URIS: Final = 16
"""URIs of one number that are tried: real ones have two or three."""

Then = Callable[[Sequence[Contact] | Rejection, float], None]


class TargetSet:
    """Finds where requests are to go; ``then`` gets one contact at the least, or what to answer."""

    def __init__(self, desk: Desk, gateways: Gateways, rules: Rules, callees: Callees) -> None:
        self._desk = desk
        self._gateways = gateways
        self._rules = rules
        self._callees = callees

    def configure(self, rules: Rules) -> None:
        """Go by other rules from now on."""
        self._rules = rules

    def is_gruu(self, uri: SipUri | TelUri | AbsoluteUri) -> bool:
        """Whether a URI is of one phone of a user of ours (RFC 5627)."""
        return self._callees.is_gruu(uri)

    def find(self, one: Admitted, then: Then, now: float) -> None:
        """The targets of a request that no Route and no flow leads elsewhere."""
        if one.is_within_dialog or not self._rules:
            self._by_domain(one, then, now)
        else:
            self._by_rules(one, 0, then, now)

    # ── by rules ────────────────────────────────────────────────────────────────────────────────

    def _by_rules(self, one: Admitted, position: int, then: Then, now: float) -> None:
        path = one.incoming.path
        number = dialled(one.request.uri)
        found = self._rules.after(position, one.method, number, path, one.standing)
        if found is None:
            self._by_domain(one, then, now)
            return
        after, rule = found
        if rule.stateless:
            then = _without_state(then)
        match rule.action:
            case ToUsers():
                self._by_domain(one, then, now)
            case ToDomain(domain):
                user = number.changed(rule.strip, rule.prefix)
                self._by_domain(one.to(_user_of(user, domain)), then, now)
            case ToNextHops(hops):
                then(_in_turn([Contact(one.request.uri, hop=hop) for hop in hops]), now)
            case ToGateways(groups, failover_on):
                user = number.changed(rule.strip, rule.prefix)
                contacts = self._at_gateways(user, groups, failover_on)
                then(_usable(one, contacts, Rejection(500, "No gateway is up and free")), now)
            case AskNumber(suffixes):
                changed = Dialled(number.changed(rule.strip, rule.prefix), "")
                self._ask_number(one, changed, suffixes, after, then, now)
            case Refuse(status, reason):
                then(Rejection(status, reason), now)

    def _at_gateways(
        self, user: str, groups: Sequence[str], failover_on: frozenset[int]
    ) -> list[Contact]:
        return _in_turn(
            [
                Contact(_at(gateway, user), gateway=gateway.name, failover_on=failover_on)
                for gateway in self._gateways.in_order(groups)
            ]
        )

    def _ask_number(
        self,
        one: Admitted,
        number: Dialled,
        suffixes: tuple[str, ...],
        after: int,
        then: Then,
        now: float,
    ) -> None:
        if not number.is_global:
            self._by_rules(one, after, then, now)
            return

        def found(result: ProxyResult | Failure, at: float) -> None:
            uris = [] if isinstance(result, Failure) else _named(result)
            self._reach_each(one, uris, [], reached, at)

        def reached(reachable: list[Sequence[Contact]], at: float) -> None:
            if not reachable:
                self._by_rules(one, after, then, at)
                return
            # The phones of one user ring together; of several URIs one comes after the other.
            several = [contact for contacts in reachable for contact in contacts]
            contacts = reachable[0] if len(reachable) == 1 else _in_turn(several)
            then(_usable(one, contacts, NOT_SECURE), at)

        self._desk.ask(lambda asked: FindNumber(asked, number.user, suffixes), found, now)

    def _reach_each(
        self,
        one: Admitted,
        uris: list[SipUri],
        reachable: list[Sequence[Contact]],
        then: Callable[[list[Sequence[Contact]], float], None],
        now: float,
    ) -> None:
        """``then`` gets the contacts of each URI that has some: ours by their registrations."""
        if not uris:
            then(reachable, now)
            return

        def found(contacts: Sequence[Contact] | Rejection, at: float) -> None:
            if not isinstance(contacts, Rejection):
                reachable.append(contacts)
            self._reach_each(one, uris[1:], reachable, then, at)

        self._by_domain(one.to(uris[0]), found, now)

    # ── by domain ───────────────────────────────────────────────────────────────────────────────

    def _by_domain(self, one: Admitted, then: Then, now: float) -> None:
        uri = _local(one.request.uri)
        if isinstance(uri, SipUri) and self._desk.settings.answers_for(uri):
            self._by_location(one, uri, then, now)
        elif isinstance(uri, SipUri) and not self._desk.identity.is_ours(uri):
            then([Contact(uri)], now)
        else:
            # A number that no rule knows, or a user at our address and of no domain.
            then(Rejection(404), now)

    def _by_location(self, one: Admitted, uri: SipUri, then: Then, now: float) -> None:
        def found(contacts: Sequence[Contact] | Rejection, at: float) -> None:
            if not isinstance(contacts, Rejection):
                contacts = _usable(one, contacts, Rejection(480))
            if self._desk.settings.redirect and not isinstance(contacts, Rejection):
                fields = [HeaderField.of(CONTACT, NameAddress(each.uri)) for each in contacts]
                contacts = Rejection(302, None, fields)
            then(contacts, at)

        self._callees.find(uri, found, now)


def _usable(
    one: Admitted, contacts: Sequence[Contact], otherwise: Rejection
) -> Sequence[Contact] | Rejection:
    """Those that a request may go to by its scheme; ``otherwise`` where there are none at all."""
    if not contacts:
        return otherwise
    return let_through(one.request.uri, contacts) or NOT_SECURE


def _in_turn(contacts: Sequence[Contact]) -> list[Contact]:
    """The first, with the others to stand in for it."""
    return [replace(contacts[0], others=tuple(contacts[1:]))] if contacts else []


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


def _named(result: ProxyResult) -> list[SipUri]:
    """The URIs that ENUM gave, as far as a proxy can use them."""
    uris: list[SipUri] = []
    for text in result if isinstance(result, tuple) else ():
        try:
            uri = parse_absolute_uri(text) if isinstance(text, str) else None
        except MalformedMessage:
            continue
        if isinstance(uri, SipUri):
            uris.append(uri)
    return uris[:MOST_URIS]


def _local(uri: SipUri | TelUri | AbsoluteUri) -> SipUri | TelUri | AbsoluteUri:
    """A local number whose context is a domain is a user there (RFC 3966 §5.1.5)."""
    if not isinstance(uri, TelUri) or uri.is_global:
        return uri
    context = uri.phone_context or ""
    return uri if context.startswith("+") else _user_of(uri.digits, domain_name(context))


def _without_state(then: Then) -> Then:
    def marked(found: Sequence[Contact] | Rejection, now: float) -> None:
        if not isinstance(found, Rejection):
            found = [replace(contact, is_stateless=True) for contact in found]
        then(found, now)

    return marked
