"""The status of a server of several workers, from what each of them says."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from natkit.machine import Transport
from natkit.server.reports import Drain
from stun_server.administration import AllocationCount, Phase, Status, Traffic

__all__ = ["combined", "combined_drain"]

K = TypeVar("K")


def combined(statuses: Sequence[Status]) -> Status:
    """What all of ``statuses``, at least one, say together.

    What belongs to all workers alike is the first's: version, plane, realms.  The store is down
    when one of them cannot reach it, and the server drains when one of them does.
    """
    first = statuses[0]
    allocations: Counter[tuple[Transport, int]] = Counter()
    for each in statuses:
        for one in each.allocations:
            allocations[one.transport, one.family] += one.count
    drains = [each.drain for each in statuses if each.drain is not None]
    return replace(
        first,
        started=min(each.started for each in statuses),
        phase=max((each.phase for each in statuses), key=lambda phase: phase is Phase.DRAINING),
        listeners=tuple(dict.fromkeys(one for each in statuses for one in each.listeners)),
        workers=tuple(one for each in statuses for one in each.workers),
        sessions=sum(each.sessions for each in statuses),
        allocations=tuple(
            AllocationCount(transport, family, count)
            for (transport, family), count in sorted(allocations.items())
        ),
        relayed=sum((each.relayed for each in statuses), Traffic()),
        bindings=sum(each.bindings for each in statuses),
        refusals=_added(each.refusals for each in statuses),
        peers_refused=sum(each.peers_refused for each in statuses),
        dropped=_added(each.dropped for each in statuses),
        counts=_added(each.counts for each in statuses),
        connections=sum(each.connections for each in statuses),
        store=next((each.store for each in statuses if each.store.failure), first.store),
        drain=combined_drain(drains) if drains else None,
    )


def _added(counts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def combined_drain(drains: Sequence[Drain]) -> Drain:
    """The drain of all workers: from its first beginning to its last end."""
    return Drain(
        min(each.since for each in drains),
        max(each.until for each in drains),
        sum(each.sessions for each in drains),
    )
