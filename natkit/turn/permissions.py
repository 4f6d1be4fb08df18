"""The client's list of permissions, and the data that waits for them (RFC 8656 §9, §10)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import Final

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.timers import TimerQueue
from natkit.turn.registry import PERMISSION_LIFETIME

MAX_PERMISSIONS: Final = 1024
"""Peers' IP addresses an allocation: more than any call needs, and 32 requests to refresh."""

PEERS_PER_REQUEST: Final = 32
"""Peers in one CreatePermission: with IPv6 and credentials it still fits 1,280 bytes."""

REFRESH_MARGIN: Final = 80.0
"""Seconds before its end that something is refreshed: two whole transactions of 39.5 s fit."""

BATCH_WINDOW: Final = 30.0
"""A refresh takes along every permission that is due within so many seconds."""

MAX_WAITING: Final = 65536
"""Bytes of data, in all, that wait for permissions: what a round trip of a busy sender needs."""

DATAGRAM_COST: Final = 128
"""Bytes that a waiting datagram counts on top of its data, so that empty ones are bounded too."""


class PermissionState(Enum):
    """How far a permission is."""

    REQUESTED = auto()
    INSTALLED = auto()


@dataclass(slots=True)
class Permission:
    """What the client knows of one permission; ``until`` is when the server may have dropped it.

    A permission holds for all ports of a host, but ``peer`` is who it was asked for last, and is
    named in requests: a server may permit its own relayed addresses alone, by address and port.
    """

    peer: Address
    state: PermissionState = PermissionState.REQUESTED
    until: float = -inf
    kept: bool = True
    refreshing: bool = False
    waiting: list[tuple[Address, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DuePermissions:
    """What time has brought: batches to refresh, and the hosts whose refreshes all failed."""

    refresh: tuple[list[Address], ...]
    ended: tuple[str, ...]


class Permissions:
    """Permissions by IP address; decides what to request and never sends."""

    def __init__(self) -> None:
        self._permissions: dict[str, Permission] = {}
        self._timers: TimerQueue[str] = TimerQueue()
        self._waiting_bytes = 0
        self.dropped = 0
        """Datagrams that did not get sent because too many waited, or their permission failed."""

    def __contains__(self, host: str) -> bool:
        return host in self._permissions

    def __len__(self) -> int:
        return len(self._permissions)

    def is_installed(self, host: str) -> bool:
        """Whether the server relays to ``host``, as far as the client knows."""
        permission = self._permissions.get(host)
        return permission is not None and permission.state is PermissionState.INSTALLED

    def request(self, peers: Iterable[Address]) -> list[list[Address]]:
        """Add the peers whose hosts are new; gives those in batches, one for each request to send.

        Raises MisuseError, and adds none, when they would be more than MAX_PERMISSIONS.
        """
        wanted = {peer.host: peer for peer in peers}
        new = [peer for peer in wanted.values() if peer.host not in self._permissions]
        if len(self._permissions) + len(new) > MAX_PERMISSIONS:
            raise MisuseError(f"an allocation has at most {MAX_PERMISSIONS} permissions")
        for peer in wanted.values():
            self._keep(peer)
        return _batches(new)

    def hold(self, peer: Address, data: bytes) -> None:
        """Keep ``data`` until the permission for ``peer`` is installed, or drop it when full."""
        cost = len(data) + DATAGRAM_COST
        if self._waiting_bytes + cost > MAX_WAITING:
            self.dropped += 1
            return
        self._waiting_bytes += cost
        self._permissions[peer.host].waiting.append((peer, data))

    def install(self, peer: Address, requested_at: float) -> list[tuple[Address, bytes]] | None:
        """The server has installed or refreshed it, not before ``requested_at``.

        Gives the data that waited, or None when the permission was installed already.
        """
        permission = self._permissions.setdefault(peer.host, Permission(peer))
        permission.until = max(permission.until, requested_at + PERMISSION_LIFETIME)
        permission.refreshing = False
        self._timers.set(peer.host, permission.until - REFRESH_MARGIN)
        if permission.state is PermissionState.INSTALLED:
            return None
        permission.state = PermissionState.INSTALLED
        return self._take_waiting(permission)

    def remove(self, host: str) -> bool:
        """The server refused it, or it ended: forget it and what waited; False if unknown."""
        permission = self._permissions.pop(host, None)
        self._timers.cancel(host)
        if permission is None:
            return False
        self.dropped += len(self._take_waiting(permission))
        return True

    def retry(self, host: str, now: float, delay: float = 0.0) -> bool:
        """A refresh went unanswered: try again after ``delay`` seconds; False if it is no use."""
        permission = self._permissions.get(host)
        if permission is None or permission.state is not PermissionState.INSTALLED:
            return False
        if now + delay >= permission.until:
            return False
        permission.refreshing = False
        self._timers.set(host, now + delay)
        return True

    def release(self, host: str) -> None:
        """Stop refreshing it; it lapses by itself."""
        permission = self._permissions.get(host)
        if permission is not None:
            permission.kept = False

    def due(self, now: float) -> DuePermissions:
        """Take what is to be done about the passing of time."""
        earliest = self._timers.next_deadline()
        if earliest is None or earliest > now:
            return DuePermissions((), ())
        refresh: list[Address] = []
        ended: list[str] = []
        for host in list(self._timers.pop_due(now + BATCH_WINDOW)):
            permission = self._permissions[host]
            if permission.until <= now:
                self.remove(host)
                if permission.kept:
                    ended.append(host)
                continue
            # The deadline that holds if no answer comes, or if nobody wants it any more.
            self._timers.set(host, permission.until)
            if permission.kept and not permission.refreshing:
                permission.refreshing = True
                refresh.append(permission.peer)
        return DuePermissions(tuple(_batches(refresh)), tuple(ended))

    def next_deadline(self) -> float | None:
        """When :meth:`due` has something, or None."""
        return self._timers.next_deadline()

    def clear(self) -> None:
        """The allocation is gone, and all permissions with it."""
        for host in list(self._permissions):
            self.remove(host)

    def _keep(self, peer: Address) -> None:
        permission = self._permissions.setdefault(peer.host, Permission(peer))
        permission.peer = peer
        if not permission.kept:
            permission.kept = True
            if permission.state is PermissionState.INSTALLED:
                self._timers.set(peer.host, permission.until - REFRESH_MARGIN)

    def _take_waiting(self, permission: Permission) -> list[tuple[Address, bytes]]:
        waiting, permission.waiting = permission.waiting, []
        self._waiting_bytes -= sum(len(data) + DATAGRAM_COST for _, data in waiting)
        return waiting


def _batches(peers: Sequence[Address]) -> list[list[Address]]:
    return [
        list(peers[start : start + PEERS_PER_REQUEST])
        for start in range(0, len(peers), PEERS_PER_REQUEST)
    ]
