"""What the machine is told: the configuration, and what came out when all of it was opened."""

from collections.abc import Sequence
from dataclasses import replace

from natkit.address import Address
from natkit.machine import Transport
from natkit.net import fragmentation
from stun_server.config import Config
from stun_server.settings import RealmChoice, Settings
from stun_server.shell.directory import Directory
from stun_server.shell.listening import ListenAddress, Listener
from stun_server.shell.state import Keys

__all__ = ["machine_settings"]


def machine_settings(
    config: Config,
    keys: Keys,
    listeners: Sequence[Listener],
    users: Directory,
    *,
    worker: int,
    external: tuple[tuple[str, str], ...],
) -> Settings:
    """The settings of all realms; MisuseError when they make no sense together."""

    def bound(wanted: Sequence[ListenAddress]) -> frozenset[tuple[Transport, Address]]:
        return frozenset(
            (each.transport, each.address)
            for each in listeners
            if any(one.stands_for(each.transport, each.address) for one in wanted)
        )

    def offering(settings: Settings) -> Settings:
        offer = users.of(settings.realm).offer
        return replace(
            settings,
            password_algorithms=offer.password_algorithms,
            username_anonymity=offer.username_anonymity,
        )

    default = replace(
        config.settings(
            tuple(dict.fromkeys(each.address for each in listeners)),
            keys.nonce,
            dont_fragment=fragmentation.CAN_FORBID,
        ),
        worker=worker,
        external=external,
        others=tuple(
            (each.transport, each.address, each.other)
            for each in listeners
            if each.other is not None
        ),
    )
    realms = tuple(
        RealmChoice(
            offering(config.settings_of(name, default)),
            bound(realm.listeners),
            frozenset(realm.origins),
        )
        for name, realm in config.realms.items()
    )
    alternates = tuple(each.rule(bound) for each in config.redirects)
    return replace(offering(default), realms=realms, alternates=alternates)
