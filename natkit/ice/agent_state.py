"""What the parts of an agent share: role, sessions, timers, and what is to be sent and told."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto

from natkit.address import Address
from natkit.ice.candidate import Candidate, TcpType
from natkit.ice.checklist import Checklist
from natkit.ice.events import IceEvent, SelectedPair, StreamId
from natkit.ice.framing import frame
from natkit.ice.local_candidates import Foundations, LocalCandidates
from natkit.ice.pacing import Pacer
from natkit.ice.pair import Pair
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings
from natkit.machine import Path, RandomBytes, RequestId, Transmit, Transport
from natkit.stun.attributes import IceControlled, IceControlling
from natkit.stun.credentials import short_term_key
from natkit.timers import TimerQueue


class Timer(Enum):
    """What an agent waits for; each timer's key is one of these and whom it is for."""

    PACE = auto()
    TRANSACTION = auto()
    CONNECTION = auto()
    NOMINATION = auto()
    PATIENCE = auto()
    CONSENT = auto()
    KEEPALIVE = auto()
    ALTERNATES = auto()
    RELEASE = auto()
    RESOLUTION = auto()


TimerKey = tuple[Timer, Hashable]


@dataclass(slots=True)
class Dropped:
    """Packets that were not acted upon, by why; nothing else is kept of them."""

    malformed: int = 0
    """STUN by its first byte and cookie, and no message."""
    foreign: int = 0
    """Checks for another username fragment, or made with another password."""
    unexpected: int = 0
    """Responses to nothing that was asked, and messages that are neither checks nor responses."""
    homeless: int = 0
    """Packets at no base of the agent."""
    unproven: int = 0
    """Data from where the peer never proved to be."""
    excessive: int = 0
    """Checks from new addresses, candidates and pairs beyond the limits."""
    stale: int = 0
    """Candidates of sessions that are over, or of kinds that the agent has no use for."""


class Role:
    """Controlling or controlled, and the number that decides a conflict (RFC 8445 §6.1.1)."""

    __slots__ = ("controlling", "tie_breaker")

    def __init__(self, tie_breaker: int, *, controlling: bool) -> None:
        self.tie_breaker = tie_breaker
        self.controlling = controlling

    @property
    def attribute(self) -> IceControlling | IceControlled:
        """How a check states it."""
        if self.controlling:
            return IceControlling(self.tie_breaker)
        return IceControlled(self.tie_breaker)


@dataclass(frozen=True, slots=True)
class EarlyCheck:
    """A check that was answered before the peer's parameters were known (RFC 8445 §7.3).

    ``username_fragment`` is that of those parameters.
    """

    path: Path
    component: int
    priority: int
    transaction_id: bytes
    nominates: bool
    nomination_value: int
    username_fragment: str


RemoteKey = tuple[int, Transport, TcpType | None, Address]


class StreamSession:
    """One stream of one ICE session: the peer's side, and the pairs."""

    __slots__ = (
        "checklist",
        "components",
        "discovered_count",
        "early",
        "failed",
        "last_news",
        "lost",
        "mutual",
        "nominating",
        "peer_reflexive",
        "pending",
        "remote",
        "remote_candidates",
        "remote_ended",
        "remote_key",
        "resolving",
        "selected",
        "stream",
        "valid_told",
    )

    def __init__(self, stream: StreamId, components: int) -> None:
        self.stream = stream
        self.components = components
        self.checklist = Checklist()
        self.remote: Parameters | None = None
        self.remote_key = b""
        self.remote_candidates: dict[RemoteKey, Candidate] = {}
        self.remote_ended = False
        self.resolving: dict[RequestId, Candidate] = {}
        self.pending: list[Candidate] = []
        """Candidates that came before the parameters that they belong to."""
        self.early: dict[Path, EarlyCheck] = {}
        self.selected: dict[int, Pair] = {}
        self.lost: set[int] = set()
        """Components whose selected pair died: nothing may be sent until another is selected."""
        self.nominating: dict[int, Pair] = {}
        """The pair of each component that this side's nominating check is for."""
        self.valid_told: set[int] = set()
        self.peer_reflexive: dict[Address, int] = {}
        """How many remote candidates were revealed by checks at each base."""
        self.discovered_count = 0
        """Peer-reflexive candidates of this side."""
        self.mutual = False
        """Whether the peer is known to have our current parameters beside those we have of it."""
        self.last_news = 0.0
        """When the last candidate of either side came."""
        self.failed = False

    def successor(self, now: float) -> "StreamSession":
        """The stream in the next session, which what came too early belongs to."""
        after = StreamSession(self.stream, self.components)
        after.pending = self.pending
        after.last_news = now
        return after

    def learn(self, parameters: Parameters) -> None:
        """The peer's parameters came."""
        self.remote = parameters
        self.remote_key = short_term_key(parameters.password)

    @property
    def is_completed(self) -> bool:
        """Whether each component has its selected pair."""
        return len(self.selected) == self.components

    def best_valid(self, component: int) -> Pair | None:
        """The valid pair of the highest priority, or None."""
        return next((p for p in self.checklist.of_component(component) if p.is_valid), None)

    def carrier(self, component: int) -> Pair | None:
        """The pair that data takes: the selected one, or else the best valid one (RFC 8445 §12)."""
        selected = self.selected.get(component)
        if selected is not None or component in self.lost:
            return selected
        return self.best_valid(component)


