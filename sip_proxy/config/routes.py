"""``[[routes]]``: where requests go by rules."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Network, Switch
from natkit.sip.grammar import domain_name
from sip_proxy.config.values import Domain, SipServer
from sip_proxy.route_rules import (
    GATEWAY_FAILED,
    Action,
    AskNumber,
    Refuse,
    RouteRule,
    ToDomain,
    ToGateways,
    ToNextHops,
    ToUsers,
    checked_pattern,
)
from sip_proxy.standing import Standing

__all__ = ["Route"]

Status = Annotated[int, Field(ge=300, le=699, strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=64)]

_SENDERS: Final = (Standing.TRUSTED, Standing.USER)


def _pattern(text: str) -> str:
    checked_pattern(text)
    return text


def _where(text: str) -> str:
    if text.startswith("+"):
        if not text[1:].isdecimal():
            raise MisuseError(f"{text!r} is no beginning of a telephone number")
        return text
    return domain_name(text)


def _sender(standing: Standing) -> Standing:
    if standing is Standing.ROUTED:
        raise MisuseError("requests within a dialog meet no rule")
    if standing is Standing.VISITOR:
        raise MisuseError("requests of visitors go to their home, and meet no rule")
    return standing


Sender = Annotated[Standing, AfterValidator(_sender)]


class Route(Table):
    """One rule.

    Of those in the file the first that applies decides. It names one of ``gateways``,
    ``next_hops``, ``domain``, ``enum``, ``users`` and ``refuse``.
    """

    name: Name
    """What the rule is called in logs and mistakes."""
    domains: tuple[Annotated[str, AfterValidator(_where)], ...] = ()
    """Hosts of the Request-URIs that it is for, or what stands in ``phone-context`` of a ``tel:``
    URI; none: any."""
    prefixes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """What the number or user begins with, one of these; none: anything."""
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    """An RE2 expression that the whole number or user matches; none: any."""
    methods: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Methods that it is for, like ``INVITE``; none: any."""
    sources: tuple[Network, ...] = ()
    """Networks that the request comes from; none: any."""
    senders: Annotated[tuple[Sender, ...], Field(min_length=1)] = _SENDERS
    """Whose requests it is for: ``trusted`` networks, each ``user`` who proved it, a ``gateway``, a
    ``stranger``; a rule that costs money is never for strangers."""
    strip: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    """Characters that are cut from the beginning of the number."""
    prefix: Annotated[str, Field(max_length=64)] = ""
    """What is put before the number then."""
    gateways: tuple[Name, ...] = ()
    """Groups of gateways that place the call, one group after the other."""
    failover_on: tuple[Status, ...] = tuple(sorted(GATEWAY_FAILED))
    """Statuses of a gateway after which the next one is tried."""
    next_hops: tuple[SipServer, ...] = ()
    """Servers that get the request with its Request-URI as it is, each while those before it
    fail."""
    domain: Domain | None = None
    """The domain of ours that has the user; none: as the request says."""
    enum: tuple[Domain, ...] = ()
    """Trees of the DNS that are asked for the number, like ``e164.arpa``; a number that is in none
    of them meets the next rule."""
    users: Switch = False
    """Whether the request goes to where the user is registered, as without any rule."""
    refuse: Status | None = None
    """The status that the request is refused with; none: it is not."""
    reason: Annotated[str, Field(max_length=128)] | None = None
    """What is said beside that status; none: what the status means."""

    stateless: Switch = False
    """Whether these requests are forwarded without keeping anything of them (RFC 3261 §16.11)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [key for key, _ in self._actions()]
        if len(named) != 1:
            which = " and ".join(named) or "none"
            raise MisuseError(
                f"route {self.name!r} names {which} of gateways, next_hops, domain, enum, users "
                "and refuse; it takes one"
            )
        if self.reason is not None and self.refuse is None:
            raise MisuseError(f"route {self.name!r}: reason belongs to refuse")
        return self

    def rule(self) -> RouteRule:
        """What the machine is told."""
        ((_, action),) = self._actions()
        return RouteRule(
            self.name,
            action,
            frozenset(self.domains),
            self.prefixes,
            self.pattern,
            frozenset(self.methods),
            self.sources,
            frozenset(self.senders),
            self.strip,
            self.prefix,
            self.stateless,
        )

    def _actions(self) -> list[tuple[str, Action]]:
        found: list[tuple[str, Action]] = []
        if self.gateways:
            found.append(("gateways", ToGateways(self.gateways, frozenset(self.failover_on))))
        if self.next_hops:
            found.append(("next_hops", ToNextHops(self.next_hops)))
        if self.domain is not None:
            found.append(("domain", ToDomain(self.domain)))
        if self.enum:
            found.append(("enum", AskNumber(self.enum)))
        if self.users:
            found.append(("users", ToUsers()))
        if self.refuse is not None:
            found.append(("refuse", Refuse(self.refuse, self.reason)))
        return found
