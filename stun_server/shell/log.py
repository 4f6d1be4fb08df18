"""The server's log: one line an event, with the session's number and the rule that decided.

No password, key or nonce is ever passed to a logger.
"""

import logging
from collections import Counter
from typing import assert_never

from natkit.address import Address
from natkit.machine import Path
from natkit.relay.plane import Counters
from natkit.server.log import Logger, level_now, printable
from natkit.stun.registry import Method, StunError
from stun_server.administration import session_id
from stun_server.connection_events import (
    PeerConnected,
    PeerConnectionClosed,
    PeerConnectionRefused,
)
from stun_server.events import (
    AllocationClosed,
    AllocationDetached,
    AllocationGivenAway,
    AllocationMoved,
    AllocationOpened,
    AllocationRefreshed,
    ChannelBound,
    ChannelRevoked,
    ClientExpected,
    ClientUnexpected,
    CloseReason,
    PeerRefused,
    PermissionInstalled,
    PermissionRevoked,
    RelayedAddressClosed,
    RequestRefused,
)

__all__ = ["EVERY_LINE", "EventLog", "Fact"]

EVERY_LINE = frozenset(
    {
        "allocation opened",
        "allocation closed",
        "allocation moved",
        "allocation given to another worker",
        "relayed address closed",
    }
)
"""What is written whatever its rate: what became of sessions, for an operator adds these up."""

REFUSALS_PER_SECOND = 20
"""Lines a second about what strangers were refused; the rest is counted, so that nobody fills the
disk by asking."""

Move = (
    AllocationMoved | AllocationDetached | AllocationGivenAway | ClientExpected | ClientUnexpected
)
"""What happens to an allocation whose client goes elsewhere."""

ConnectionFact = PeerConnected | PeerConnectionRefused | PeerConnectionClosed

AllocationFact = (
    AllocationOpened
    | AllocationRefreshed
    | AllocationClosed
    | Move
    | RelayedAddressClosed
    | PermissionInstalled
    | ChannelBound
    | PermissionRevoked
    | ChannelRevoked
    | PeerRefused
    | RequestRefused
)

Fact = AllocationFact | ConnectionFact

_LEVELS: dict[type[Fact], int] = {
    AllocationOpened: logging.INFO,
    AllocationClosed: logging.INFO,
    AllocationMoved: logging.INFO,
    AllocationDetached: logging.INFO,
    AllocationGivenAway: logging.INFO,
    RelayedAddressClosed: logging.INFO,
    AllocationRefreshed: logging.DEBUG,
    ClientExpected: logging.DEBUG,
    ClientUnexpected: logging.DEBUG,
    PermissionInstalled: logging.DEBUG,
    ChannelBound: logging.DEBUG,
    PermissionRevoked: logging.INFO,
    ChannelRevoked: logging.DEBUG,
    PeerRefused: logging.WARNING,
    RequestRefused: logging.INFO,
    PeerConnected: logging.DEBUG,
    PeerConnectionRefused: logging.DEBUG,
    PeerConnectionClosed: logging.DEBUG,
}

_CLOSED = {reason: f"allocations {reason}" for reason in CloseReason}


