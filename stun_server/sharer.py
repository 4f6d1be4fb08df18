"""What the server's machine gives to other workers: that with which clients go on there."""

from abc import ABC, abstractmethod
from collections import deque

from natkit.address import Address
from natkit.machine import Path, Transport
from stun_server.allocations import Allocations
from stun_server.authentication import Account
from stun_server.events import ServerEvent
from stun_server.handover import Snapshot
from stun_server.mobility import Mobility
from stun_server.redeem import give_reservation
from stun_server.tcp_allocations import TcpAllocations

__all__ = ["Sharer"]


class Sharer(ABC):
    """The part of :class:`~stun_server.service.Server` that other workers ask."""

    allocations: Allocations
    _mobility: Mobility
    _tcp: TcpAllocations
    _events: deque[ServerEvent]

    @abstractmethod
    def handle_timer(self, now: float) -> None:
        """Time has passed."""

    def give_connection(
        self, connection_id: int, account: Account, transport: Transport, now: float
    ) -> Path | None:
        """Let the worker that asks by TakeConnection have a pending connection, unread.

        None when ``account`` may not bind it over ``transport``.  It counts here until the other
        worker returns it, and ends there when ConnectionRevoked says so.
        """
        self.handle_timer(now)
        return self._tcp.give(connection_id, account, transport)

    def connection_returned(self, connection_id: int, now: float) -> None:
        """A connection that was given away is over: ConnectionReturned at the other worker."""
        self.handle_timer(now)
        self._events += self._tcp.end(connection_id, given=True)

    def connection_revoked(self, connection_id: int, now: float) -> None:
        """A connection that was taken must end: ConnectionRevoked at its owner."""
        self.handle_timer(now)
        self._events += self._tcp.end(connection_id, given=False)

    def give_away(self, ticket: bytes, account: Account, now: float) -> Snapshot | None:
        """Let another worker have the allocation of ``ticket``; None where there is none.

        AllocationGivenAway follows.  ``account`` is whom that worker has authenticated.  Whether it
        has it then, ``given_away`` is to be told.
        """
        self.handle_timer(now)
        given = self._mobility.give_away(ticket, account, now)
        if given is None:
            return None
        self._events.append(given[1])
        return given[0]

    def given_away(self, ticket: bytes, now: float, *, taken: bool) -> None:
        """Another worker has the allocation of ``ticket`` now; or not, and it goes on here."""
        self.handle_timer(now)
        self._events += self._mobility.concluded(ticket, taken=taken)

    def give_reservation(
        self, token: bytes, account: Account, now: float, *, may_count: bool
    ) -> Address | None:
        """Let another worker have the port that is kept for ``token``, its socket with it.

        None where it may not: ``may_count`` as in TakeReservation.
        """
        self.handle_timer(now)
        return give_reservation(token, account, self.allocations, may_count=may_count)
