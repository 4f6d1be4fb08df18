"""TURN on asyncio: an allocation that sends and receives datagrams through a server.

::

    async with allocate("turn:turn.example.org", username="ann", password="secret") as relay:
        print("peers reach us at", relay.relayed_address)
        await relay.send(b"hello", Address("192.0.2.9", 5000))
        data, peer = await relay.receive()
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, TypeVar, assert_never

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.race import first_success
from natkit.aio.secure import ALPN_TURN, SYSTEM_TRUST, Trust, client_streams
from natkit.aio.system_locator import SystemLocator
from natkit.aio.udp import DatagramSockets, source_address
from natkit.errors import (
    ErrorResponse,
    MisuseError,
    NatkitError,
    TransactionTimeout,
    TryAlternate,
)
from natkit.locate import Locator, Target
from natkit.machine import ClosePath, CloseSocket, Connect, OpenSocket, Path, Transport
from natkit.stun.authentication import TokenCredential
from natkit.stun.uri import Scheme, ServerUri
from natkit.turn import Allocation as Machine
from natkit.turn import AllocationState, TurnEvent
from natkit.turn.dual import Wish
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    ChannelBound,
    ChannelFailed,
    ConnectionAttempted,
    DataReceived,
    IcmpReceived,
    Moved,
    MoveFailed,
    PeerConnected,
    PeerConnectionFailed,
    PermissionFailed,
    PermissionInstalled,
    Refreshed,
)

__all__ = ["Allocation", "allocate"]

RECEIVE_QUEUE: Final = 1024
"""Datagrams that wait for ``receive``: a second of a busy stream; then the oldest is dropped."""

ICMP_QUEUE: Final = 64
"""ICMP errors that wait for ``receive_icmp``; then the oldest is dropped."""

MAX_REDIRECTS: Final = 3
"""Servers that one ``allocate`` lets itself be sent on to by 300 (Try Alternate)."""

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
A = TypeVar("A", bound="Allocation")


class Allocation:
    """A relayed transport address, in the hands of an asyncio program.

    Made by :func:`allocate`.  It refreshes itself and all its permissions and channels.  When the
    server drops it, everything that waits or comes later raises the reason; so does everything
    after it was closed.
    """

    def __init__(self, machine: Machine, server: Target, trust: Trust = SYSTEM_TRUST) -> None:
        self.server = server
        """The address that answered, and the name that led to it."""
        self.round_trip = 0.0
        """Seconds that the server took to grant it, credentials and retransmissions included."""
        self.dropped = 0
        """Datagrams dropped because nobody received them in time."""
        self._machine = machine
        self._loop = asyncio.get_running_loop()
        self._granted: asyncio.Future[Allocated] = self._loop.create_future()
        self._gone = asyncio.Event()
        self._received: deque[tuple[bytes, Address]] = deque()
        self._icmp: deque[IcmpReceived] = deque(maxlen=ICMP_QUEUE)
        self._arrival = asyncio.Event()
        self._permissions: dict[str, set[asyncio.Future[None]]] = {}
        self._channels: dict[Address, set[asyncio.Future[int]]] = {}
        self._moves: set[asyncio.Future[None]] = set()
        self._over: NatkitError | None = None
        self._lifetime = 0.0
        self._driver: Driver[TurnEvent, Address | Path] = Driver(
            machine,
            self._on_event,
            datagrams=DatagramSockets(),
            streams=client_streams(server, (ALPN_TURN,), trust),
        )

    @property
    def relayed_address(self) -> Address:
        """Where peers send to."""
        return self._granted.result().relayed

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """The same, and the address of the other family if both were asked for and granted."""
        granted = self._granted.result()
        return (granted.relayed,) if granted.second is None else (granted.relayed, granted.second)

    @property
    def missing_family(self) -> ErrorResponse | None:
        """Why one of two families was not granted, if the server said so."""
        return self._granted.result().missing

    @property
    def mapped_address(self) -> Address | None:
        """Where the server sees us, if it said so."""
        return self._granted.result().mapped

    @property
    def lifetime(self) -> float:
        """Seconds that the server granted last; refreshing goes on by itself."""
        return self._lifetime

    async def permit(self, peer: Address) -> None:
        """Have the server relay between us and ``peer``'s host, on all its ports, until the end.

        Raises Forbidden and other ErrorResponses, TransactionTimeout, or why the allocation ended;
        MisuseError for a peer of another address family than the relayed address.
        """
        self._check()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._permissions.setdefault(peer.host, set()).add(waiter)
        try:
            self._driver.run(lambda now: self._machine.permit([peer], now))
            await waiter
        finally:
            forget(self._permissions, peer.host, waiter)

    async def bind_channel(self, peer: Address) -> None:
        """Bind a channel to ``peer``: four bytes of overhead a datagram instead of some 36.

        It permits the peer, too.  Raises as :meth:`permit`; a channel that can't be had does not
        keep data from travelling.
        """
        self._check()
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._channels.setdefault(peer, set()).add(waiter)
        try:
            self._driver.run(lambda now: self._machine.bind_channel(peer, now))
            await waiter
        finally:
            forget(self._channels, peer, waiter)

    async def send(self, data: bytes, peer: Address) -> None:
        """Send one datagram, best effort; permits the peer first if that was not done.

        Returns when it has left, and at once if the peer is permitted.  Raises as :meth:`permit`,
        and MisuseError for a datagram that is too long.
        """
        self._check()
        if not self._machine.is_permitted(peer.host):
            await self.permit(peer)
        self._driver.run(lambda now: self._machine.send(data, peer, now))

    @property
    def can_move(self) -> bool:
        """Whether the server has given a ticket for going elsewhere (RFC 8016)."""
        return self._machine.can_move

    async def move(self) -> None:
        """Take the allocation along to a new socket or connection, by the route of now.

        For when this host's address changed, or another interface is better.  The relayed address,
        permissions and channels stay, and nothing is lost as long as the old address works.  After
        an exception everything is as before.

        Raises MisuseError where the server gave no ticket, ErrorResponses, TransactionTimeout and
        UnreachableError.
        """
        self._check()
        address = self.server.address
        local = None
        if self.server.transport is Transport.UDP:
            local = source_address(address)
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._moves.add(waiter)
        try:
            self._driver.run(lambda now: self._machine.move(now, local))
            await waiter
        finally:
            self._moves.discard(waiter)

    async def renew(self, token: TokenCredential) -> None:
        """Go on with another access token (RFC 7635), before the one that there is expires.

        MisuseError for an allocation that was opened by a password.
        """
        self._check()
        self._driver.run(lambda now: self._machine.renew(token, now))

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram from a permitted host, and who sent it.

        What arrived before the allocation ended is received first; then its end is raised.
        """
        return await self._next(self._received)

    async def receive_icmp(self) -> IcmpReceived:
        """The next ICMP error that met a datagram of ours behind the server (RFC 8656 §11.6).

        For who wants to know that a peer is not there, or that data with Don't Fragment was too
        long; what nobody asks for is forgotten after the latest ICMP_QUEUE.  Raises as
        :meth:`receive`.
        """
        return await self._next(self._icmp)

    async def _next(self, queue: deque[T]) -> T:
        while not queue:
            self._check()
            # Of both queues: whoever waits looks again.
            self._arrival.clear()
            await self._arrival.wait()
        return queue.popleft()

    async def open(self) -> None:
        """Ask for it; for :func:`allocate`.  Raises what the server or the path had against it."""
        started = self._loop.time()
        self._driver.run(self._machine.allocate)
        # Shielded: a cancelled caller must not make the machine's event meet a cancelled future.
        self._lifetime = (await asyncio.shield(self._granted)).lifetime
        self.round_trip = self._loop.time() - started

    async def close(self) -> None:
        """Delete it at the server, waiting 5 s for that at most; a second call does nothing."""
        try:
            if self._over is None:
                self._end(MisuseError("the allocation was closed"))
                self._driver.run(self._machine.close)
            if self._machine.state is AllocationState.DELETING:
                await self._gone.wait()
        finally:
            await self._driver.aclose()

    def _check(self) -> None:
        if self._over is not None:
            # Raised again and again, it would pile up tracebacks.
            raise self._over.with_traceback(None)

    def _on_event(self, event: TurnEvent) -> None:
        match event:
            case DataReceived(data, peer):
                self._keep(data, peer)
            case IcmpReceived():
                self._icmp.append(event)
                self._arrival.set()
            case PermissionInstalled() | PermissionFailed() | ChannelBound() | ChannelFailed():
                self._on_peer_event(event)
            case OpenSocket() | CloseSocket() | Connect() | ClosePath():
                raise AssertionError(f"the driver fulfils {event}")
            case PeerConnected() | PeerConnectionFailed() | ConnectionAttempted():
                self._on_connection_event(event)
            case _:
                self._on_own_event(event)

    def _on_peer_event(
        self, event: PermissionInstalled | PermissionFailed | ChannelBound | ChannelFailed
    ) -> None:
        """Something that ``permit`` or ``bind_channel`` may be waiting for."""
        match event:
            case PermissionInstalled(host):
                settle(self._permissions.get(host), None)
            case PermissionFailed(host, error):
                fail(self._permissions.get(host), error)
            case ChannelBound(peer, channel):
                settle(self._channels.get(peer), channel)
            case ChannelFailed(peer, error):
                fail(self._channels.get(peer), error)
            case _:
                assert_never(event)

    def _on_connection_event(
        self, event: PeerConnected | PeerConnectionFailed | ConnectionAttempted
    ) -> None:
        """What a TCP allocation alone has: :mod:`natkit.aio.turn_tcp`."""
        raise AssertionError(f"{event} of a UDP allocation")

    def _on_own_event(
        self,
        event: Allocated
        | AllocateFailed
        | Refreshed
        | Moved
        | MoveFailed
        | AllocationLost
        | AllocationClosed,
    ) -> None:
        """The allocation's own fate."""
        match event:
            case Allocated():
                self._granted.set_result(event)
            case AllocateFailed(error):
                self._granted.set_exception(error)
                # Looked at, so that asyncio does not complain when the caller was cancelled.
                self._granted.exception()
                self._gone.set()
            case Refreshed(lifetime):
                self._lifetime = lifetime
            case Moved(path):
                _log.debug("the allocation moved to %s", path.local)
                settle(self._moves, None)
            case MoveFailed(error):
                fail(self._moves, error)
            case AllocationLost(error):
                self._end(error)
            case AllocationClosed():
                self._gone.set()
            case _:
                assert_never(event)

    def _keep(self, data: bytes, peer: Address) -> None:
        if len(self._received) >= RECEIVE_QUEUE:
            self._received.popleft()
            self.dropped += 1
        self._received.append((data, peer))
        self._arrival.set()

    def _end(self, error: NatkitError) -> None:
        self._over = error
        for permissions in self._permissions.values():
            fail(permissions, error)
        for channels in self._channels.values():
            fail(channels, error)
        fail(self._moves, error)
        self._arrival.set()


