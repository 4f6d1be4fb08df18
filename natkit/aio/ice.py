"""ICE on asyncio: two programs find a path to each other, and send datagrams on it.

::

    async with Agent(["stun:stun.example.org"], controlling=True) as agent:
        mine = await agent.gather()              # text for the peer, by any way there is
        await agent.connect(theirs)              # the peer's text
        await agent.send(b"hello")
        print(await agent.receive())
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Final, Self

import httpx2

from natkit.aio.driver import DatagramCarrier, Driver
from natkit.aio.ice_host import gateway_routes, host_addresses
from natkit.aio.ice_mux import SharedPort
from natkit.aio.ice_streams import IceStreams
from natkit.aio.mdns import Mdns
from natkit.aio.portmap import exchange_over_http
from natkit.aio.secure import SYSTEM_TRUST, Trust
from natkit.aio.system_errors import failure
from natkit.aio.system_locator import SystemLocator
from natkit.aio.udp import DatagramSockets
from natkit.errors import LocateError, MisuseError, UnreachableError
from natkit.gather.endpoint import EndpointEvent, EndpointResult, IceEndpoint
from natkit.gather.events import (
    ConnectServer,
    GatherClosed,
    ListenForPeers,
    Locate,
    StopListening,
)
from natkit.gather.host import usable
from natkit.gather.settings import GatherSettings, HostAddress, StunServer, TurnServer
from natkit.ice.events import (
    DataReceived,
    Failed,
    IceState,
    ResolveName,
    SelectedPair,
)
from natkit.ice.explanation import Explanation
from natkit.ice.pacing import Pacer
from natkit.ice.sdp import Description, MediaDescription, parse_description, write_fragment
from natkit.ice.settings import IceSettings
from natkit.ice.statistics import AgentStatistics
from natkit.locate import Locator
from natkit.machine import ClosePath, CloseSocket, Connect, Failure, OpenSocket
from natkit.net.proxy import Proxy
from natkit.portmap.upnp import Exchange

__all__ = ["Agent", "IceFailed"]

RECEIVE_QUEUE: Final = 1024
"""Datagrams of one component that wait for ``receive``; then the oldest is dropped."""

EVENT_QUEUE: Final = 1000
"""Events that wait for whoever iterates; then the oldest is dropped."""

PROCESS_PACER: Final = Pacer()
"""The floor under Ta that all agents of this process share (RFC 8445 §14.2)."""

_CONNECTED: Final = (IceState.CONNECTED, IceState.COMPLETED)


class IceFailed(UnreachableError):
    """There is no path to the peer; ``explanation`` has every pair that was tried."""

    explanation: Explanation | None = None


class Agent:
    """One ICE session with a peer, of one stream or several, in the hands of an asyncio program.

    ``servers``: StunServer and TurnServer, or ``stun:`` URIs.  ``controlling`` is the role, which a
    conflict corrects.  ``components`` are how many each stream has, one of one by default.
    ``gathering`` and ``settings`` choose what else there is to choose; what is passed beside them
    holds.  ``datagrams`` may be a shared port (:mod:`natkit.aio.ice_mux`) in place of sockets of
    its own.  With ``mdns`` the peer's names are resolved, and with ``hide_addresses`` it is told
    names in place of addresses.  ``addresses`` stand in for what the system says this host has.

    Close it, or use it as an async context: servers and gateways are given back what they gave.
    """

    def __init__(
        self,
        servers: Iterable[StunServer | TurnServer | str] = (),
        *,
        controlling: bool = True,
        components: Sequence[int] = (1,),
        gathering: GatherSettings | None = None,
        settings: IceSettings | None = None,
        locator: Locator | None = None,
        trust: Trust = SYSTEM_TRUST,
        proxy: Proxy | None = None,
        datagrams: DatagramCarrier | None = None,
        mdns: Mdns | None = None,
        hide_addresses: bool = False,
        addresses: Iterable[HostAddress] | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        gathering = gathering or GatherSettings()
        named = tuple(StunServer(each) if isinstance(each, str) else each for each in servers)
        if named:
            gathering = replace(gathering, servers=(*gathering.servers, *named))
        if hide_addresses and mdns is None:
            raise MisuseError("addresses are hidden behind names that an Mdns answers for")
        settings = replace(settings or IceSettings(), controlling=controlling)
        self._components = tuple(components)
        self._gathering = gathering
        self._locator = locator or SystemLocator()
        self._mdns = mdns
        self._hide = hide_addresses
        self._addresses = None if addresses is None else tuple(addresses)
        self._published: list[str] = []
        self._endpoint = IceEndpoint(
            self._components,
            gathering,
            settings,
            random=os.urandom,
            pacer=PROCESS_PACER,
            credentials=credentials,
        )
        if isinstance(datagrams, SharedPort):
            datagrams.fragments = lambda: self._endpoint.agent.username_fragments
        self._streams = IceStreams(trust, proxy)
        self._driver: Driver[EndpointEvent, EndpointResult] = Driver(
            self._endpoint,
            self._on_event,
            datagrams=datagrams or DatagramSockets(),
            streams=self._streams,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._events: deque[EndpointEvent] = deque(maxlen=EVENT_QUEUE)
        self._received: dict[tuple[int, int], deque[bytes]] = {
            (stream, component): deque()
            for stream, count in enumerate(self._components)
            for component in range(1, count + 1)
        }
        self._failure: IceFailed | None = None
        self._is_gathering = False
        self._is_closed = False
        self._is_gone = False
        self.dropped = 0
        """Datagrams dropped because nobody received them in time."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # ── describing each other ───────────────────────────────────────────────────────────────────

    def start_gathering(self) -> None:
        """Begin to gather, once; candidates are told as events, and stand in the description.

        Raises UnreachableError when this host's addresses cannot be read.
        """
        self._check()
        if self._is_gathering:
            return
        self._is_gathering = True
        addresses = host_addresses() if self._addresses is None else self._addresses
        if self._hide:
            addresses = tuple(self._hidden(each) for each in usable(addresses, self._gathering))
        routes = gateway_routes() if self._gathering.port_mapping else ()
        self._driver.run(lambda now: self._endpoint.gather(addresses, now, routes))

    async def gather(self) -> str:
        """All there is to gather, as :attr:`local_description` has it then.

        It lasts as long as the slowest server may take (GatherSettings.limit); who cannot wait
        calls :meth:`start_gathering` and tells the peer of each candidate as it comes.
        """
        self.start_gathering()
        await self._until(lambda: self._endpoint.gatherer.has_ended)
        return self.local_description

    @property
    def local_description(self) -> str:
        """What the peer is to be told: username fragment, password, and the candidates so far.

        A fragment for Trickle ICE (RFC 8840 §9); what else an SDP offer needs is not ICE's.
        """
        agent = self._endpoint.agent
        media = tuple(
            MediaDescription(
                mid=str(stream),
                parameters=agent.local_parameters,
                candidates=agent.local_candidates(stream),
                end_of_candidates=self._endpoint.gatherer.has_ended,
            )
            for stream in range(len(self._components))
        )
        return write_fragment(Description(media=media))

    def add_remote(self, description: str) -> None:
        """What the peer told: its description, or a fragment with further candidates.

        SDP of any origin will do; media descriptions are streams by their order, or by a mid that
        is a stream's number.  Raises MalformedMessage, and MisuseError for too many streams.
        """
        self._check()
        found = parse_description(description)
        for place, media in enumerate(found.media):
            stream = place
            if media.mid is not None and media.mid.isdecimal():
                stream = int(media.mid)
            if stream >= len(self._components):
                raise MisuseError(f"the peer describes stream {stream}, which is not there")
            parameters = media.parameters
            complete = media.end_of_candidates or found.end_of_candidates
            if parameters is not None and not parameters.trickle:
                complete = True
            self._failure = None
            self._driver.run(
                partial(
                    self._endpoint.set_remote,
                    stream,
                    media.parameters,
                    media.candidates,
                    complete=complete,
                )
            )

    # ── the path ────────────────────────────────────────────────────────────────────────────────

    async def connect(self, description: str | None = None) -> None:
        """Wait for a path for every component; ``description`` is :meth:`add_remote`'s.

        Gathering is begun if it was not.  Raises IceFailed, which explains itself, when there is
        none; that takes some 40 s at least, for the peer's checks may still come (RFC 8863).
        """
        self.start_gathering()
        if description is not None:
            self.add_remote(description)
        await self._until(lambda: self._endpoint.agent.state in _CONNECTED)

    async def settle(self) -> None:
        """Wait until each component has its selected pair; errors as for :meth:`connect`.

        Data flows before that, on the best pair so far.
        """
        await self._until(lambda: self._endpoint.agent.state is IceState.COMPLETED)

    async def send(self, data: bytes, *, component: int = 1, stream: int = 0) -> None:
        """Send one datagram, best effort.  Raises UnreachableError while there is no path."""
        self._check()
        self._check_place(stream, component)
        if not self._driver.run(lambda now: self._endpoint.send(stream, component, data, now)):
            raise UnreachableError("there is no path to the peer")

    async def receive(self, *, component: int = 1, stream: int = 0) -> bytes:
        """The next datagram of the peer; IceFailed after the last one when the path is lost."""
        self._check_place(stream, component)
        queue = self._received[stream, component]
        await self._until(lambda: bool(queue), told=False)
        return queue.popleft()

    def take_role(self, *, controlling: bool) -> None:
        """Take the role that signalling gives, where it gives it late: before ``connect``."""
        self._check()
        self._driver.run(partial(self._endpoint.agent.take_role, controlling=controlling))

    async def restart(self) -> str:
        """Begin a new session with the same peer (RFC 8445 §9): the new description for it.

        Data goes on by the old path until ``connect`` has brought a new one.
        """
        self._check()
        self._failure = None
        self._driver.run(self._endpoint.restart)
        return self.local_description

    async def close(self) -> None:
        """End it; allocations and mappings are given back, which takes 5 s at most."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake()
        try:
            self._driver.run(self._endpoint.close)
            while not self._is_gone:
                await self._next_news()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._driver.aclose()
            if self._mdns is not None:
                for name in self._published:
                    # Mdns may have been closed before, and withdrew all names then.
                    with suppress(MisuseError):
                        self._mdns.withdraw(name)
            self._wake()

    # ── what there is to know ───────────────────────────────────────────────────────────────────

    @property
    def state(self) -> IceState:
        """How far it is."""
        return self._endpoint.agent.state

    @property
    def controlling(self) -> bool:
        """The role at this moment."""
        return self._endpoint.agent.controlling

    def selected_pair(self, *, component: int = 1, stream: int = 0) -> SelectedPair | None:
        """The pair that data takes, or None."""
        return self._endpoint.agent.selected_pair(stream, component)

    def explain(self, stream: int = 0) -> Explanation:
        """Every pair that was tried, and what came of it."""
        return self._endpoint.agent.explain(stream)

    def statistics(self) -> AgentStatistics:
        """What was counted."""
        return self._endpoint.agent.statistics()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EndpointEvent:
        """Candidates, failures of servers, states, pairs: all but data, as it happens.

        Ends when the agent is closed.
        """
        while not self._events:
            if self._is_closed:
                raise StopAsyncIteration
            await self._next_news()
        return self._events.popleft()

    # ── waiting ─────────────────────────────────────────────────────────────────────────────────

    async def _until(self, done: Callable[[], bool], *, told: bool = True) -> None:
        """Wait for ``done``; raise what ended it before."""
        while not done():
            self._check()
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            await self._next_news()
        if told:
            self._check()

    async def _next_news(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _check(self) -> None:
        if self._is_closed:
            raise MisuseError("the agent was closed")

    def _check_place(self, stream: int, component: int) -> None:
        if (stream, component) not in self._received:
            raise MisuseError(f"there is no component {component} of stream {stream}")

    # ── what the machine tells and asks ─────────────────────────────────────────────────────────

    def _on_event(self, event: EndpointEvent) -> None:
        match event:
            case DataReceived(stream, component, data):
                self._keep(self._received[stream, component], data)
            case Locate():
                self._begin(self._locate(event))
            case ConnectServer():
                self._begin(self._connect_server(event))
            case ListenForPeers():
                self._begin(self._listen(event))
            case StopListening(local):
                self._streams.stop_listening(local)
            case Exchange():
                self._begin(self._exchange(event))
            case ResolveName():
                self._begin(self._resolve(event))
            case OpenSocket() | CloseSocket() | Connect() | ClosePath():
                raise AssertionError(f"the driver fulfils {event}")
            case GatherClosed():
                self._is_gone = True
            case Failed(stream, explanation):
                self._failure = IceFailed(f"there is no path to the peer for stream {stream}")
                self._failure.explanation = explanation
                self._events.append(event)
            case _:
                self._events.append(event)
        self._wake()

    def _keep(self, queue: deque[bytes], data: bytes) -> None:
        if len(queue) >= RECEIVE_QUEUE:
            queue.popleft()
            self.dropped += 1
        queue.append(data)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _locate(self, request: Locate) -> None:
        try:
            found = tuple(await self._locator.locate(request.uri))
        except (LocateError, MisuseError, UnreachableError) as error:
            self._driver.answer(request.request_id, Failure(str(error)))
        else:
            self._driver.answer(request.request_id, found)

    async def _connect_server(self, request: ConnectServer) -> None:
        try:
            path = await self._streams.connect_server(request.local, request.target)
        except UnreachableError as error:
            self._driver.answer(request.request_id, failure(error))
        except MisuseError as error:
            self._driver.answer(request.request_id, Failure(str(error)))
        else:
            self._driver.answer(request.request_id, path)
            self._streams.start(path)

    async def _listen(self, request: ListenForPeers) -> None:
        try:
            bound = await self._streams.listen(request.local)
        except UnreachableError as error:
            self._driver.answer(request.request_id, failure(error))
        else:
            self._driver.answer(request.request_id, bound)

    async def _exchange(self, request: Exchange) -> None:
        try:
            response = await exchange_over_http(request)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            said = str(error) or type(error).__name__
            self._driver.answer(request.request_id, Failure(f"the gateway's device: {said}"))
        else:
            self._driver.answer(request.request_id, response)

    async def _resolve(self, request: ResolveName) -> None:
        if self._mdns is None:
            reason = f"{request.name.name} is a name of multicast DNS, which is not asked here"
            self._driver.answer(request.request_id, Failure(reason))
            return
        try:
            host = await self._mdns.resolve(request.name.name)
        except (LocateError, MisuseError) as error:
            self._driver.answer(request.request_id, Failure(str(error)))
        else:
            self._driver.answer(request.request_id, (host,))

    def _hidden(self, address: HostAddress) -> HostAddress:
        """With a name that multicast DNS answers for, where its link has that."""
        if self._mdns is None or not self._mdns.can_publish(address.host):
            return address
        name = self._mdns.publish(address.host)
        self._published.append(name)
        return replace(address, published=name)
