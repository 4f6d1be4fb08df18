"""What a one-to-one NAT makes of our relayed addresses, asked of a STUN server outside."""

import ipaddress
from collections.abc import Mapping, Sequence

from natkit.aio.stun import examine
from natkit.errors import ConfigError, NatkitError
from stun_server.config import Config
from stun_server.shell.listening import Listener

__all__ = ["external_hosts"]

PATIENCE = 10.0
"""Seconds for the STUN server to answer."""


async def external_hosts(
    config: Config, listeners: Sequence[Listener]
) -> tuple[tuple[str, str], ...]:
    """Local hosts that relay, and what stands for them outside, as configured or found out.

    ConfigError when the STUN server tells nothing.
    """
    table = config.listeners
    found: dict[str, str] = dict(table.external)
    if table.external_from is not None:
        found |= await _ask(table.external_from, _relaying(config, listeners), found)
    return tuple(found.items())


async def _ask(server: str, hosts: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    failures: list[NatkitError] = []
    for host in hosts:
        if host in known:
            continue
        try:
            binding = await examine(server, timeout=PATIENCE, source=host)
        except NatkitError as error:
            failures.append(error)
            continue
        if binding.mapped.host != host:
            found[host] = binding.mapped.host
    if failures and len(failures) == len(hosts):
        # That one family has no way to the server is not yet a mistake.
        raise ConfigError(f"listeners.external_from: {failures[0]}")
    return found


def _relaying(config: Config, listeners: Sequence[Listener]) -> list[str]:
    table = config.listeners
    named = [host for host in (table.relay_ipv4, table.relay_ipv6) if host is not None]
    families = {ipaddress.ip_address(host).version for host in named}
    hosts = dict.fromkeys(named)
    for each in listeners:
        ip = each.address.ip
        if ip.version not in families and not (ip.is_loopback or ip.is_link_local):
            hosts[each.address.host] = None
    return list(hosts)
