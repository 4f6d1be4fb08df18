"""Which peers a client may reach: none in a special-purpose range, unless an operator allows it.

An IPv6 address that carries an IPv4 address is judged by the latter, so that no spelling of a
refused address gets through, and allowing a network allows all its spellings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from natkit.address import Address, IPNetwork
from natkit.server.networks import NetworkTable
from stun_server.settings import ALL_PORTS, PeerRange, PortRange, Settings

IPAddress = IPv4Address | IPv6Address


class Reach(NamedTuple):
    """How much of a host policy allows: all, nothing but relayed addresses, or these besides.

    The fields are those of :class:`~stun_server.events.PermissionInstalled`.
    """

    only_relayed: bool
    ports: tuple[PortRange, ...] = ()


EVERYTHING = Reach(only_relayed=False)
NOTHING = Reach(only_relayed=True)


@dataclass(frozen=True, slots=True)
class Rule:
    """Refused peers; ``to_allow`` tells a person what lifts the rule."""

    network: IPNetwork
    meaning: str
    to_allow: str
    ports: PortRange = ALL_PORTS

    def __str__(self) -> str:
        if self.ports == ALL_PORTS:
            return f"{self.network} ({self.meaning})"
        return f"{self.network} port {self.ports} ({self.meaning})"


class _Named(NamedTuple):
    """What the operator said of a network; ``rule`` None allows it."""

    ports: PortRange
    rule: Rule | None


# IANA's special-purpose registries (RFC 6890 and its updates), multicast, and what is unassigned.
_SPECIAL_PURPOSE = NetworkTable(
    (ip_network(text), Rule(ip_network(text), meaning, f"--allow-peer {text}"))
    for text, meaning in (
        ("0.0.0.0/8", "this network, RFC 791"),
        ("10.0.0.0/8", "private use, RFC 1918"),
        ("100.64.0.0/10", "shared address space, RFC 6598"),
        ("127.0.0.0/8", "loopback, RFC 1122"),
        ("169.254.0.0/16", "link local, RFC 3927"),
        ("172.16.0.0/12", "private use, RFC 1918"),
        ("192.0.0.0/24", "IETF protocol assignments, RFC 6890"),
        ("192.0.2.0/24", "documentation, RFC 5737"),
        ("192.31.196.0/24", "AS112, RFC 7535"),
        ("192.52.193.0/24", "AMT, RFC 7450"),
        ("192.88.99.0/24", "6to4 relay anycast, RFC 7526"),
        ("192.168.0.0/16", "private use, RFC 1918"),
        ("192.175.48.0/24", "AS112, RFC 7534"),
        ("198.18.0.0/15", "benchmarking, RFC 2544"),
        ("198.51.100.0/24", "documentation, RFC 5737"),
        ("203.0.113.0/24", "documentation, RFC 5737"),
        ("224.0.0.0/4", "multicast, RFC 1112"),
        ("255.255.255.255/32", "limited broadcast, RFC 919"),
        ("240.0.0.0/4", "reserved, RFC 1112"),
        ("::/128", "unspecified, RFC 4291"),
        ("::1/128", "loopback, RFC 4291"),
        ("64:ff9b:1::/48", "local-use NAT64, RFC 8215"),
        ("100::/64", "discard only, RFC 6666"),
        ("100:0:0:1::/64", "dummy prefix, RFC 9780"),
        ("2001::/23", "IETF protocol assignments, RFC 2928"),
        ("2001:db8::/32", "documentation, RFC 3849"),
        ("2620:4f:8000::/48", "AS112, RFC 7534"),
        ("3fff::/20", "documentation, RFC 9637"),
        ("5f00::/16", "segment routing, RFC 9602"),
        ("fc00::/7", "unique local, RFC 4193"),
        ("fe80::/10", "link local, RFC 4291"),
        ("fec0::/10", "site local, RFC 3879"),
        ("ff00::/8", "multicast, RFC 4291"),
        # RFC 4291 §2.4: global unicast addresses are assigned from 2000::/3 alone.
        ("::/3", "not global unicast, RFC 4291"),
        ("4000::/2", "not global unicast, RFC 4291"),
        ("8000::/1", "not global unicast, RFC 4291"),
    )
)

# The prefixes whose last 32 bits are an IPv4 address.
_IPV4_LAST = tuple(
    ip_network(text)
    for text in (
        "::ffff:0:0/96",  # mapped, RFC 4291 §2.5.5.2
        "::/96",  # compatible, RFC 4291 §2.5.5.1
        "::ffff:0:0:0/96",  # translated, RFC 2765 §2.1
        "64:ff9b::/96",  # NAT64, RFC 6052 §2.1
    )
)
_SIX_TO_FOUR = ip_network("2002::/16")
_TEREDO = ip_network("2001::/32")
# RFC 5214 §6.1: the upper half of an ISATAP interface identifier, with the u bit clear and set.
_ISATAP = (0x00005EFE, 0x02005EFE)
_U32 = 0xFFFFFFFF


class PeerPolicy:
    """Judges peers; the server's own relayed addresses are not its business.

    The server's own addresses are refused whatever is allowed.  Of what the operator named, the
    narrowest network that holds the peer decides, of one network the narrowest ports, then what is
    denied.  After that come the special-purpose ranges, and the hosts of the server, whose services
    may trust each other.
    """

    def __init__(
        self,
        allowed: Sequence[PeerRange | IPNetwork],
        denied: Sequence[PeerRange | IPNetwork] = (),
        *,
        own_addresses: Sequence[Address] = (),
        own_hosts: Sequence[str] = (),
    ) -> None:
        named = [
            *((each, _denied(each)) for each in map(_range, denied)),
            *((each, None) for each in map(_range, allowed)),
        ]
        # Sorting is stable: what is denied stays first.
        named.sort(key=lambda entry: entry[0].ports.last - entry[0].ports.first)
        self._named = NetworkTable((each.network, _Named(each.ports, rule)) for each, rule in named)
        self._own_ports: dict[bytes, dict[int, Rule]] = {}
        for address in own_addresses:
            rules = self._own_ports.setdefault(address.packed, {})
            rules[address.port] = _own_address(address)
        self._own_hosts = {Address.of(host, 0).packed: _own_host(host) for host in own_hosts}

    @classmethod
    def of(cls, settings: Settings) -> "PeerPolicy":
        """The policy that these settings tell."""
        relays = [host for host in (settings.relay_ipv4, settings.relay_ipv6) if host is not None]
        return cls(
            settings.allowed_peers,
            settings.denied_peers,
            own_addresses=(*settings.listeners, *settings.own_addresses),
            own_hosts=(
                *relays,
                *(each.host for each in settings.listeners),
                *(outside for _, outside in settings.external),
            ),
        )

    def refusal(self, peer: Address) -> Rule | None:
        """The rule that refuses ``peer``; None when it is allowed."""
        literal = peer.ip
        for address in self._judged(literal):
            rule = self._judge(address.packed, peer.port)
            if rule is not None:
                return rule
        # What is denied by its own name is, whatever it carries.
        return self._own_or_named(literal.packed, peer.port)[1]

    def reach(self, host: str) -> Reach:
        """Which peers at ``host``, a literal, are allowed."""
        starts = sorted({0, *self._port_bounds(ip_address(host))})
        found: list[PortRange] = []
        for first, following in zip(starts, (*starts[1:], ALL_PORTS.last + 1), strict=True):
            if self.refusal(Address(host, first)) is not None:
                continue
            if found and found[-1].last == first - 1:
                found[-1] = PortRange(found[-1].first, following - 1)
            else:
                found.append(PortRange(first, following - 1))
        return EVERYTHING if found == [ALL_PORTS] else Reach(only_relayed=True, ports=tuple(found))

    @staticmethod
    def _judged(literal: IPAddress) -> tuple[IPAddress, ...]:
        return reduce(literal) if isinstance(literal, IPv6Address) else (literal,)

    def _judge(self, host: bytes, port: int) -> Rule | None:
        decided, rule = self._own_or_named(host, port)
        if decided:
            return rule
        return next(_SPECIAL_PURPOSE.around(host), None) or self._own_hosts.get(host)

    def _own_or_named(self, host: bytes, port: int) -> tuple[bool, Rule | None]:
        """Whether the server's own addresses or the operator's networks decide, and how."""
        own = self._own_ports.get(host, {}).get(port)
        if own is not None:
            return True, own
        for named in self._named.around(host):
            if named.ports.first <= port <= named.ports.last:
                return True, named.rule
        return False, None

    def _port_bounds(self, literal: IPAddress) -> Iterator[int]:
        """Where another rule may begin to hold, of the ports of a host."""
        for address in {literal, *self._judged(literal)}:
            host = address.packed
            for port in self._own_ports.get(host, ()):
                yield port
                yield from (port + 1,) if port < ALL_PORTS.last else ()
            for named in self._named.around(host):
                yield named.ports.first
                yield from (named.ports.last + 1,) if named.ports.last < ALL_PORTS.last else ()


def _range(peers: PeerRange | IPNetwork) -> PeerRange:
    return peers if isinstance(peers, PeerRange) else PeerRange(peers)


def _denied(peers: PeerRange) -> Rule:
    return Rule(
        peers.network,
        "denied by the configuration",
        f"take {peers} out of deny_peer, or name a narrower network in allow_peer",
        peers.ports,
    )


def _own_address(address: Address) -> Rule:
    network = ip_network(address.packed)
    ports = PortRange(address.port, address.port)
    return Rule(network, "an address of this server itself", "nothing allows this", ports)


def _own_host(host: str) -> Rule:
    network = ip_network(Address.of(host, 0).packed)
    return Rule(network, "a host of this server itself", f"--allow-peer {network}")


def reduce(address: IPv6Address) -> tuple[IPAddress, ...]:
    """The addresses that decide about ``address``: those it carries, else itself.

    An operator's own NAT64 prefix (RFC 6052 §2.2) cannot be told from any other.
    """
    value = int(address)
    if value > 1 and any(address in network for network in _IPV4_LAST):
        return (IPv4Address(value & _U32),)
    if address in _SIX_TO_FOUR:
        # RFC 3056 §2: V4ADDR follows the 16 bits of the prefix.
        return (IPv4Address(value >> 80 & _U32),)
    if address in _TEREDO:
        # RFC 4380 §4: the server, and the client with every bit inverted.
        return IPv4Address(value >> 64 & _U32), IPv4Address(~value & _U32)
    if value >> 32 & _U32 in _ISATAP:
        return address, IPv4Address(value & _U32)
    return (address,)
