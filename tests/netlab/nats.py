"""Real NATs: hosts behind Linux routers with nftables, and servers on the other side of them.

All of them stand in one internet: a host that bears the servers' addresses, with a cable to each
router.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.netlab.gateway import run_on
from tests.netlab.namespaces import Host, Lab
from tests.peering.process import PeerFailed
from tests.peering.roster import program_path

# RFC 5737, RFC 3849, RFC 6598, RFC 2544: addresses that are nobody's.
PRIMARY: Final = "203.0.113.10"
ALTERNATE: Final = "203.0.113.11"
PRIMARY_IPV6: Final = "2001:db8:f::10"
ALTERNATE_IPV6: Final = "2001:db8:f::11"
HOME: Final = "192.168.77.2"
ROUTER: Final = "192.168.77.1"
HOME_IPV6: Final = "2001:db8:77::2"
SHORT_LIFETIME: Final = 7
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
_RANDOM = _MASQUERADE.replace("masquerade", "masquerade fully-random")
_ALL_PORTS_IN = """
    chain prerouting { type nat hook prerouting priority -100; policy accept;
        iifname "wan" udp dport 1024-65535 dnat to 192.168.77.2
    }
"""
_HAIRPINNING = """
    chain prerouting { type nat hook prerouting priority -100; policy accept;
        iifname "wan" udp dport 1024-65535 dnat to 192.168.77.2
        iifname "lan" ip daddr OUTSIDE udp dport 1024-65535 dnat to 192.168.77.2
    }
    chain postrouting { type nat hook postrouting priority 100; policy accept;
        oifname "lan" ip saddr 192.168.77.0/24 snat to OUTSIDE
        oifname "wan" masquerade
    }
"""
_NO_UDP = """
    chain forward { type filter hook forward priority 0; policy accept;
        meta l4proto udp drop
    }
"""


class Kind(StrEnum):
    """What stands between a host and the servers."""

    FULL_CONE = "full-cone"
    PORT_RESTRICTED = "port-restricted"
    PORT_RESTRICTED_INPUT_OPEN = "port-restricted-input-open"
    SYMMETRIC = "symmetric"
    SYMMETRIC_INPUT_OPEN = "symmetric-input-open"
    NESTED = "nested"
    HAIRPINNING = "hairpinning"
    UDP_BLOCKED = "udp-blocked"
    SHORT_LIVED = "short-lived"
    FIREWALL_IPV6 = "firewall-ipv6"


RULES: Final = {
    Kind.FULL_CONE: _STATEFUL + _MASQUERADE + _ALL_PORTS_IN,
    Kind.PORT_RESTRICTED: _STATEFUL + _MASQUERADE + _INPUT_CLOSED,
    Kind.PORT_RESTRICTED_INPUT_OPEN: _STATEFUL + _MASQUERADE,
    Kind.SYMMETRIC: _STATEFUL + _RANDOM + _INPUT_CLOSED,
    Kind.SYMMETRIC_INPUT_OPEN: _STATEFUL + _RANDOM,
    Kind.NESTED: _STATEFUL + _MASQUERADE + _INPUT_CLOSED,
    Kind.HAIRPINNING: _STATEFUL + _HAIRPINNING,
    Kind.UDP_BLOCKED: _NO_UDP + _MASQUERADE,
    Kind.SHORT_LIVED: _STATEFUL + _MASQUERADE + _INPUT_CLOSED,
    Kind.FIREWALL_IPV6: _STATEFUL,
}


@dataclass(frozen=True, slots=True)
class Behind:
    """A host, the router next to it, and the address that servers should see."""

    kind: Kind
    host: Host
    router: Host
    outside: str


class Internet:
    """The host of the servers; each NAT hangs on it by a cable of its own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.servers = lab.host("servers")
        for address in (PRIMARY, ALTERNATE):
            self.servers.configure("address", "add", f"{address}/32", "dev", "lo")
        for address in (PRIMARY_IPV6, ALTERNATE_IPV6):
            self.servers.configure("address", "add", f"{address}/128", "dev", "lo", "nodad")
        self._cables = 0

    def behind(self, kind: Kind) -> Behind:
        """A new host behind a router of this kind."""
        host, router = self._lab.host("home"), self._lab.host("router")
        self._lab.cable(
            (host, "eth0", f"{HOME}/24 {HOME_IPV6}/64"),
            (router, "lan", f"{ROUTER}/24 2001:db8:77::1/64"),
        )
        host.configure("route", "add", "default", "via", ROUTER)
        host.configure("-6", "route", "add", "default", "via", "2001:db8:77::1")
        if kind is Kind.NESTED:
            carrier = self._lab.host("carrier")
            self._lab.cable((router, "wan", "100.64.0.2/24"), (carrier, "lan", "100.64.0.1/24"))
            router.configure("route", "add", "default", "via", "100.64.0.1")
            outside = self._connect(carrier)
            _route(carrier, RULES[kind], outside)
        else:
            outside = self._connect(router)
        _route(router, RULES[kind], outside)
        if kind is Kind.SHORT_LIVED:
            for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
                _run(router, "sysctl", "-qw", f"net.netfilter.{name}={SHORT_LIFETIME}")
        return Behind(kind, host, router, outside)

    def _connect(self, router: Host) -> str:
        """Join a router to the servers; the address that it gets."""
        self._cables += 1
        number = self._cables
        here, there = f"198.18.{number}.1", f"198.18.{number}.2"
        net = f"2001:db8:{number:x}"
        self._lab.cable(
            (self.servers, f"to{number}", f"{here}/24 {net}::1/64"),
            (router, "wan", f"{there}/24 {net}::2/64"),
        )
        router.configure("route", "add", "default", "via", here)
        router.configure("-6", "route", "add", "default", "via", f"{net}::1")
        # Only one host is reached by its own address: the one behind the firewall.
        self.servers.configure("-6", "route", "replace", f"{HOME_IPV6}/128", "via", f"{net}::2")
        return there


def _route(router: Host, rules: str, outside: str) -> None:
    _run(router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    table = f"table inet nat {{ {rules.replace('OUTSIDE', outside)} }}"
    if "dnat" in table:
        # The family of an address to map to must be said in an inet table.
        table = table.replace("dnat to", "dnat ip to").replace("snat to", "snat ip to")
    _run(router, "nft", "-f", "-", text=table)


def _run(host: Host, program: str, *arguments: str, text: str = "") -> None:
    found = program_path(program)
    if found is None:
        raise PeerFailed(f"{program} is not installed")
    command: Sequence[str] = (found, *arguments)
    done = run_on(host, command, text=text)
    if done.returncode:
        raise PeerFailed(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
