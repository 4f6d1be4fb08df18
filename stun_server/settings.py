"""What the server machine is told at construction; nothing here reads a file or a flag."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from natkit.address import Address, Family, IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Transport
from natkit.stun.attributes.shapes import TEXT_CHARACTERS
from natkit.stun.registry import PasswordAlgorithmNumber
from natkit.stun.tokens import TokenKey

SMALLEST_NONCE_KEY = 16
"""Bytes; a shorter key could be found by search from one nonce (RFC 2104 §3)."""

LAST_WORKER = 255
"""The greatest number of a worker: it is one byte of what clients bring back."""


class PortRange(NamedTuple):
    """Ports, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


ALL_PORTS = PortRange(0, 65535)


class PeerRange(NamedTuple):
    """The peers in a network whose ports are in a range."""

    network: IPNetwork
    ports: PortRange = ALL_PORTS

    def __str__(self) -> str:
        return str(self.network) if self.ports == ALL_PORTS else f"{self.network} port {self.ports}"


DYNAMIC_PORTS = PortRange(49152, 65535)
"""The dynamic ports, to which RFC 8656 §7.2 keeps relayed addresses."""


class AlternateWhen(StrEnum):
    """When a rule about other servers holds."""

    ALWAYS = "always"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Alternate:
    """Clients that are sent to another server (RFC 8489 §10).

    ``servers`` are its addresses, one of a family, and ``domain`` is the name on its certificate
    where that is not this server's.  Clients of ``clients`` are meant, on ``listeners``; an empty
    one of the two says nothing.  ``above`` is how many allocations must live here, ``share`` the
    percentage of the clients that go.
    """

    servers: tuple[Address, ...]
    domain: str | None = None
    clients: tuple[IPNetwork, ...] = ()
    listeners: frozenset[tuple[Transport, Address]] = frozenset()
    when: AlternateWhen = AlternateWhen.ALWAYS
    above: int = 0
    share: int = 100