class EventLog:
    """Turns the machine's events into lines and counts."""

    def __init__(self, logger: Logger, worker: int = 0) -> None:
        self._worker = worker
        self.counts: Counter[str] = Counter()
        self._logger = logger
        self._second = 0
        self._lines = 0
        self._suppressed = 0
        # Known once, so that an event whose line nobody reads costs no more than its count.
        self._shown: tuple[type[Fact], ...] = ()
        self.follow_level()

    def follow_level(self) -> None:
        """Take up the level that :func:`~natkit.server.log.set_level` set."""
        self._shown = tuple(kind for kind, level in _LEVELS.items() if level >= level_now())

    def write(self, event: Fact, now: float, relayed: Counters | None = None) -> None:
        """Log and count one event.

        ``relayed`` is what became of the packets of an allocation that ends here with the event.
        """
        match event:
            case AllocationOpened():
                self.counts["allocations opened"] += 1
                self.counts["dual allocations"] += event.second is not None
            case AllocationClosed():
                self.counts[_CLOSED[event.reason]] += 1
            case AllocationMoved():
                self.counts["allocations moved"] += 1
            case AllocationGivenAway():
                self.counts["allocations given to another worker"] += 1
            case PeerRefused():
                self.counts["peers refused"] += 1
            case RequestRefused():
                self.counts[f"requests refused with {event.code}"] += 1
            case PeerConnected():
                self.counts["peer connections opened"] += 1
            case PeerConnectionRefused():
                self.counts["peer connections refused"] += 1
            case PeerConnectionClosed(bound=False):
                self.counts["peer connections never bound"] += 1
        if not isinstance(event, self._shown):
            return
        if isinstance(event, ConnectionFact):
            self._log_connection(event)
        else:
            self._log(event, now, relayed)

    def _log(self, event: AllocationFact, now: float, relayed: Counters | None) -> None:
        match event:
            case (
                AllocationOpened()
                | AllocationRefreshed()
                | AllocationClosed()
                | RelayedAddressClosed()
            ):
                self._log_life(event, now, relayed)
            case (
                AllocationMoved()
                | AllocationDetached()
                | AllocationGivenAway()
                | ClientExpected()
                | ClientUnexpected()
            ):
                self._log_move(event, relayed)
            case PermissionInstalled():
                self._logger.debug(
                    "peer permitted",
                    session=self._session(event.allocation_id),
                    peer=event.peer_host,
                )
            case ChannelBound():
                self._logger.debug(
                    "channel bound",
                    session=self._session(event.allocation_id),
                    channel=f"{event.channel:#06x}",
                    peer=str(event.peer),
                )
            case PermissionRevoked():
                self._logger.info(
                    "permission revoked",
                    session=self._session(event.allocation_id),
                    peer=event.peer_host,
                    rule=str(event.rule),
                )
            case ChannelRevoked():
                self._logger.debug(
                    "channel revoked",
                    session=self._session(event.allocation_id),
                    channel=f"{event.channel:#06x}",
                    peer=str(event.peer),
                )
            case PeerRefused() | RequestRefused():
                self._log_refusal(event, now)
            case _:
                assert_never(event)

    def _log_refusal(self, event: PeerRefused | RequestRefused, now: float) -> None:
        match event:
            case PeerRefused():
                if self._has_room(now):
                    self._logger.warning(
                        "peer refused",
                        session=self._session(event.allocation_id),
                        peer=str(event.peer),
                        rule=str(event.rule),
                        to_allow=event.rule.to_allow,
                    )
            case RequestRefused():
                # A nonce that ran out is every client's routine.
                if event.code != StunError.STALE_NONCE and self._has_room(now):
                    self._logger.info(
                        "request refused",
                        method=Method(event.method).name.lower(),
                        **_named("user", event.username),
                        **_client(event.path),
                        code=int(event.code),
                        reason=event.reason,
                    )
            case _:
                assert_never(event)

    def _log_move(self, event: Move, relayed: Counters | None) -> None:
        match event:
            case AllocationMoved():
                self._logger.info(
                    "allocation moved",
                    session=self._session(event.allocation_id),
                    before=str(event.before.remote),
                    **_client(event.client),
                )
            case AllocationDetached():
                self._logger.info(
                    "connection ended, allocation kept",
                    session=self._session(event.allocation_id),
                    **_client(event.client),
                )
            case AllocationGivenAway():
                self._logger.info(
                    "allocation given to another worker",
                    session=self._session(event.allocation_id),
                    **_relayed(relayed),
                )
            case ClientExpected():
                self._logger.debug(
                    "client expected",
                    session=self._session(event.allocation_id),
                    **_client(event.client),
                )
            case ClientUnexpected():
                self._logger.debug(
                    "client not expected",
                    session=self._session(event.allocation_id),
                    **_client(event.client),
                )
            case _:
                assert_never(event)

    def _log_connection(self, event: ConnectionFact) -> None:
        fields = {"session": self._session(event.allocation_id), "peer": str(event.peer)}
        match event:
            case PeerConnected():
                self._logger.debug(
                    "peer connected",
                    **fields,
                    connection=f"{event.connection_id:#010x}",
                    attempted=event.attempted,
                )
            case PeerConnectionRefused():
                self._logger.debug("peer connection refused", **fields, reason=event.reason)
            case PeerConnectionClosed():
                self._logger.debug(
                    "peer connection closed",
                    **fields,
                    connection=f"{event.connection_id:#010x}",
                    bound=event.bound,
                )

    def _log_life(
        self,
        event: AllocationOpened | AllocationRefreshed | AllocationClosed | RelayedAddressClosed,
        now: float,
        relayed: Counters | None,
    ) -> None:
        match event:
            case AllocationOpened():
                self._logger.info(
                    "allocation opened",
                    session=self._session(event.allocation_id),
                    **_named("user", event.username),
                    **_named("realm", event.realm),
                    **_client(event.client),
                    relayed=str(event.relayed),
                    **({} if event.second is None else {"second": str(event.second)}),
                    lifetime=round(event.until - now),
                )
            case AllocationClosed():
                self._logger.info(
                    "allocation closed",
                    session=self._session(event.allocation_id),
                    **_named("user", event.username),
                    reason=str(event.reason),
                    **_relayed(relayed),
                )
            case RelayedAddressClosed():
                self._logger.info(
                    "relayed address closed",
                    session=self._session(event.allocation_id),
                    relayed=str(event.relayed),
                    reason=str(event.reason),
                )
            case AllocationRefreshed():
                self._logger.debug(
                    "allocation refreshed",
                    session=self._session(event.allocation_id),
                    lifetime=round(event.until - now),
                )

    def connection_given(self, connection_id: int, peer: Path, worker: int) -> None:
        """A client binds a peer's connection (RFC 6062) at another worker, which has it now."""
        self.counts["peer connections given to another worker"] += 1
        self._logger.debug(
            "peer connection given to another worker",
            connection=f"{connection_id:#010x}",
            peer=str(peer.remote),
            to=worker,
        )

    def taken_back(self, relayed: Address, worker: int) -> None:
        """An allocation did not arrive at the worker that it was given to."""
        self.counts["allocations taken back"] += 1
        self._logger.warning("allocation taken back", relayed=str(relayed), from_worker=worker)

    def count_only(self, what: str, count: int = 1) -> None:
        """Count something that has no line of its own."""
        self.counts[what] += count

    def _session(self, allocation_id: int) -> str:
        return session_id(self._worker, allocation_id)

    def _has_room(self, now: float) -> bool:
        if int(now) != self._second:
            if self._suppressed:
                self._logger.warning("refusals not logged", count=self._suppressed)
            self._second, self._lines, self._suppressed = int(now), 0, 0
        if self._lines >= REFUSALS_PER_SECOND:
            self._suppressed += 1
            return False
        self._lines += 1
        return True


def _client(path: Path) -> dict[str, str]:
    return {"client": str(path.remote), "transport": str(path.transport)}


def _named(field: str, name: str) -> dict[str, str]:
    return {field: printable(name)} if name else {}


def _relayed(counters: Counters | None) -> dict[str, int]:
    if counters is None:
        return {}
    return {
        "to_peers": counters.packets_to_peers,
        "bytes_to_peers": counters.bytes_to_peers,
        "to_clients": counters.packets_to_clients,
        "bytes_to_clients": counters.bytes_to_clients,
    }
