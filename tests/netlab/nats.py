"""Real NATs: hosts behind Linux routers with nftables, and servers on the other side of them.

All of them stand in one internet: a host that bears the servers' addresses, with a cable to each
router.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from natkit.behaviour import Filtering, Mapping, PortRule
from tests.netlab.forwarder import Weather
from tests.netlab.namespaces import Host, Lab, run
from tests.netlab.nat64 import translate

# RFC 5737, RFC 3849, RFC 6598, RFC 2544: addresses that are nobody's.
PRIMARY: Final = "203.0.113.10"
ALTERNATE: Final = "203.0.113.11"
PRIMARY_IPV6: Final = "2001:db8:f::10"
ALTERNATE_IPV6: Final = "2001:db8:f::11"
COTURN: Final = ("203.0.113.20", "203.0.113.21", "2001:db8:f::20", "2001:db8:f::21")
NAMES: Final = {"stun": PRIMARY, "coturn": COTURN[0]}
"""What a NAT64's DNS knows in lab.example."""
HOME: Final = "192.168.77.2"
ROUTER: Final = "192.168.77.1"
SHORT_LIFETIME: Final = 3
"""Seconds that the router with the short memory keeps a binding."""

_STATEFUL = """
    chain forward { type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "lan" accept
        ct status dnat accept
    }
"""
_INPUT_CLOSED = """
    chain input { type filter hook input priority 0; policy accept;
        iifname "wan" ct state new drop
    }
"""
_MASQUERADE = """
    chain postrouting { type nat hook postrouting priority 100; policy accept;
        oifname "wan" masquerade
    }
"""
_MASQUERADE_IPV4 = _MASQUERADE.replace("oifname", "meta nfproto ipv4 oifname")
_RANDOM = _MASQUERADE.replace("masquerade", "masquerade fully-random")
_ALL_PORTS_IN = """
    chain prerouting { type nat hook prerouting priority -100; policy accept;
        iifname "wan" udp dport 1024-65535 dnat ip to 192.168.77.2
    }
"""
# Each port lets in whom it has sent to, from any port of theirs.
_KNOWN_HOSTS_IN = """
    set known { type inet_service . ipv4_addr; size 65535; flags dynamic,timeout; timeout 2m; }
    chain learn { type filter hook forward priority -10; policy accept;
        iifname "lan" meta l4proto udp update @known { udp sport . ip daddr }
    }
    chain prerouting { type nat hook prerouting priority -100; policy accept;
        iifname "wan" udp dport . ip saddr @known dnat ip to 192.168.77.2
    }
"""
_HAIRPINNING = """
    chain prerouting { type nat hook prerouting priority -100; policy accept;
        iifname "wan" udp dport 1024-65535 dnat ip to 192.168.77.2
        iifname "lan" ip daddr OUTSIDE udp dport 1024-65535 dnat ip to 192.168.77.2
    }
    chain postrouting { type nat hook postrouting priority 100; policy accept;
        oifname "lan" ip saddr 192.168.77.0/24 snat ip to OUTSIDE
        oifname "wan" masquerade
    }
"""
_NO_UDP = """
    chain forward { type filter hook forward priority 0; policy accept;
        meta l4proto udp drop
    }
"""
_TRANSLATED = _STATEFUL.replace('"lan"', '{ "lan", "nat64" }')


class Kind(StrEnum):
    """What stands between a host and the servers."""

    OPEN = "open"
    FULL_CONE = "full-cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    PORT_RESTRICTED_INPUT_OPEN = "port-restricted-input-open"
    SYMMETRIC = "symmetric"
    SYMMETRIC_INPUT_OPEN = "symmetric-input-open"
    NESTED = "nested"
    HAIRPINNING = "hairpinning"
    UDP_BLOCKED = "udp-blocked"
    SHORT_LIVED = "short-lived"
    FIREWALL_IPV6 = "firewall-ipv6"
    NAT64 = "nat64"


RULES: Final = {
    Kind.OPEN: "",
    Kind.FULL_CONE: _STATEFUL + _MASQUERADE + _ALL_PORTS_IN,
    Kind.ADDRESS_RESTRICTED: _STATEFUL + _MASQUERADE + _INPUT_CLOSED + _KNOWN_HOSTS_IN,
    Kind.PORT_RESTRICTED: _STATEFUL + _MASQUERADE + _INPUT_CLOSED,
    Kind.PORT_RESTRICTED_INPUT_OPEN: _STATEFUL + _MASQUERADE,
    Kind.SYMMETRIC: _STATEFUL + _RANDOM + _INPUT_CLOSED,
    Kind.SYMMETRIC_INPUT_OPEN: _STATEFUL + _RANDOM,
    Kind.NESTED: _STATEFUL + _MASQUERADE + _INPUT_CLOSED,
    Kind.HAIRPINNING: _STATEFUL + _HAIRPINNING,
    Kind.UDP_BLOCKED: _NO_UDP + _MASQUERADE,
    Kind.SHORT_LIVED: _STATEFUL + _MASQUERADE + _INPUT_CLOSED,
    Kind.FIREWALL_IPV6: _STATEFUL,
    Kind.NAT64: _TRANSLATED + _MASQUERADE_IPV4 + _INPUT_CLOSED,
}


@dataclass(frozen=True, slots=True)
class Truth:
    """What RFC 4787 and RFC 5780 call it; ``ports`` as natkit.behaviour.PortRule does."""

    mapping: Mapping
    filtering: Filtering
    ports: PortRule = PortRule.PRESERVED


