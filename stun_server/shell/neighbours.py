"""What one worker has from the others, and they from it: sockets, with what belongs to them.

The machine asks for what a client wants to go on with here and another worker has: a reserved port,
an allocation that moves (RFC 8016), a peer's connection (RFC 6062).  Nothing is read from a socket
on its way, so what arrived before and what arrives meanwhile are there when it goes on.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.errors import HandoverRefused, UnreachableError
from natkit.machine import Failure
from natkit.server.handover import Parcel, close_all
from stun_server.authentication import Account
from stun_server.connection_events import ConnectionReturned, ConnectionRevoked, TakeConnection
from stun_server.events import ServerEvent, TakeAllocation, TakeReservation
from stun_server.handover import Snapshot
from stun_server.service import Server, ServerResult
from stun_server.shell.crossing import (
    AllocationConcluded,
    AskTaken,
    GiveAllocation,
    GiveConnection,
    GivenConnection,
    GivenReservation,
    GiveReservation,
    ReturnConnection,
    RevokeConnection,
    Taken,
    WorkerGone,
)
from stun_server.shell.log import EventLog
from stun_server.shell.parting import Parting
from stun_server.shell.relaying import PlaneSockets
from stun_server.shell.tcp_relaying import TcpRelaying

__all__ = ["Neighbours", "Post"]


class Post(Protocol):
    """The way to the other workers: a :class:`~natkit.server.handover.Correspondence`."""

    def tell(self, receiver: int, message: object, /) -> None:
        """Send a notice; UnreachableError when that worker is not there."""
        ...

    async def ask(self, receiver: int, message: object, /) -> Parcel:
        """Ask; UnreachableError for whatever keeps the answer from coming."""
        ...


class Neighbours:
    """Asks the other workers for what the machine wants, and gives them what they may have.

    Without ``post`` there are no others.
    """

    def __init__(
        self,
        machine: Server,
        driver: Driver[ServerEvent, ServerResult],
        sockets: PlaneSockets,
        connections: TcpRelaying,
        post: Post | None,
        events: EventLog,
    ) -> None:
        self._machine = machine
        self._driver = driver
        self._sockets = sockets
        self._connections = connections
        self._post = post
        self._events = events
        self._parting = Parting(self._ask_whether_taken, self._take_back)
        self._tasks: set[asyncio.Task[None]] = set()
        # By their numbers: connections that others have, and those that are others'.  The machine
        # bounds both, and tells the end of each.
        self._given: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    @property
    def arriving(self) -> int:
        """How much was asked for, and is not here yet."""
        return len(self._tasks)

    @property
    def leaving(self) -> int:
        """How many allocations were given away, and may be had back."""
        return len(self._parting)

    # What this machine asks for.

    def take_reservation(self, event: TakeReservation) -> None:
        """Get a reserved port, then answer the machine."""
        wish = GiveReservation(event.token, event.username, event.realm, event.may_count)
        self._ask(event.request_id, event.owner, wish, self._hold_reserved)

    def take_allocation(self, event: TakeAllocation) -> None:
        """Get an allocation, then answer the machine."""
        wish = GiveAllocation(event.ticket, event.username, event.realm)

        def conclude(parcel: Parcel | None) -> None:
            snapshot = parcel.message if parcel is not None else None
            taken = isinstance(snapshot, Snapshot) and self._has(snapshot.relayed)
            self._tell(event.owner, AllocationConcluded(event.ticket, taken=taken))

        self._ask(event.request_id, event.owner, wish, self._hold_allocation, conclude)

    def take(self, request: TakeConnection) -> None:
        """Get a peer's connection, then answer the machine."""
        wish = GiveConnection(
            request.connection_id, request.username, request.realm, request.transport
        )

        def hold(parcel: Parcel) -> None:
            match parcel:
                case Parcel(GivenConnection(peer), (descriptor,)):
                    self._taken[request.connection_id] = request.owner
                    self._connections.taken(request, socket.socket(fileno=descriptor), peer)
                case _:
                    raise _unexpected(parcel)

        def conclude(parcel: Parcel | None) -> None:
            if parcel is None:
                self._tell(request.owner, ReturnConnection(request.connection_id))

        self._ask(request.request_id, request.owner, wish, hold, conclude)

    def tell(self, event: ConnectionRevoked | ConnectionReturned) -> None:
        """Pass on the end of a connection that is at another worker, or another's."""
        number = event.connection_id
        if isinstance(event, ConnectionReturned):
            self._taken.pop(number, None)
            self._tell(event.owner, ReturnConnection(number))
        else:
            receiver = self._given.pop(number, None)
            if receiver is not None:
                self._tell(receiver, RevokeConnection(number))

    # What others ask for.

    def handle(self, sender: int, message: object) -> Parcel | None:
        """Give what is asked for; HandoverRefused where it may not be had."""
        match message:
            case GiveReservation():
                return self._give_reservation(message)
            case GiveAllocation():
                return self._give_allocation(sender, message)
            case AskTaken(relayed):
                return Parcel(Taken(self._has(relayed)))
            case AllocationConcluded(ticket, taken):
                if self._parting.concluded(ticket, sender, taken=taken) and taken:
                    self._driver.run(lambda now: self._machine.given_away(ticket, now, taken=True))
            case GiveConnection():
                return self._give_connection(sender, message)
            case RevokeConnection(number):
                self._taken.pop(number, None)
                self._run(lambda now: self._machine.connection_revoked(number, now))
            case ReturnConnection(number):
                self._given.pop(number, None)
                self._run(lambda now: self._machine.connection_returned(number, now))
            case WorkerGone(worker):
                self._bury(worker)
            case _:
                pass
        return None

    async def aclose(self) -> None:
        """Wait for nothing any more."""
        await self._parting.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _give_reservation(self, wish: GiveReservation) -> Parcel:
        account = Account(wish.username, wish.realm)
        relayed = self._driver.run(
            lambda now: self._machine.give_reservation(
                wish.token, account, now, may_count=wish.may_count
            )
        )
        if relayed is None:
            raise HandoverRefused("no port is kept for the token")
        return Parcel(GivenReservation(relayed), (self._sockets.take(relayed).detach(),))

    def _give_allocation(self, receiver: int, wish: GiveAllocation) -> Parcel:
        account = Account(wish.username, wish.realm)
        snapshot = self._driver.run(lambda now: self._machine.give_away(wish.ticket, account, now))
        if snapshot is None:
            raise HandoverRefused("the mobility ticket is of the past, or another user's")
        sockets = {each: self._sockets.take(each) for each in snapshot.relayed_addresses}
        return Parcel(snapshot, self._parting.part(wish.ticket, receiver, sockets))

    async def _ask_whether_taken(self, receiver: int, relayed: Address) -> bool:
        if self._post is None:
            return False
        answer = await self._post.ask(receiver, AskTaken(relayed))
        return isinstance(answer.message, Taken) and answer.message.taken

    def _take_back(
        self, ticket: bytes, receiver: int, sockets: dict[Address, socket.socket]
    ) -> None:
        for relayed, sock in sockets.items():
            self._sockets.hold(relayed, sock)
        self._events.taken_back(next(iter(sockets)), receiver)
        self._driver.run(lambda now: self._machine.given_away(ticket, now, taken=False))

    def _give_connection(self, receiver: int, wish: GiveConnection) -> Parcel:
        number, account = wish.connection_id, Account(wish.username, wish.realm)
        peer = self._driver.run(
            lambda now: self._machine.give_connection(number, account, wish.transport, now)
        )
        if peer is None:
            raise HandoverRefused("there is no such connection for this user")
        sock = self._connections.give(peer)
        if sock is None:
            self._run(lambda now: self._machine.connection_returned(number, now))
            raise HandoverRefused("the connection is over")
        self._given[number] = receiver
        self._events.connection_given(number, peer, receiver)
        return Parcel(GivenConnection(peer), (sock.detach(),))

    def _bury(self, worker: int) -> None:
        """End what a dead worker had from here, and what was its own; have back what can be."""
        self._parting.gone(worker)
        for number in [each for each, receiver in self._given.items() if receiver == worker]:
            self.handle(worker, ReturnConnection(number))
        for number in [each for each, owner in self._taken.items() if owner == worker]:
            self.handle(worker, RevokeConnection(number))

    # How.

    def _ask(
        self,
        request_id: int,
        owner: int,
        wish: object,
        hold: Callable[[Parcel], ServerResult | None],
        conclude: Callable[[Parcel | None], None] = lambda _: None,
    ) -> None:
        """Ask the owner, and answer the machine.

        ``conclude`` follows, without a parcel where the owner may have given one that is not here.
        """
        if self._post is None:
            self._driver.answer(request_id, Failure("there is no other worker"))
            return
        task = asyncio.get_running_loop().create_task(
            self._fetch(request_id, self._post.ask(owner, wish), hold, conclude)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(
        self,
        request_id: int,
        asking: Awaitable[Parcel],
        hold: Callable[[Parcel], ServerResult | None],
        conclude: Callable[[Parcel | None], None],
    ) -> None:
        try:
            parcel = await asking
            result = hold(parcel)
        except HandoverRefused as error:
            self._driver.answer(request_id, Failure(str(error)))
            return
        except UnreachableError:
            # Nobody knows.  The client is told so when the machine loses patience, and asks again.
            conclude(None)
            return
        if result is not None:
            self._driver.answer(request_id, result)
        conclude(parcel)

    def _hold_reserved(self, parcel: Parcel) -> Address:
        match parcel:
            case Parcel(GivenReservation(relayed), (descriptor,)):
                self._hold(relayed, descriptor)
                return relayed
            case _:
                raise _unexpected(parcel)

    def _hold_allocation(self, parcel: Parcel) -> Snapshot:
        snapshot = parcel.message
        if not isinstance(snapshot, Snapshot) or len(parcel.descriptors) != len(
            snapshot.relayed_addresses
        ):
            raise _unexpected(parcel)
        for relayed, descriptor in zip(snapshot.relayed_addresses, parcel.descriptors, strict=True):
            self._hold(relayed, descriptor)
        return snapshot

    def _has(self, relayed: Address) -> bool:
        return self._machine.allocations.of_relayed(relayed) is not None

    def _hold(self, relayed: Address, descriptor: int) -> None:
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        self._sockets.hold(relayed, sock)

    def _tell(self, receiver: int, message: object) -> None:
        # A worker that is gone has nothing to end.
        if self._post is not None:
            with contextlib.suppress(UnreachableError):
                self._post.tell(receiver, message)

    def _run(self, method: Callable[[float], None]) -> None:
        self._driver.run(method)


def _unexpected(parcel: Parcel) -> UnreachableError:
    close_all(parcel.descriptors)
    return UnreachableError("another worker gave something else than was asked for")