@asynccontextmanager
async def allocate(
    uri: str,
    *,
    username: str = "",
    password: str = "",
    token: TokenCredential | None = None,
    locator: Locator | None = None,
    trust: Trust = SYSTEM_TRUST,
    lifetime: int | None = None,
    family: Wish = None,
    mobile: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109 - a limit of its own, with an error of its own
) -> AsyncIterator[Allocation]:
    """An allocation at a TURN URI's server; leaving the context deletes it (RFC 8656).

    ``turn:`` is UDP, and with ``?transport=tcp`` TCP; ``turns:`` is TLS, and with
    ``?transport=udp`` DTLS, with a certificate for the URI's host that ``trust`` believes.  Peers
    are reached by UDP; by TCP with :func:`natkit.aio.turn_tcp.allocate_tcp`.
    ``token`` takes the place of username and password (RFC 7635): :meth:`Allocation.renew` it.
    With ``mobile`` the allocation asks for a ticket, and survives a change of this host's address:
    see :meth:`Allocation.move`.
    ``lifetime`` in seconds and the ``family`` of the relayed address are wishes; with
    ``Both.FAMILIES`` (natkit.turn) it has an address of each, and peers of either are reached, as
    far as the server grants it: see :attr:`Allocation.relayed_addresses`.  ``timeout`` in
    seconds is for getting the allocation; without it each address has a transaction's 39.5 s.
    A server that says 300 (Try Alternate) is left for the one it names.

    Raises ErrorResponse by the server's code (Unauthenticated, QuotaReached …), TransactionTimeout,
    UnreachableError, LocateError, and MisuseError for a wrong ``uri`` or wish.
    """
    try:
        async with asyncio.timeout(timeout):
            targets = await turn_targets(uri, locator or SystemLocator())
            caller = _Caller(
                username, password, trust, lifetime, family, mobile=mobile, token=token
            )
            allocation = await allocate_somewhere(caller.open_at, targets)
    except TimeoutError as error:
        if isinstance(error, TransactionTimeout):
            raise
        raise TransactionTimeout(f"no answer from {uri} within {timeout:g} s") from None
    try:
        yield allocation
    finally:
        await allocation.close()