_EVERYBODY = Filtering.ENDPOINT_INDEPENDENT
_HOSTS = Filtering.ADDRESS_DEPENDENT
_PORTS = Filtering.ADDRESS_AND_PORT_DEPENDENT
_CONE = Mapping.ENDPOINT_INDEPENDENT
_SYMMETRIC = Truth(Mapping.ADDRESS_AND_PORT_DEPENDENT, _PORTS, PortRule.ARBITRARY)

TRUTH: Final = {
    Kind.OPEN: Truth(Mapping.NONE, _EVERYBODY),
    Kind.FULL_CONE: Truth(_CONE, _EVERYBODY),
    Kind.ADDRESS_RESTRICTED: Truth(_CONE, _HOSTS),
    Kind.PORT_RESTRICTED: Truth(_CONE, _PORTS),
    Kind.PORT_RESTRICTED_INPUT_OPEN: Truth(_CONE, _PORTS),
    Kind.SYMMETRIC: _SYMMETRIC,
    Kind.SYMMETRIC_INPUT_OPEN: _SYMMETRIC,
    Kind.NESTED: Truth(_CONE, _PORTS),
    Kind.HAIRPINNING: Truth(_CONE, _EVERYBODY),
    Kind.UDP_BLOCKED: Truth(Mapping.UNKNOWN, Filtering.UNKNOWN, PortRule.UNKNOWN),
    Kind.SHORT_LIVED: Truth(_CONE, _PORTS),
    Kind.FIREWALL_IPV6: Truth(Mapping.NONE, _PORTS),
    Kind.NAT64: Truth(_CONE, _PORTS),
}


@dataclass(frozen=True, slots=True)
class Behind:
    """A host, the router next to it, and the address that servers should see.

    The router is at ``gateway_ipv6`` too, where the DNS of a NAT64 answers.
    """

    kind: Kind
    host: Host
    router: Host
    outside: str
    gateway_ipv6: str


class Internet:
    """The host of the servers; each NAT hangs on it by a cable of its own.

    It routes between them.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.servers = lab.host("servers")
        _forward(self.servers)
        for address in (PRIMARY, ALTERNATE, PRIMARY_IPV6, ALTERNATE_IPV6, *COTURN):
            whole = f"{address}/128" if ":" in address else f"{address}/32"
            flags = ("nodad",) if ":" in address else ()
            self.servers.configure("address", "add", whole, "dev", "lo", *flags)
        self._cables = 0

    def behind(
        self, kind: Kind, *, weather: Weather | None = None, lab: Lab | None = None
    ) -> Behind:
        """A new host behind a router of this kind, which may be far away by a bad line.

        With a ``lab`` of their own they are gone when that is.
        """
        lab = lab or self._lab
        self._cables += 1
        number = self._cables
        host, router = lab.host("home"), lab.host("router")
        home, gateway = (f"2001:db8:77{number:02x}::{end}" for end in (2, 1))
        ends = (HOME, ROUTER)
        if kind is Kind.OPEN:
            # Of a network that is routed to it.
            ends = (f"198.19.{number}.2", f"198.19.{number}.1")
        inside, gateway_ipv4 = ends
        ipv4 = "" if kind is Kind.NAT64 else f"{inside}/24 "
        lab.cable(
            (host, "eth0", f"{ipv4}{home}/64"),
            (router, "lan", f"{ipv4 and f'{gateway_ipv4}/24 '}{gateway}/64"),
        )
        if ipv4:
            host.configure("route", "add", "default", "via", gateway_ipv4)
        host.configure("-6", "route", "add", "default", "via", gateway)
        farthest = router
        if kind is Kind.NESTED:
            farthest = lab.host("carrier")
            lab.cable((router, "wan", "100.64.0.2/24"), (farthest, "lan", "100.64.0.1/24"))
            router.configure("route", "add", "default", "via", "100.64.0.1")
        outside = self._connect(lab, farthest, number, weather)
        self.servers.configure(
            *("-6", "route", "add", f"{home}/128", "via", f"2001:db8:{number:x}::2")
        )
        if kind is Kind.OPEN:
            self.servers.configure("route", "add", f"{inside}/32", "via", outside)
            outside = inside
        for each in {router, farthest}:
            _route(each, RULES[kind], outside)
        if kind is Kind.SHORT_LIVED:
            for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
                run(router, "sysctl", "-qw", f"net.netfilter.{name}={SHORT_LIFETIME}")
        if kind is Kind.NAT64:
            translate(lab, router, gateway, NAMES)
        return Behind(kind, host, router, outside, gateway)

    def _connect(self, lab: Lab, router: Host, number: int, weather: Weather | None) -> str:
        """Join a router to the servers; the address that it gets."""
        here, there = f"198.18.{number}.1", f"198.18.{number}.2"
        net = f"2001:db8:{number:x}"
        lab.cable(
            (self.servers, f"to{number}", f"{here}/24 {net}::1/64"),
            (router, "wan", f"{there}/24 {net}::2/64"),
            weather,
        )
        router.configure("route", "add", "default", "via", here)
        router.configure("-6", "route", "add", "default", "via", f"{net}::1")
        return there


def _route(router: Host, rules: str, outside: str) -> None:
    _forward(router)
    run(router, "nft", "-f", "-", text=f"table inet nat {{ {rules.replace('OUTSIDE', outside)} }}")


def _forward(host: Host) -> None:
    run(host, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
