"""Which peers a client may reach: none in a special-purpose range, unless an operator allows it.

An IPv6 address that carries an IPv4 address is judged by the latter, so that no spelling of a
refused address gets through, and allowing a network allows all its spellings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from natkit.address import IPNetwork

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Rule:
    """A refused range; allowing ``network`` lifts it."""

    network: IPNetwork
    meaning: str

    def __str__(self) -> str:
        return f"{self.network} ({self.meaning})"


# IANA's special-purpose registries (RFC 6890 and its updates), multicast, and what is unassigned.
_SPECIAL_PURPOSE = tuple(
    Rule(ip_network(text), meaning)
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
    """Judges peers by host alone; the server's own relayed addresses are not its business."""

    def __init__(self, allowed: Sequence[IPNetwork]) -> None:
        self._allowed = tuple(allowed)

    def refusal(self, host: str) -> Rule | None:
        """The rule that refuses the peers at ``host``, a literal; None when they are allowed."""
        address = ip_address(host)
        judged = reduce(address) if isinstance(address, IPv6Address) else (address,)
        return next(filter(None, map(self._judge, judged)), None)

    def _judge(self, address: IPAddress) -> Rule | None:
        if any(address in network for network in self._allowed):
            return None
        return next((rule for rule in _SPECIAL_PURPOSE if address in rule.network), None)


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