class _Caller:
    """Opens allocations with one user's credentials and wishes."""

    def __init__(
        self,
        username: str,
        password: str,
        trust: Trust,
        lifetime: int | None,
        family: Wish,
        *,
        mobile: bool = False,
        token: TokenCredential | None = None,
    ) -> None:
        self._token = token
        self._mobile = mobile
        self._username = username
        self._password = password
        self._trust = trust
        self._lifetime = lifetime
        self._family = family

    async def open_at(self, server: Target) -> Allocation:
        """The allocation at this server's address; raises why there is none."""
        is_udp = server.transport is Transport.UDP
        machine = Machine(
            server.address,
            server.transport,
            username=self._username,
            password=self._password,
            random=os.urandom,
            local=source_address(server.address) if is_udp else None,
            lifetime=self._lifetime,
            family=self._family,
            mobile=self._mobile,
            token=self._token,
        )
        allocation = Allocation(machine, server, self._trust)
        try:
            await allocation.open()
        except BaseException:
            await allocation.close()
            raise
        return allocation


async def turn_targets(uri: str, locator: Locator) -> list[Target]:
    """The servers of a TURN URI; MisuseError for another URI."""
    server = ServerUri.parse(uri)
    if not server.scheme.is_turn:
        scheme = Scheme.TURNS if server.scheme.is_secure else Scheme.TURN
        raise MisuseError(
            f"'{uri}' is a STUN server's; as a TURN server it is {scheme}:{server.host}"
        )
    return list(await locator.locate(uri))


