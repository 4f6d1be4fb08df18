"""An agent and its gatherer as one machine (:mod:`natkit.machine`): what a program runs.

::

    endpoint = IceEndpoint((1,), GatherSettings(…), IceSettings(…), random=os.urandom)
    endpoint.gather(addresses, now)         # CandidateFound follow, and GatheringEnded
    endpoint.set_remote(0, parameters, candidates, now, complete=True)
    endpoint.send(0, 1, b"…", now)          # once PairSelected came

Candidates go from the gatherer to the agent, what comes in to whom it belongs, and what the agent
sends from a relayed address through its allocation.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.gather.events import (
    BaseLost,
    CandidateRedundant,
    ConnectServer,
    GatherClosed,
    Gathered,
    GatherEvent,
    GatheringEnded,
    GatherResult,
    ListenForPeers,
    Locate,
    RelayedDataReceived,
    ServerFailed,
    Slot,
    Source,
    StopListening,
)
from natkit.gather.gatherer import Gatherer
from natkit.gather.mapped import RouteToGateway
from natkit.gather.settings import GatherSettings, HostAddress
from natkit.ice.agent import Agent
from natkit.ice.candidate import Candidate
from natkit.ice.events import (
    BaseReleased,
    CandidateDiscovered,
    ConsentLost,
    DataReceived,
    Failed,
    IceEvent,
    IceResult,
    IceState,
    PairSelected,
    PairValid,
    ResolveName,
    Restarted,
    RestartNeeded,
    RoleChanged,
    StateChanged,
    StreamId,
)
from natkit.ice.pacing import Pacer
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    RandomBytes,
    Request,
    RequestId,
    Transmit,
    Transport,
)
from natkit.portmap.upnp import Exchange

__all__ = ["CandidateFound", "EndpointEvent", "EndpointResult", "IceEndpoint"]

MOST_REQUESTS: Final = 8192
"""Requests of both that wait for an answer."""


@dataclass(frozen=True, slots=True)
class CandidateFound:
    """A candidate for the peer to be told, ``elapsed`` seconds after gathering began."""

    stream: StreamId
    candidate: Candidate
    source: Source
    elapsed: float


EndpointEvent = (
    CandidateFound
    | CandidateRedundant
    | ServerFailed
    | GatheringEnded
    | BaseLost
    | GatherClosed
    | StateChanged
    | RoleChanged
    | PairValid
    | PairSelected
    | DataReceived
    | CandidateDiscovered
    | Failed
    | ConsentLost
    | RestartNeeded
    | Restarted
    | ResolveName
    | Locate
    | ConnectServer
    | ListenForPeers
    | StopListening
    | Exchange
    | OpenSocket
    | CloseSocket
    | Connect
    | ClosePath
)
"""All that an endpoint emits."""

EndpointResult = GatherResult | IceResult
"""What answers its Requests."""


class IceEndpoint:
    """One agent with ``components`` for each of its streams, and what it gathers.

    ``pacer`` is shared by all endpoints of a process.  ``credentials`` as for
    :class:`natkit.ice.agent.Agent`.
    """

    def __init__(
        self,
        components: Sequence[int],
        gathering: GatherSettings,
        settings: IceSettings,
        *,
        random: RandomBytes,
        pacer: Pacer | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        pacer = pacer or Pacer()
        self.agent = Agent(settings, random=random, pacer=pacer, credentials=credentials)
        self.gatherer = Gatherer(gathering, random=random, pacer=pacer)
        self._slots = [
            Slot(stream, component)
            for stream, count in ((self.agent.add_stream(each), each) for each in components)
            for component in range(1, count + 1)
        ]
        self._release = gathering.release_unused
        self._asked: dict[RequestId, tuple[Agent | Gatherer, RequestId]] = {}
        self._last = 0
        self._transmits: list[Transmit] = []
        self._events: deque[EndpointEvent] = deque()

    # ── the user's side ─────────────────────────────────────────────────────────────────────────

    def gather(
        self,
        addresses: Iterable[HostAddress],
        now: float,
        routes: Iterable[RouteToGateway] = (),
    ) -> None:
        """Begin to gather, once: see :meth:`natkit.gather.gatherer.Gatherer.gather`."""
        self.gatherer.gather(self._slots, addresses, now, routes)
        self._pump(now)

    def set_remote(
        self,
        stream: StreamId,
        parameters: Parameters | None,
        candidates: Iterable[Candidate],
        now: float,
        *,
        complete: bool,
    ) -> None:
        """What the peer told of a stream; more candidates may come unless it is ``complete``.

        Without ``parameters`` the candidates are further ones of the session that there is.
        """
        if parameters is not None:
            self.agent.set_remote_parameters(stream, parameters, now)
        for candidate in candidates:
            self.agent.add_remote_candidate(stream, candidate, now)
            if isinstance(candidate.address, Address) and candidate.transport is Transport.UDP:
                slot = Slot(stream, candidate.component)
                self.gatherer.permit(slot, candidate.address, now)
        if complete:
            self.agent.end_of_remote_candidates(stream, now)
        self._pump(now)

    def send(self, stream: StreamId, component: int, data: bytes, now: float) -> bool:
        """As :meth:`natkit.ice.agent.Agent.send`."""
        sent = self.agent.send(stream, component, data, now)
        self._pump(now)
        return sent

    def restart(self, now: float) -> None:
        """As :meth:`natkit.ice.agent.Agent.restart`; what was gathered serves again."""
        self.agent.restart(now)
        self._pump(now)

    def close(self, now: float) -> None:
        """End the agent, and give back what was gathered; GatherClosed follows."""
        self.agent.close(now)
        self._pump(now)
        self.gatherer.close(now)
        self._pump(now)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram or message arrived, for the one or the other."""
        if self.gatherer.takes(data, path):
            self.gatherer.receive(data, path, now)
        else:
            self.agent.receive(data, path, now)
        self._pump(now)

    def disconnected(self, path: Path, now: float) -> None:
        """A stream ended, to a server or to the peer."""
        self.gatherer.disconnected(path, now)
        self.agent.disconnected(path, now)
        self._pump(now)

    def answer(self, request_id: RequestId, result: EndpointResult | Failure, now: float) -> None:
        """The outcome of a Request; an unknown number is dropped."""
        asked = self._asked.pop(request_id, None)
        if asked is None:
            return
        asker, inner = asked
        if isinstance(asker, Agent):
            asker.answer(inner, cast("IceResult | Failure", result), now)
        else:
            asker.answer(inner, cast("GatherResult | Failure", result), now)
        self._pump(now)

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        self.gatherer.handle_timer(now)
        self.agent.handle_timer(now)
        self._pump(now)

    def next_deadline(self) -> float | None:
        """The earlier of both."""
        deadlines = self.gatherer.next_deadline(), self.agent.next_deadline()
        return min((each for each in deadlines if each is not None), default=None)

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> EndpointEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── between the two ─────────────────────────────────────────────────────────────────────────

    def _pump(self, now: float) -> None:
        """Pass on what the one has for the other until neither has anything."""
        again = True
        while again:
            again = False
            for transmit in self.agent.transmits():
                path = transmit.path
                if path.transport is Transport.UDP and self.gatherer.relays(path.local):
                    self.gatherer.send(transmit.data, path.local, path.remote, now)
                else:
                    self._transmits.append(transmit)
            while (gathered := self.gatherer.next_event()) is not None:
                again = True
                self._take_gathered(gathered, now)
            while (event := self.agent.next_event()) is not None:
                again = True
                self._take_event(event, now)
        self._transmits += self.gatherer.transmits()

    def _take_gathered(self, event: GatherEvent, now: float) -> None:
        match event:
            case Gathered(stream, candidate, source, elapsed):
                try:
                    told = self.agent.add_local_candidate(stream, candidate, now)
                except MisuseError as error:
                    # More than a stream may have: what is gathered beyond it is of no use.
                    slot = Slot(stream, candidate.component)
                    self._events.append(ServerFailed(slot, source, error, elapsed))
                    return
                if told is not None:
                    self._events.append(CandidateFound(stream, told, source, elapsed))
            case GatheringEnded():
                for stream in dict.fromkeys(slot.stream for slot in self._slots):
                    self.agent.end_of_local_candidates(stream, now)
                self._events.append(event)
            case RelayedDataReceived(data, path):
                self.agent.receive(data, path, now)
            case BaseLost(slot, base):
                self.agent.remove_base(slot.stream, base, now)
                self._events.append(event)
            case Request():
                self._ask(self.gatherer, event)
            case _:
                self._events.append(cast("EndpointEvent", event))

    def _take_event(self, event: IceEvent, now: float) -> None:
        match event:
            case BaseReleased(_, base):
                if self._release:
                    self.gatherer.release(base, now)
            case PairSelected(_, _, pair):
                if self.gatherer.relays(pair.path.local):
                    self.gatherer.prefer(pair.path.local, pair.path.remote, now)
                self._events.append(event)
            case StateChanged(state):
                if state in (IceState.COMPLETED, IceState.FAILED):
                    self.gatherer.rest()
                self._events.append(event)
            case Request():
                self._ask(self.agent, event)
            case _:
                self._events.append(event)

    def _ask(self, asker: Agent | Gatherer, request: Request) -> None:
        """Number the requests of both in one sequence."""
        if len(self._asked) >= MOST_REQUESTS:
            raise MisuseError("an endpoint waits for too many answers")
        self._last += 1
        self._asked[self._last] = asker, request.request_id
        self._events.append(cast("EndpointEvent", replace(request, request_id=self._last)))