class Session:
    """One ICE session: from one description or restart to the next (RFC 8445 §2)."""

    __slots__ = ("generation", "is_own", "key", "local", "streams")

    def __init__(self, generation: int, local: Parameters, *, is_own: bool = False) -> None:
        self.generation = generation
        self.local = local
        self.is_own = is_own
        """Whether this side began it, by a restart that the peer did not ask for."""
        self.key = short_term_key(local.password)
        self.streams: list[StreamSession] = []

    @property
    def checklists(self) -> list[Checklist]:
        """The check list set (RFC 8445 §6.1.2)."""
        return [each.checklist for each in self.streams]

    @property
    def is_completed(self) -> bool:
        """Whether each component of each stream has its selected pair."""
        return bool(self.streams) and all(each.is_completed for each in self.streams)


class AgentState:
    """The one of an agent; its parts hold it and change it."""

    __slots__ = (
        "changed",
        "closed",
        "connections",
        "dropped",
        "events",
        "foundations",
        "locals",
        "pacer",
        "previous",
        "random",
        "request_count",
        "role",
        "session",
        "settings",
        "timers",
        "transmits",
    )

    def __init__(
        self, settings: IceSettings, random: RandomBytes, pacer: Pacer, session: Session
    ) -> None:
        self.settings = settings
        self.random = random
        self.pacer = pacer
        self.role = Role(
            int.from_bytes(random(8), "big"),
            controlling=settings.controlling and not settings.lite,
        )
        self.session = session
        self.previous: Session | None = None
        """The session before a restart, whose pairs carry the data until there are new ones."""
        self.locals: list[LocalCandidates] = []
        self.foundations = Foundations()
        self.connections: dict[Path, Pair] = {}
        self.timers: TimerQueue[TimerKey] = TimerQueue()
        self.transmits: list[Transmit] = []
        self.events: deque[IceEvent] = deque()
        self.dropped = Dropped()
        self.request_count = 0
        self.changed = False
        self.closed = False

    def tell(self, event: IceEvent) -> None:
        """Add an event."""
        self.events.append(event)

    def send(self, data: bytes, path: Path) -> None:
        """Send a message; on a connection its length goes before it (RFC 6544 §3)."""
        if path.transport is Transport.TCP:
            data = frame(data)
        self.transmits.append(Transmit(data, path))

    def next_request(self) -> RequestId:
        """A number for the next Request to the shell."""
        self.request_count += 1
        return self.request_count

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The current session, and the one before it if that still carries data."""
        if self.previous is None:
            return (self.session,)
        return (self.session, self.previous)

    @property
    def pacing(self) -> float:
        """Ta in seconds: the largest that any side asks for (RFC 8445 §14.2, RFC 8839 §5.7)."""
        theirs = [each.remote.pacing for each in self.session.streams if each.remote is not None]
        return max((self.settings.pacing, *theirs))

    def set_role(self, *, controlling: bool) -> None:
        """Take a role, and give the pairs the priorities that they have in it."""
        self.role.controlling = controlling
        for session in self.sessions:
            for checklist in session.checklists:
                checklist.reprioritise(controlling=controlling)


def described(pair: Pair) -> SelectedPair:
    """A pair as events show it."""
    assert pair.path is not None  # noqa: S101 - a pair that data took has a path
    return SelectedPair(
        pair.mapped or pair.local.told, pair.remote, pair.path, pair.traffic.round_trip
    )
