"""What the host knows: its nameservers, its hosts file, its routes, and its source of chance."""

import secrets
import socket
from pathlib import Path
from typing import Final

import dns.exception

from natkit.address import Address, Family
from natkit.errors import ConfigError, MisuseError
from sipdns.hosts import Hosts

__all__ = ["DNS_PORT", "system_draw", "system_hosts", "system_nameservers", "usable_families"]

DNS_PORT: Final = 53

HOSTS_FILE: Final = Path("/etc/hosts")
"""hosts(5)."""

# Documentation addresses stand for the Internet; connecting a UDP socket sends nothing.
_FAR_AWAY: Final = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}

system_draw = secrets.randbelow


def system_nameservers() -> list[Address]:
    """The nameservers of ``/etc/resolv.conf``, or what stands for it; ConfigError without any."""
    # Here, so that who names nameservers does not load all that dnspython can ask by.
    from dns.resolver import Resolver  # noqa: PLC0415

    try:
        resolver = Resolver(configure=True)
    except dns.exception.DNSException as error:
        raise ConfigError(
            "the system's resolver configuration names no nameserver; give one with --resolver"
        ) from error
    servers = []
    for one in resolver.nameservers:
        try:
            servers.append(Address.of(str(one), resolver.port))
        except MisuseError:
            continue
    if not servers:
        raise ConfigError("the system's nameservers are not plain DNS; give one with --resolver")
    return servers


def system_hosts() -> Hosts:
    """The names of ``/etc/hosts``; none where there is no such file, or nobody may read it."""
    try:
        return Hosts.parse(HOSTS_FILE.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return Hosts()


def usable_families() -> tuple[Family, ...]:
    """The families that this host has a route for (RFC 6724 §6 rule 1); all when it has none."""
    found = tuple(family for family in Family if _has_route(family))
    return found or tuple(Family)


def _has_route(family: Family) -> bool:
    with socket.socket(family.socket_family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_FAR_AWAY[family], DNS_PORT))
        except OSError:
            return False
    return True
