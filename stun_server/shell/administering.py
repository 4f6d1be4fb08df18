"""The :class:`~stun_server.administration.Administration` of a server that is one process."""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice

import natkit
from natkit.address import Family
from natkit.machine import Transport
from natkit.relay.plane import Counters
from natkit.server.draining import Draining
from natkit.server.process import descriptors
from natkit.server.reports import Drain, Reload
from stun_server.administration import (
    AllocationCount,
    CertificateStatus,
    ListenerStatus,
    Phase,
    Session,
    Status,
    StoreStatus,
    Traffic,
    WorkerStatus,
    session_id,
    session_place,
)
from stun_server.allocation import Allocation
from stun_server.service import Server
from stun_server.shell.certificates import Certificates
from stun_server.shell.directory import Directory
from stun_server.shell.listening import Listener
from stun_server.shell.tcp_relaying import Relayed

__all__ = ["OneProcess", "Parts"]

_REFUSED = re.compile(r"requests refused with (\d+)")
_FAMILIES = {Family.IPV4: 4, Family.IPV6: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What of a running server is looked at, and how it is told.

    ``run`` calls a method of the machine with the time and does all that it led to.
    """

    worker: int
    machine: Server
    relayed: Relayed
    plane_name: str
    plane_reason: Callable[[], str]
    users: Callable[[], Directory]
    listeners: tuple[Listener, ...]
    certificates: Callable[[], Certificates | None]
    connections: Callable[[], int]
    counts: Callable[[], Counter[str]]
    draining: Draining
    run: Callable[[Callable[[float], bool]], bool]
    reload: Callable[[], Awaitable[Reload]]


class OneProcess:
    """Reads the machine and the plane at the moment it is asked."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._started = time.time()

    async def status(self) -> Status:
        """How the server fares now."""
        parts = self._parts
        totals = parts.relayed.totals()
        counts = parts.counts()
        refusals = {
            int(match[1]): counts.pop(name)
            for name in list(counts)
            if (match := _REFUSED.fullmatch(name)) is not None
        }
        return Status(
            version=natkit.__version__,
            started=self._started,
            phase=Phase.SERVING if parts.draining.drain is None else Phase.DRAINING,
            plane=parts.plane_name,
            plane_reason=parts.plane_reason(),
            event_loop=type(self._loop).__module__.partition(".")[0],
            realms=parts.users().realms,
            listeners=tuple(
                ListenerStatus(each.transport, str(each.address)) for each in parts.listeners
            ),
            workers=(self._worker(),),
            sessions=len(parts.machine.allocations),
            allocations=self._allocation_counts(),
            relayed=_traffic(totals),
            bindings=totals.bindings_answered + parts.machine.bindings,
            refusals=refusals,
            peers_refused=counts.pop("peers refused", 0),
            dropped=_dropped(totals),
            counts=counts,
            connections=parts.connections(),
            store=StoreStatus(parts.users().store_name, parts.users().store_failure),
            certificates=self._certificates(),
            drain=parts.draining.drain,
        )

    async def sessions(self, limit: int) -> tuple[Session, ...]:
        """The live allocations, the oldest first."""
        return tuple(map(self._session, islice(self._parts.machine.allocations, limit)))

    async def disconnect(self, session: str) -> bool:
        """End an allocation by its id."""
        place = session_place(session)
        if place is None or place[0] != self._parts.worker:
            return False
        machine = self._parts.machine
        return self._parts.run(lambda now: machine.end(place[1], now))

    async def drain(self, limit: float | None = None) -> Drain:
        """Grant no more allocations, and end once there are none."""
        return self._parts.draining.begin(limit)

    async def reload(self) -> Reload:
        """Read the configuration again."""
        return await self._parts.reload()

    def _worker(self) -> WorkerStatus:
        return WorkerStatus(
            self._parts.worker,
            os.getpid(),
            self._started,
            len(self._parts.machine.allocations),
            descriptors(),
        )

    def _allocation_counts(self) -> tuple[AllocationCount, ...]:
        counted: Counter[tuple[Transport, int]] = Counter()
        for allocation in self._parts.machine.allocations:
            for relayed in allocation.relayed_addresses:
                counted[allocation.client.transport, _FAMILIES[relayed.family]] += 1
        return tuple(
            AllocationCount(transport, family, count)
            for (transport, family), count in sorted(counted.items())
        )

    def _certificates(self) -> tuple[CertificateStatus, ...]:
        certificates = self._parts.certificates()
        if certificates is None:
            return ()
        current = certificates.current
        return (CertificateStatus(tuple(current.names.split(", ")), current.until.timestamp()),)

    def _session(self, allocation: Allocation) -> Session:
        now = self._loop.time()
        unix_offset = time.time() - now
        return Session(
            id=session_id(self._parts.worker, allocation.allocation_id),
            user=allocation.credential.username,
            realm=allocation.credential.realm,
            client=str(allocation.client.remote),
            transport=allocation.client.transport,
            relayed=tuple(map(str, allocation.relayed_addresses)),
            since=allocation.since + unix_offset,
            expires=allocation.last_until + unix_offset,
            permissions=sum(each.until > now for each in allocation.permissions.values()),
            channels=sum(each.until > now for each in allocation.channels.values()),
            traffic=_traffic(self._parts.relayed.counters(allocation.allocation_id)),
        )


def _traffic(counters: Counters) -> Traffic:
    return Traffic(
        counters.packets_to_peers,
        counters.bytes_to_peers,
        counters.packets_to_clients,
        counters.bytes_to_clients,
    )


def _dropped(counters: Counters) -> dict[str, int]:
    return {
        "malformed": counters.dropped_malformed,
        "no allocation": counters.dropped_no_allocation,
        "no channel": counters.dropped_no_channel,
        "no permission": counters.dropped_no_permission,
        "send failed": counters.dropped_send_failed,
        "over the bandwidth": counters.dropped_over_rate,
        "of strangers in a flood": counters.dropped_strangers,
        "requests in a flood": counters.dropped_requests,
    }