@dataclass(frozen=True, slots=True)
class RealmChoice:
    """A realm besides the default one, and whose requests belong to it.

    Those to ``listeners`` and with one of ``origins``; an empty one of the two says nothing.  What
    ``settings`` say of the whole server is the same as in those of the default realm.
    """

    settings: "Settings"
    listeners: frozenset[tuple[Transport, Address]] = frozenset()
    origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator decides; lifetimes in seconds.

    ``listeners`` are the exact addresses that clients reach: they supply the relayed host of a
    family for which ``relay_ipv4`` or ``relay_ipv6`` says nothing.  ``password_algorithms`` are
    offered in this order, and none are offered when it is empty (RFC 5389 clients only).
    ``others`` are the listeners of NAT behaviour discovery: by transport, each with the one whose
    address and port both differ from its own (RFC 5780 §6); so four belong together.
    ``strict_expiry`` ends an allocation's requests when the credential that opened it expires.
    ``allocations`` are those of the realm; those of the default realm are those of all realms.
    ``realms`` are further ones, and ``alternates`` rules, in the order in which they are tried.
    ``allowed_peers`` and ``denied_peers`` as in :class:`~stun_server.policy.PeerPolicy`, a network
    alone with all its ports; ``own_addresses`` are those of this server that are no more a peer
    than its listeners are.  ``allowed_clients`` and ``denied_clients`` as in
    :class:`~stun_server.strangers.ClientPolicy`, ``packets_per_source`` a second and
    ``answer_burst`` bytes as in :mod:`natkit.server.limits`.
    ``token_keys`` are those of the authorization servers whose access tokens are taken (RFC 7635),
    made for ``token_server_name``, which is the realm if it is empty.
    ``mobility`` lets clients take their allocations along to other addresses (RFC 8016).
    ``external`` has local hosts of relayed addresses and what stands for them outside of a NAT.
    ``dont_fragment`` says that the shell honours :class:`~stun_server.events.UnfragmentedTransmit`.
    ``worker`` is the number of this process among those that share the listeners: what it hands to
    clients for a later request carries it, since the request may reach another one.
    ``tcp_relaying`` grants TCP allocations (RFC 6062), whose connections the ``peer_connections``
    bound.
    """

    realm: str
    nonce_key: bytes
    listeners: tuple[Address, ...]
    others: tuple[tuple[Transport, Address, Address], ...] = ()
    worker: int = 0

    relay_ipv4: str | None = None
    relay_ipv6: str | None = None
    external: tuple[tuple[str, str], ...] = ()
    relay_ports: PortRange = DYNAMIC_PORTS
    dont_fragment: bool = False
    allowed_peers: tuple[PeerRange | IPNetwork, ...] = ()
    denied_peers: tuple[PeerRange | IPNetwork, ...] = ()
    own_addresses: tuple[Address, ...] = ()

    password_algorithms: tuple[PasswordAlgorithmNumber, ...] = (
        PasswordAlgorithmNumber.SHA_256,
        PasswordAlgorithmNumber.MD5,
    )
    username_anonymity: bool = True
    nonce_lifetime: float = 3600.0
    strict_expiry: bool = False
    token_keys: tuple[TokenKey, ...] = ()
    token_server_name: str = ""
    software: str = "natkit"

    allowed_clients: tuple[IPNetwork, ...] = ()
    denied_clients: tuple[IPNetwork, ...] = ()
    # Of one source prefix: ten times what 60,000 clients behind one address send to keep their
    # mappings alive.
    packets_per_source: int = 10_000
    # Of one source prefix in a minute: the challenges of 200 clients that never go on.
    answer_burst: int = 8_192

    default_lifetime: int = 600
    maximum_lifetime: int = 3600
    strict_channels: bool = False
    strict_permissions: bool = False
    mobility: bool = True

    allocations: int = 10_000
    # Half of all: one user may be a whole service that shares a name, but not shut others out.
    allocations_per_user: int = 5_000
    # In all half of them, as with allocations; each takes some 500 bytes.
    permissions: int = 200_000
    permissions_per_user: int = 100_000
    channels: int = 200_000
    channels_per_user: int = 100_000
    permissions_per_allocation: int = 128
    channels_per_allocation: int = 128
    # Bytes a second each way; None: what the uplink bears is not known here.
    bandwidth: int | None = None
    bandwidth_per_user: int | None = None

    tcp_relaying: bool = True
    peer_connections: int = 2_000
    peer_connections_per_user: int = 1_000
    peer_connections_per_allocation: int = 64
    unbound_connections_per_allocation: int = 16

    realms: tuple[RealmChoice, ...] = ()
    alternates: tuple[Alternate, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.realm) <= TEXT_CHARACTERS:
            raise MisuseError(f"the realm has not 1 to {TEXT_CHARACTERS} characters")
        if len(self.software) > TEXT_CHARACTERS:
            raise MisuseError(f"software has more than {TEXT_CHARACTERS} characters")
        if len(self.nonce_key) < SMALLEST_NONCE_KEY:
            raise MisuseError(f"the nonce key has fewer than {SMALLEST_NONCE_KEY} bytes")
        if not 0 <= self.worker <= LAST_WORKER:
            raise MisuseError(f"the worker's number is not within 0 to {LAST_WORKER}")
        if not 1 <= self.relay_ports.first <= self.relay_ports.last <= 65535:
            raise MisuseError("the relay ports are not a range within 1 to 65535")
        if not 0 < self.default_lifetime <= self.maximum_lifetime:
            raise MisuseError("the default lifetime is not between 1 and the maximum lifetime")
        for host, family in ((self.relay_ipv4, Family.IPV4), (self.relay_ipv6, Family.IPV6)):
            if host is not None and Address.of(host, 0).family is not family:
                raise MisuseError(f"{host} is no address of its family to relay from")

    def other_listeners(self) -> dict[tuple[Transport, Address], Address]:
        """``others`` by transport and address."""
        return {(transport, own): other for transport, own, other in self.others}

    def relay_host(self, family: int, listener: Address) -> str | None:
        """The host of a relayed address of ``family`` for a client that came to ``listener``.

        None where there is none, and for a number that is no Family.
        """
        host = None
        if family == Family.IPV4:
            host = self.relay_ipv4
        elif family == Family.IPV6:
            host = self.relay_ipv6
        if host is not None:
            return Address.of(host, 0).host
        if listener.family == family:
            return listener.host
        return _host_like(listener, [own for own in self.listeners if own.family == family])


def _host_like(listener: Address, others: Sequence[Address]) -> str | None:
    """Of the other family the host that reaches as far as ``listener``, or else the farthest.

    Clients from elsewhere have no use for a loopback address, which a wildcard stands for too.
    """
    reach = _reach(listener)
    suited = [each for each in others if _reach(each) or not reach]
    best = max(suited, key=lambda each: (_reach(each) == reach, _reach(each)), default=None)
    return None if best is None else best.host


def _reach(address: Address) -> int:
    """How far away those may be who reach it: 0 for this host, up to 3 for anybody."""
    host = address.ip
    if host.is_loopback:
        return 0
    if host.is_link_local:
        return 1
    return 3 if host.is_global else 2