async def allocate_somewhere(open_at: Callable[[Target], Awaitable[A]], targets: list[Target]) -> A:
    """Try the targets, and the servers that they send us on to (RFC 8489 §10, RFC 8656 §7.4)."""
    asked = {target.address for target in targets}
    for _ in range(MAX_REDIRECTS):
        try:
            return await first_success(targets, open_at, Allocation.close)
        except TryAlternate as redirection:
            # The same transport, and never a server that was asked already.
            fresh = [address for address in redirection.servers if address not in asked]
            if not fresh:
                raise
            asked.update(fresh)
            first = targets[0]
            # Its certificate may be for another name (RFC 8489 §10).
            name = redirection.domain or first.tls_name
            targets = [Target(first.transport, each, first.host, name) for each in fresh]
    return await first_success(targets, open_at, Allocation.close)


def settle(waiters: set[asyncio.Future[T]] | None, result: T) -> None:
    """Give all of them a result."""
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(result)


def fail(waiters: set[asyncio.Future[T]] | None, error: NatkitError) -> None:
    """Raise the error in all of them."""
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_exception(error)


def forget(waiters: dict[K, set[asyncio.Future[T]]], key: K, waiter: asyncio.Future[T]) -> None:
    """It waits no more."""
    waiters[key].discard(waiter)
    if not waiters[key]:
        del waiters[key]
