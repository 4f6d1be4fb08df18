"""Clients with connections: how many, from where, and for how long without an allocation."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from natkit.address import Address
from natkit.machine import Path
from stun_server.sharing import Counts, OwnCounts
from stun_server.strangers import ClientPolicy

__all__ = ["Admission", "ConnectionLimits", "close_idle"]

# A household or a site has a /64 at least (RFC 6177 §2): its hosts choose the rest of the address.
_IPV6_SOURCE_PREFIX = 64


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The bounds on connections, and on DTLS associations, which count as such.

    ``total`` keeps descriptors for relay sockets, ``per_source`` keeps one source from taking them
    all (an IPv4 address, an IPv6 /64), ``idle`` seconds end connections that do not allocate.
    """

    total: int
    per_source: int
    idle: float


class Admission:
    """Counts connections by their source and admits those within the limits.

    ``declined`` counts those beyond a limit, ``denied`` those from networks that policy denies.
    ``open_by_source`` is shared by the workers of a server; the length is what this one has.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        policy: ClientPolicy,
        open_by_source: Counts | None = None,
    ) -> None:
        self.limits = limits
        self.declined = 0
        self.denied = 0
        self.policy = policy
        self._open = open_by_source or OwnCounts()
        self._own = 0

    def admit(self, path: Path) -> bool:
        """Whether a new connection may stay; counts it if so."""
        if self.policy and not self.policy.admits(path.remote.packed):
            self.denied += 1
            return False
        source = _source(path.remote)
        limits = self.limits
        if self._open.in_all() >= limits.total or self._open.of(source) >= limits.per_source:
            self.declined += 1
            # Asking makes no entry, so strangers that are declined leave nothing behind.
            return False
        self._open.add(source, 1)
        self._own += 1
        return True

    def release(self, path: Path) -> None:
        """An admitted connection ended."""
        self._own -= 1
        self._open.add(_source(path.remote), -1)

    def __len__(self) -> int:
        return self._own


def _source(remote: Address) -> str:
    ip = ipaddress.ip_address(remote.host)
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ipaddress.ip_network((int(ip), _IPV6_SOURCE_PREFIX), strict=False))


class Closable(Protocol):
    """Connections that tell when they were heard last."""

    def last_messages(self) -> dict[Path, float]:
        """Each open path, and the loop's time of its last whole message or else its beginning."""
        ...

    def close_path(self, path: Path) -> None:
        """Close it."""
        ...


async def close_idle(
    connections: Closable, allocated: set[Path] | dict[Path, int], idle: Callable[[], float]
) -> None:
    """For ever: close connections without an allocation that were silent for ``idle()`` seconds."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(idle() / 4)
        oldest = loop.time() - idle()
        for path, last in connections.last_messages().items():
            if last <= oldest and path not in allocated:
                connections.close_path(path)
