"""Our ICE agent on real sockets of the loopback interface, without a gatherer: its peers' equal."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.tcp import StreamConnections, bind_tcp
from natkit.aio.udp import DatagramSockets
from natkit.ice import (
    Agent,
    CandidateType,
    IceSettings,
    LocalCandidate,
    Pacer,
    PacketFraming,
    Parameters,
    TcpType,
)
from natkit.ice.candidate import Candidate
from natkit.ice.candidate_attribute import parse_candidate, write_candidate
from natkit.ice.events import (
    DataReceived,
    Failed,
    IceEvent,
    IceResult,
    PairSelected,
    ResolveName,
    SelectedPair,
    StreamId,
)
from natkit.machine import Failure, Transport
from tests.peering.process import PeerFailed

LIMIT = 30.0
LOOPBACK = "127.0.0.1"


class IceAgent:
    """One agent, one stream; made by :func:`ice_agent`."""

    def __init__(self, settings: IceSettings, components: int, pacer: Pacer | None) -> None:
        self.agent = Agent(settings, random=os.urandom, pacer=pacer)
        self.stream: StreamId = self.agent.add_stream(components)
        self._components = components
        self._datagrams = DatagramSockets()
        self._streams = StreamConnections(PacketFraming)
        self.driver: Driver[IceEvent, IceResult] = Driver(
            self.agent, self._on_event, datagrams=self._datagrams, streams=self._streams
        )
        self.events: list[IceEvent] = []
        self._received: dict[int, deque[bytes]] = {n: deque() for n in range(1, components + 1)}
        self._changed = asyncio.Event()

    # ── what is told and heard ──────────────────────────────────────────────────────────────────

    @property
    def parameters(self) -> Parameters:
        """For the peer."""
        return self.agent.local_parameters

    @property
    def lines(self) -> list[str]:
        """All candidates so far, as ``a=candidate`` lines."""
        return [f"a={write_candidate(each)}" for each in self.agent.local_candidates(self.stream)]

    def gather_udp(self) -> None:
        """A host candidate on loopback for each component."""
        for component in range(1, self._components + 1):
            base = self._datagrams.open(Address(LOOPBACK, 0))
            self._add(
                LocalCandidate(
                    component=component, type=CandidateType.HOST, address=base, base=base
                )
            )

    async def gather_tcp(self, kinds: Iterable[TcpType]) -> None:
        """TCP host candidates on loopback for each component."""
        for component in range(1, self._components + 1):
            for kind in kinds:
                address = base = Address(LOOPBACK, 0)
                if kind is TcpType.PASSIVE:
                    sock = bind_tcp(base, listen=True)
                    address = base = Address(*sock.getsockname())
                    await self._streams.listen(sock)
                else:
                    address = Address(LOOPBACK, 9)
                self._add(
                    LocalCandidate(
                        component=component,
                        type=CandidateType.HOST,
                        address=address,
                        base=base,
                        transport=Transport.TCP,
                        tcp_type=kind,
                    )
                )

    def _add(self, candidate: LocalCandidate) -> None:
        self.driver.run(lambda now: self.agent.add_local_candidate(self.stream, candidate, now))

    def end_gathering(self) -> None:
        """There are no more candidates of ours."""
        self.driver.run(lambda now: self.agent.end_of_local_candidates(self.stream, now))

    def remote(
        self, fragment: str, password: str, *, lite: bool = False, ice2: bool = True
    ) -> None:
        """The peer's description came."""
        theirs = Parameters(username_fragment=fragment, password=password, lite=lite, ice2=ice2)
        self.remote_parameters(theirs)

    def remote_parameters(self, theirs: Parameters) -> None:
        """The same, as it is."""
        self.driver.run(lambda now: self.agent.set_remote_parameters(self.stream, theirs, now))

    def add(self, lines: Sequence[str]) -> None:
        """Candidates of the peer."""
        for line in lines:
            self.add_candidate(parse_candidate(line))

    def add_candidate(self, candidate: Candidate) -> None:
        """The same, one of them."""
        self.driver.run(lambda now: self.agent.add_remote_candidate(self.stream, candidate, now))

    def end(self) -> None:
        """The peer has no more."""
        self.driver.run(lambda now: self.agent.end_of_remote_candidates(self.stream, now))

    # ── what comes of it ────────────────────────────────────────────────────────────────────────

    async def selected(self, component: int = 1) -> SelectedPair:
        """Wait for the selected pair; PeerFailed with the explanation when there is none."""

        def found() -> SelectedPair | None:
            return self.agent.selected_pair(self.stream, component)

        await self._until(lambda: found() is not None, "selected no pair")
        pair = found()
        assert pair is not None
        return pair

    def send(self, data: bytes, component: int = 1) -> bool:
        """Send over the selected pair."""
        return self.driver.run(lambda now: self.agent.send(self.stream, component, data, now))

    async def receive(self, component: int = 1) -> bytes:
        """Take what arrived next."""
        queue = self._received[component]
        await self._until(lambda: bool(queue), "received nothing")
        return queue.popleft()

    async def _until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                while not is_so():
                    if any(isinstance(event, Failed) for event in self.events):
                        raise PeerFailed(f"{otherwise}:\n{self.agent.explain(self.stream)}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            explanation = self.agent.explain(self.stream)
            raise PeerFailed(f"{otherwise}: {self.events}\n{explanation}") from None

    def _on_event(self, event: IceEvent) -> None:
        if isinstance(event, DataReceived):
            self._received[event.component].append(event.data)
        else:
            self.events.append(event)
        if isinstance(event, ResolveName):
            self.driver.answer(event.request_id, Failure("no names on loopback"))
        self._changed.set()

    async def changed(self) -> None:
        """Wait for the next event."""
        self._changed.clear()
        await self._changed.wait()

    def selections(self, component: int = 1) -> list[SelectedPair]:
        """Each pair that was selected, in order."""
        return [
            event.pair
            for event in self.events
            if isinstance(event, PairSelected) and event.component == component
        ]

    async def aclose(self) -> None:
        """End it."""
        self.driver.run(self.agent.close)
        await self.driver.aclose()


@asynccontextmanager
async def ice_agent(
    settings: IceSettings, *, components: int = 1, pacer: Pacer | None = None
) -> AsyncIterator[IceAgent]:
    """An agent for the length of a test."""
    made = IceAgent(settings, components, pacer)
    try:
        yield made
    finally:
        await made.aclose()
