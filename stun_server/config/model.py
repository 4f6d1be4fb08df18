"""The configuration as a whole, and what the machine is told of it."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.net.interfaces import expand_wildcard
from natkit.server.config.operating import Log
from natkit.server.config.tables import Table
from natkit.server.shared_addresses import MOST_WORKERS
from stun_server.config.events import Events
from stun_server.config.listeners import Listeners
from stun_server.config.operating import Admin, CredentialService
from stun_server.config.policy import Limits, Policy, RealmLimits
from stun_server.config.realms import Realm, Redirect
from stun_server.config.users import Users
from stun_server.config.values import RealmName
from stun_server.settings import Settings
from stun_server.shell.connections import ConnectionLimits

__all__ = ["Config"]

_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


class Config(Table):
    """The whole configuration, checked."""

    data_dir: Path | None = None
    """Where keys, users and the socket of commands are kept; none: $STATE_DIRECTORY,
    else natkit/stun-server below $XDG_STATE_HOME."""
    listeners: Listeners = Listeners()
    users: Users = Users()
    policy: Policy = Policy()
    limits: Limits = Limits()
    admin: Admin = Admin()
    credentials: CredentialService = CredentialService()
    events: Events = Events()
    log: Log = Log()
    realms: Mapping[RealmName, Realm] = Field(default_factory=dict)
    """Further realms by their names, in the order in which they are tried."""
    redirects: tuple[Redirect, ...] = ()
    """Rules about other servers, of which the first that suits a client decides."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        listen = self.listeners.listen or ()
        for name, realm in self.realms.items():
            if name == self.users.realm:
                raise MisuseError(f"realms.{name}: this is the realm of [users]")
            for each in realm.listeners:
                if each not in listen:
                    raise MisuseError(f"realms.{name}: {each} is not in listeners.listen")
            policy = self.policy_of(name)
            if policy.default_lifetime > policy.maximum_lifetime:
                raise MisuseError(f"realms.{name}: default_lifetime is above maximum_lifetime")
        for number, redirect in enumerate(self.redirects):
            for each in redirect.listeners:
                if each not in listen:
                    raise MisuseError(f"redirects.{number}: {each} is not in listeners.listen")
            for server in redirect.servers:
                if any(server == each.address for each in listen):
                    raise MisuseError(f"redirects.{number}: {server} is this server's own")
        return self

    def users_of(self, realm: str) -> Users:
        """The users of a realm; what a further one does not say is as in [users], but for who."""
        if realm == self.users.realm:
            return self.users
        own = self.realms[realm].users
        said = {name: getattr(own, name) for name in own.model_fields_set}
        return self.users.model_copy(
            update={
                "realm": realm,
                "passwords": {},
                "secrets": (),
                "oauth_keys": {},
                "oauth_server_name": "",
                **said,
            }
        )

    def policy_of(self, realm: str) -> Policy:
        """The policy of a realm; what a further one does not say is as in [policy]."""
        if realm == self.users.realm:
            return self.policy
        own = self.realms[realm].policy
        return self.policy.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )

    def limits_of(self, realm: str) -> RealmLimits:
        """The limits of a realm; what a further one does not say is as in [limits]."""
        if realm == self.users.realm:
            return self.limits
        own = self.realms[realm].limits
        return self.limits.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )

    @model_validator(mode="after")
    def _check_admin(self) -> Self:
        if self.admin.tls and self.listeners.certificate is None:
            raise MisuseError("admin.tls needs a certificate and its key (--certificate, --key)")
        return self

    def own_addresses(self) -> tuple[Address, ...]:
        """Where this server listens for others than clients, whom no client may reach."""
        listen = filter(None, (self.admin.listen, self.admin.public))
        return tuple(own for each in listen for own in expand_wildcard(each))

    def settings(
        self, listeners: tuple[Address, ...], nonce_key: bytes, *, dont_fragment: bool
    ) -> Settings:
        """What the machine is told, once the listeners are bound, of the realm of [users]."""
        settings = Settings(
            realm=self.users.realm,
            nonce_key=nonce_key,
            own_addresses=self.own_addresses(),
            listeners=listeners,
            relay_ipv4=self.listeners.relay_ipv4,
            relay_ipv6=self.listeners.relay_ipv6,
            relay_ports=self.listeners.relay_ports,
            dont_fragment=dont_fragment,
            allowed_clients=self.policy.allow_client,
            denied_clients=self.policy.deny_client,
            packets_per_source=self.limits.packets_per_source,
            answer_burst=self.limits.answer_burst,
            permissions=self.limits.permissions,
            channels=self.limits.channels,
            bandwidth=self.limits.bandwidth,
        )
        return self.settings_of(self.users.realm, settings)

    def settings_of(self, realm: str, server: Settings) -> Settings:
        """What the machine is told of a realm; ``server`` has what holds for all realms."""
        users, policy, limits = self.users_of(realm), self.policy_of(realm), self.limits_of(realm)
        return replace(
            server,
            realm=realm,
            allowed_peers=policy.allow_peer,
            denied_peers=policy.deny_peer,
            password_algorithms=users.password_algorithms,
            username_anonymity=users.username_anonymity,
            nonce_lifetime=float(users.nonce_lifetime),
            strict_expiry=users.strict_expiry,
            token_keys=users.token_keys,
            token_server_name=users.oauth_server_name,
            default_lifetime=policy.default_lifetime,
            maximum_lifetime=policy.maximum_lifetime,
            strict_channels=policy.strict_channels,
            strict_permissions=policy.strict_permissions,
            mobility=policy.mobility,
            tcp_relaying=policy.tcp_relaying,
            peer_connections=self.limits.peer_connections,
            peer_connections_per_user=limits.peer_connections_per_user,
            peer_connections_per_allocation=limits.peer_connections_per_allocation,
            unbound_connections_per_allocation=limits.unbound_connections_per_allocation,
            allocations=limits.allocations,
            allocations_per_user=limits.allocations_per_user,
            permissions_per_allocation=limits.permissions_per_allocation,
            permissions_per_user=limits.permissions_per_user,
            channels_per_user=limits.channels_per_user,
            bandwidth_per_user=limits.bandwidth_per_user,
            channels_per_allocation=limits.channels_per_allocation,
        )

    def workers(self) -> int:
        """How many processes serve clients."""
        wanted = self.listeners.workers
        if wanted != "auto":
            return wanted
        return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else 1)

    def connection_limits(self) -> ConnectionLimits:
        """The bounds on TCP connections."""
        limits = self.limits
        return ConnectionLimits(
            limits.connections, limits.connections_per_source, float(limits.connection_idle)
        )
