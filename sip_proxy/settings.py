"""What the proxy machine is told at construction; nothing here reads a file or a flag."""

from dataclasses import dataclass, field

from natkit.address import Address, IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Transport
from natkit.sip import SipUri
from natkit.sip.digest import Algorithm, Qop
from natkit.sip.flows import ConnectionReuse
from natkit.sip.grammar import domain_name, numeric_host
from natkit.sip.registry import DEFAULT_PORTS
from natkit.sip.transactions import SipTiming
from sip_proxy.calls.settings import CallSettings
from sip_proxy.gateways import GatewaySettings
from sip_proxy.guesses import GuessSettings
from sip_proxy.homes import Home
from sip_proxy.hooks import Point
from sip_proxy.keeping import KeepAliveSettings
from sip_proxy.location import RegistrationLimits
from sip_proxy.message_bounds import MessageBounds
from sip_proxy.nat import NatSettings
from sip_proxy.outbound import OutboundSettings
from sip_proxy.route_rules import RouteRule, ToDomain, ToGateways
from sip_proxy.sources import SourceSettings
from sip_proxy.trace.recorder import RecorderSettings
from sipdns.outliers import OutlierLimits

__all__ = ["Listener", "Settings"]

LEAST_TIMER_C = 180.0
"""Seconds; timer C is longer (RFC 3261 §16.6 step 11)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where SIP is spoken.  ``name`` stands for the address in Via and Record-Route, if set."""

    transport: Transport
    address: Address
    name: str | None = None

    @property
    def host(self) -> str:
        """What to write into headers: the name, or the address, IPv6 in brackets."""
        if self.name is not None:
            return self.name
        host = self.address.host.partition("%")[0]
        return f"[{host}]" if ":" in host else host

    @property
    def is_default_port(self) -> bool:
        """Whether the port goes without saying."""
        return DEFAULT_PORTS[self.transport] == self.address.port


@dataclass(frozen=True, slots=True)
class Settings:
    """All that shapes the machine's decisions.

    ``domains`` are those it answers for.  ``trusted``: networks whose requests need no
    credentials.  ``record_route``: whether it stays on the way of the dialogs that it opens.
    """

    listeners: tuple[Listener, ...]
    domains: frozenset[str] = frozenset()
    timing: SipTiming = field(default_factory=SipTiming)
    registration: RegistrationLimits = field(default_factory=RegistrationLimits)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    nat: NatSettings = field(default_factory=NatSettings)
    homes: tuple[Home, ...] = ()
    """Domains of others whose users come through this proxy."""
    authenticate: bool = True
    algorithms: tuple[Algorithm, ...] = tuple(Algorithm)
    """What challenges offer, in this order: a client takes the first that it knows (RFC 8760)."""
    qop: tuple[Qop, ...] = (Qop.AUTH,)
    """What challenges offer to protect; nothing less is taken."""
    trusted: tuple[IPNetwork, ...] = ()
    trusted_domains: frozenset[str] = frozenset()
    """Requests need no credentials on a connection whose peer proved by its certificate that it
    speaks for one of these (RFC 5922 §7.2)."""
    user_certificates: bool = False
    """A user needs no other credentials on a connection whose peer has a certificate for them."""
    record_route: bool = True
    redirect: bool = False
    """Answer by 302 with the contacts in place of forwarding."""
    assert_identity: bool = False
    """Say who a user is, once that was proved (RFC 3325)."""
    stateless: bool = False
    """Forward without transactions: no forking, no failover (§16.11)."""
    recurse: bool = False
    """Follow the contacts of a 3xx in place of passing it back (§16.5, §16.7 step 4)."""
    timer_c: float = 185.0
    failover_after: float | None = 5.0
    """Seconds for which a server may say nothing while there is another to try; None: 32."""
    outliers: OutlierLimits = field(default_factory=OutlierLimits)
    """For how long servers that failed are tried last."""
    routes: tuple[RouteRule, ...] = ()
    """The first that applies decides (:mod:`sip_proxy.route_rules`)."""
    gateways: GatewaySettings = field(default_factory=GatewaySettings)
    hooks: frozenset[Point] = frozenset()
    """Where policies are asked (:mod:`sip_proxy.hooks`)."""
    max_breadth: int = 60
    """Branches at once of one request, with all that they fork into (RFC 5393 §5.3.3)."""
    reuse: ConnectionReuse = field(default_factory=ConnectionReuse)
    keep_alive: KeepAliveSettings = field(default_factory=KeepAliveSettings)
    sources: SourceSettings = field(default_factory=SourceSettings)
    guesses: GuessSettings = field(default_factory=GuessSettings)
    calls: CallSettings = field(default_factory=CallSettings)
    bounds: MessageBounds = field(default_factory=MessageBounds)
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    largest_transactions: int = 100_000
    largest_pending: int = 10_000
    """Requests that wait for a lookup at a time."""

    def __post_init__(self) -> None:
        if not self.listeners:
            raise MisuseError("a proxy listens somewhere")
        if self.timer_c <= LEAST_TIMER_C * self.timing.t1 / SipTiming().t1:
            raise MisuseError(f"timer C of {self.timer_c:g} s is not longer than three minutes")
        for rule in self.routes:
            self._check_route(rule)

    def _check_route(self, rule: RouteRule) -> None:
        action = rule.action
        if isinstance(action, ToDomain) and action.domain not in self.domains:
            raise MisuseError(f"route {rule.name!r} leads to {action.domain}, which is not served")
        if isinstance(action, ToGateways):
            unknown = [one for one in action.groups if one not in self.gateways.groups]
            if unknown:
                raise MisuseError(f"route {rule.name!r}: no gateway is in the group {unknown[0]!r}")

    def serves(self, host: str) -> bool:
        """Whether ``host`` is a domain of ours."""
        return domain_name(host) in self.domains

    def answers_for(self, uri: SipUri) -> bool:
        """Whether the user of a URI is one of ours.

        Where a domain of ours is an address, another port of it is another program's.
        """
        if not self.serves(uri.host):
            return False
        if uri.port is None or numeric_host(uri.host) is None:
            return True
        return any(listener.address.port == uri.port for listener in self.listeners)
