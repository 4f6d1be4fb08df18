"""The configuration as a whole, and what the machine is told of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import model_validator

from natkit.errors import MisuseError
from natkit.server.config.operating import Admin, Log
from natkit.server.config.tables import Table
from sip_proxy.config.calls import Calls, Trace
from sip_proxy.config.connections import Connections
from sip_proxy.config.flows import Flows
from sip_proxy.config.gateways import Failover, GatewayOptions, ProbingOptions
from sip_proxy.config.homes import HomeOptions
from sip_proxy.config.hooks import HookOptions
from sip_proxy.config.keys import Keys
from sip_proxy.config.listeners import Listeners
from sip_proxy.config.nat import Nat
from sip_proxy.config.policy import Limits, Policy, Registrations, Timers
from sip_proxy.config.routes import Route
from sip_proxy.config.sources import Guesses, Sources
from sip_proxy.config.tables import DEFAULT
from sip_proxy.config.tls import Tls
from sip_proxy.config.users import Users
from sip_proxy.config.values import Domain
from sip_proxy.gateways import GatewaySettings
from sip_proxy.settings import Listener, Settings
from sip_proxy.shell.streams import StreamSettings

__all__ = ["Config"]


class Config(Table):
    """The whole configuration, checked."""

    data_dir: Path | None = None
    """Where registrations, users, keys and the socket of commands are kept; none:
    $STATE_DIRECTORY, else natkit/sip-proxy below $XDG_STATE_HOME."""
    domains: tuple[Domain, ...] = ()
    """The domains whose proxy and registrar this is, like ``example.org``."""
    listeners: Listeners = Listeners()
    tls: Tls = Tls()
    connections: Connections = Connections()
    users: Users = Users()
    policy: Policy = Policy()
    registrations: Registrations = Registrations()
    flows: Flows = Flows()
    nat: Nat = Nat()
    homes: tuple[HomeOptions, ...] = ()
    timers: Timers = Timers()
    limits: Limits = Limits()
    sources: Sources = Sources()
    guesses: Guesses = Guesses()
    calls: Calls = Calls()
    trace: Trace = Trace()
    routes: tuple[Route, ...] = ()
    gateways: tuple[GatewayOptions, ...] = ()
    probing: ProbingOptions = ProbingOptions()
    failover: Failover = Failover()
    hooks: HookOptions = HookOptions()
    keys: Keys = Keys()
    admin: Admin = Admin()
    log: Log = Log()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.users.passwords:
            _, at, domain = name.rpartition("@")
            if at and domain.lower() not in self.domains:
                raise MisuseError(f"users.passwords: {name!r} is of no domain that is served")
        for home in self.homes:
            if home.domain in self.domains:
                raise MisuseError(f"homes: {home.domain} is a domain of this proxy itself")
        secure = next((each for each in self.listeners.listen or () if each.is_secure), None)
        if secure is not None and not self.streams().tls.certificates:
            raise MisuseError(f"{secure} needs a certificate and its key (--certificate, --key)")
        # What the rules and gateways must be to each other the machine says.
        replace(
            DEFAULT,
            domains=frozenset(self.domains),
            routes=tuple(each.rule() for each in self.routes),
            gateways=self._gateways(),
        )
        if self.admin.tls and self.listeners.files() is None:
            raise MisuseError("admin.tls needs a certificate and its key (--certificate, --key)")
        return self

    def _gateways(self) -> GatewaySettings:
        probing = self.probing
        return GatewaySettings(
            tuple(each.gateway() for each in self.gateways),
            probing.probing() if self.gateways else None,
            float(probing.longest_call),
        )

    def streams(self) -> StreamSettings:
        """What the shell is told of connections."""
        return self.connections.streams(self.tls.settings(self.listeners.files()))

    def settings(self, listeners: Sequence[Listener]) -> Settings:
        """What the machine is told, once the listeners are bound."""
        name = self.listeners.name
        return Settings(
            tuple(replace(each, name=name) for each in listeners),
            domains=frozenset(self.domains),
            timing=self.timers.timing(),
            registration=self.registrations.limits(),
            outbound=self.flows.outbound(),
            nat=self.nat.settings(),
            homes=tuple(each.home() for each in self.homes),
            authenticate=self.users.authenticate,
            algorithms=self.users.algorithms,
            qop=self.users.qop,
            trusted=self.policy.trusted,
            trusted_domains=frozenset(self.tls.trusted_domains),
            user_certificates=self.tls.user_certificates,
            reuse=self.connections.reused(),
            keep_alive=self.connections.keep_alives(),
            record_route=self.policy.record_route,
            redirect=self.policy.redirect,
            assert_identity=self.policy.assert_identity,
            stateless=self.policy.stateless,
            recurse=self.policy.recurse,
            timer_c=self.timers.timer_c,
            failover_after=self.failover.after or None,
            outliers=self.failover.outliers(),
            routes=tuple(each.rule() for each in self.routes),
            gateways=self._gateways(),
            max_breadth=self.limits.branches,
            sources=self.sources.settings(),
            guesses=self.guesses.settings(),
            calls=self.calls.settings(),
            recorder=self.trace.settings(),
            bounds=self.limits.bounds(),
            largest_transactions=self.limits.transactions,
            largest_pending=self.limits.pending,
        )
