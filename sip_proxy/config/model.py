"""The configuration as a whole, and what the machine is told of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from sip_proxy.config.flows import Flows
from sip_proxy.config.listeners import Listeners
from sip_proxy.config.policy import Limits, Policy, Registrations, Timers
from sip_proxy.config.users import Users
from sip_proxy.config.values import Domain
from sip_proxy.settings import Listener, Settings

__all__ = ["Config"]


class Config(Table):
    """The whole configuration, checked."""

    data_dir: Path | None = None
    """Where registrations, users, keys and the socket of commands are kept; none:
    $STATE_DIRECTORY, else natkit/sip-proxy below $XDG_STATE_HOME."""
    domains: tuple[Domain, ...] = ()
    """The domains whose proxy and registrar this is, like ``example.org``."""
    listeners: Listeners = Listeners()
    users: Users = Users()
    policy: Policy = Policy()
    registrations: Registrations = Registrations()
    flows: Flows = Flows()
    timers: Timers = Timers()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.users.passwords:
            _, at, domain = name.rpartition("@")
            if at and domain.lower() not in self.domains:
                raise MisuseError(f"users.passwords: {name!r} is of no domain that is served")
        return self

    def settings(self, listeners: Sequence[Listener]) -> Settings:
        """What the machine is told, once the listeners are bound."""
        name = self.listeners.name
        return Settings(
            tuple(replace(each, name=name) for each in listeners),
            domains=frozenset(self.domains),
            timing=self.timers.timing(),
            registration=self.registrations.limits(),
            outbound=self.flows.outbound(),
            authenticate=self.users.authenticate,
            algorithms=self.users.algorithms,
            trusted=self.policy.trusted,
            record_route=self.policy.record_route,
            redirect=self.policy.redirect,
            recurse=self.policy.recurse,
            timer_c=self.timers.timer_c,
            max_breadth=self.limits.branches,
            largest_transactions=self.limits.transactions,
            largest_pending=self.limits.pending,
        )
