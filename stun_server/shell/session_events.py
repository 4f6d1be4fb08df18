"""What becomes of sessions, as the events that a program of the operator's is sent.

An event is a JSON object.  ``session`` is as in the log; ``time`` is Unix seconds; ``id`` is the
same however often an event is sent.  Totals of what was relayed are those of the session so far.
"""

from collections.abc import Callable

from natkit.address import Family
from natkit.machine import Path
from natkit.relay.plane import Counters
from stun_server.administration import session_id
from stun_server.events import (
    AllocationClosed,
    AllocationGivenAway,
    AllocationMoved,
    AllocationOpened,
    AllocationRefreshed,
)

__all__ = ["Event", "SessionEvents", "SessionFact"]

Event = dict[str, object]

SessionFact = (
    AllocationOpened
    | AllocationRefreshed
    | AllocationMoved
    | AllocationClosed
    | AllocationGivenAway
)
"""What there is an event of."""


class SessionEvents:
    """Makes the events of one worker; ``run`` is a text that no other process has had.

    ``clock`` is Unix seconds, ``offset`` what added to the machine's seconds gives them.
    """

    def __init__(self, worker: int, run: str, clock: Callable[[], float], offset: float) -> None:
        self._worker = worker
        self._run = run
        self._clock = clock
        self._offset = offset
        self._last = 0

    def event(self, fact: SessionFact, relayed: Counters | None) -> Event:
        """Tell of a fact; ``relayed`` is what passed so far."""
        event = self._new(fact.allocation_id)
        match fact:
            case AllocationOpened():
                event |= {
                    "event": "opened",
                    "user": fact.username,
                    "realm": fact.realm,
                    **_client(fact.client),
                    "relayed": [str(each) for each in fact.relayed_addresses],
                    "peers": str(fact.peers),
                    "expires": round(fact.until + self._offset, 3),
                }
            case AllocationRefreshed():
                event |= {"event": "refreshed", "expires": round(fact.until + self._offset, 3)}
                if fact.family is not None:
                    event["family"] = "IPv4" if fact.family is Family.IPV4 else "IPv6"
            case AllocationMoved():
                event |= {"event": "moved", **_client(fact.client)}
            case AllocationClosed():
                event |= {"event": "closed", "user": fact.username, "reason": str(fact.reason)}
            case AllocationGivenAway():
                # It goes on under another id, of which the other worker tells.
                event |= {"event": "closed", "reason": "given to another worker"}
        if relayed is not None:
            event["traffic"] = _traffic(relayed)
        return event

    def cut(self, allocation_id: int, username: str, relayed: Counters) -> Event:
        """The server ends, and the session with it."""
        return self._new(allocation_id) | {
            "event": "closed",
            "user": username,
            "reason": "the server stopped",
            "traffic": _traffic(relayed),
        }

    def _new(self, allocation_id: int) -> Event:
        self._last += 1
        return {
            "id": f"{self._run}-{self._last}",
            "event": "",
            "time": round(self._clock(), 3),
            "session": session_id(self._worker, allocation_id),
        }


def _traffic(relayed: Counters) -> dict[str, int]:
    return {
        "packets_to_peers": relayed.packets_to_peers,
        "bytes_to_peers": relayed.bytes_to_peers,
        "packets_to_clients": relayed.packets_to_clients,
        "bytes_to_clients": relayed.bytes_to_clients,
    }


def _client(path: Path) -> dict[str, str]:
    return {"client": str(path.remote), "transport": str(path.transport)}
