"""Runs the tests of RFC 5780 in their order, several times each, and makes one report of them.

What could disturb one another runs apart: first all servers are asked whether they answer, then
ports are looked at while nothing else is mapped, then mapping and filtering side by side from fresh
sockets, and only after those hairpinning and the lifetime.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from natkit.address import Address
from natkit.behaviour.asking import Script, ScriptEnded, Scripts
from natkit.behaviour.filtering import filtering_behaviour
from natkit.behaviour.findings import (
    Filtering,
    FilteringFinding,
    HairpinFinding,
    LifetimeFinding,
    Mapping,
    MappingFinding,
    PortFinding,
    PortRule,
)
from natkit.behaviour.hairpinning import hairpin_behaviour
from natkit.behaviour.lifetime import binding_lifetime
from natkit.behaviour.mapping import map_by_plain_servers, mapping_behaviour
from natkit.behaviour.ports import port_behaviour
from natkit.behaviour.reach import FragmentFinding, ReachFinding, fragment_handling, reach
from natkit.behaviour.report import Report
from natkit.behaviour.votes import vote_on_filtering, vote_on_mapping
from natkit.machine import (
    CloseSocket,
    Failure,
    OpenSocket,
    Path,
    RandomBytes,
    RequestId,
    Transmit,
)
from natkit.stun.transaction import Timing

__all__ = [
    "Discovered",
    "Discovery",
    "DiscoveryEvent",
    "LifetimeSearch",
    "Plan",
    "Progress",
    "patient",
]

VOTES: Final = 3
PATIENCE: Final = 8.0
"""Seconds: satellites and sleeping radios take two or three to answer."""


def patient(patience: float) -> Timing:
    """Ask six times within ``patience`` seconds before silence counts as silence."""
    # In units of the first interval: packets at 0, 1, 3, 7, 15 and 31, and nine for the last one.
    rto = patience / 40
    return Timing(rto=rto, maximum_rto=max(rto, 1.0), request_count=6, last_wait=9)


@dataclass(frozen=True, slots=True)
class LifetimeSearch:
    """Between which silences to search, and for how long; all in seconds."""

    shortest: float = 10.0
    longest: float = 600.0
    limit: float = 1800.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to find out, from which of the host's addresses and by which servers.

    ``patience`` is how many seconds of silence are silence.  ``hairpin`` is for those who ask for
    it: some firewalls take a packet to one's own address for an attack.
    """

    local_host: str
    servers: tuple[Address, ...]
    votes: int = VOTES
    patience: float = PATIENCE
    hairpin: bool = False
    fragments: bool = False
    lifetime: LifetimeSearch | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``planned`` tests have ended; more may be planned when these are known."""

    name: str
    done: int
    planned: int


@dataclass(frozen=True, slots=True)
class Discovered:
    """The end."""

    report: Report


DiscoveryEvent = OpenSocket | CloseSocket | Progress | Discovered
Finding = (
    ReachFinding
    | MappingFinding
    | FilteringFinding
    | PortFinding
    | HairpinFinding
    | LifetimeFinding
    | FragmentFinding
)
_Tests = list[tuple[str, Script[Finding]]]


class _Phase(IntEnum):
    REACH = 0
    PORTS = 1
    BEHAVIOUR = 2
    PLAIN = 3
    HAIRPIN = 4
    LIFETIME = 5
    OVER = 6


class Discovery:
    """A machine (see :mod:`natkit.machine`) for one plan; its last event is Discovered."""

    def __init__(self, plan: Plan, *, random: RandomBytes) -> None:
        self._plan = plan
        self._scripts: Scripts[Finding] = Scripts(random=random, timing=patient(plan.patience))
        self._phase = _Phase.REACH
        self._events: deque[DiscoveryEvent] = deque()
        self._done = 0
        self._planned = 0
        self._reach: dict[Address, ReachFinding] = {}
        self._mappings: list[MappingFinding] = []
        self._filterings: list[FilteringFinding] = []
        self._ports = PortFinding(PortRule.UNKNOWN, 0.0, ("no server answers",))
        self._hairpin: HairpinFinding | None = None
        self._lifetime: LifetimeFinding | None = None
        self._fragments: FragmentFinding | None = None

    def start(self, now: float) -> None:
        """Begin."""
        self._begin(_Phase.REACH, now)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived; what belongs to no test is ignored."""
        self._scripts.receive(data, path, now)
        self._collect(now)

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def answer(self, request_id: RequestId, result: Address | Failure, now: float) -> None:
        """A socket is open, or is not."""
        self._scripts.answer(request_id, result, now)
        self._collect(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._scripts.handle_timer(now)
        self._collect(now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._scripts.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        return self._scripts.transmits()

    def next_event(self) -> DiscoveryEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── phase after phase ───────────────────────────────────────────────────────────────────────

    def _collect(self, now: float) -> None:
        while (event := self._scripts.next_event()) is not None:
            if not isinstance(event, ScriptEnded):
                self._events.append(event)
                continue
            self._keep(event.finding)
            self._done += 1
            self._events.append(Progress(event.name, self._done, self._planned))
        if self._phase is not _Phase.OVER and not len(self._scripts):
            self._begin(_Phase(self._phase + 1), now)

    def _begin(self, phase: _Phase, now: float) -> None:
        """Start this phase, or the first one after it that has something to do."""
        tests: _Tests = []
        while phase is not _Phase.OVER and not (tests := self._tests(phase)):
            phase = _Phase(phase + 1)
        self._phase = phase
        if phase is _Phase.OVER:
            self._events.append(Discovered(self._report()))
            return
        self._planned += len(tests)
        for name, script in tests:
            self._scripts.start(name, script, now)
        self._collect(now)

    def _tests(self, phase: _Phase) -> _Tests:
        plan, host = self._plan, self._plan.local_host
        answering = [server for server in plan.servers if self._answers(server)]
        able = [server for server in answering if self._reach[server].discovers]
        if phase is _Phase.REACH:
            return [
                (f"reaching {each}", reach(host, each, plan.patience / 4)) for each in plan.servers
            ]
        if not answering:
            return []
        match phase:
            case _Phase.PORTS:
                return [("ports", port_behaviour(host, answering[0]))]
            case _Phase.BEHAVIOUR:
                return self._behaviour_tests(able, answering)
            case _Phase.PLAIN:
                return self._plain_tests(answering)
            case _Phase.HAIRPIN if plan.hairpin:
                return [("hairpinning", hairpin_behaviour(host, answering[0]))]
            case _Phase.LIFETIME if plan.lifetime is not None:
                wish = plan.lifetime
                search = binding_lifetime(
                    host,
                    (able or answering)[0],
                    shortest=wish.shortest,
                    longest=wish.longest,
                    limit=wish.limit,
                )
                return [("lifetime", search)]
            case _:
                return []

    def _behaviour_tests(self, able: list[Address], answering: list[Address]) -> _Tests:
        host = self._plan.local_host
        tests: _Tests = []
        if able:
            # Each vote by another server, as far as there are several.
            for number in range(self._plan.votes):
                server = able[number % len(able)]
                tests.append(("mapping", mapping_behaviour(host, server)))
                tests.append(("filtering", filtering_behaviour(host, server)))
        if self._plan.fragments:
            tests.append(("fragments", fragment_handling(host, (able or answering)[0])))
        return tests

    def _plain_tests(self, answering: list[Address]) -> _Tests:
        """What the first round left open, by any servers there are."""
        if vote_on_mapping(self._mappings).kind is not Mapping.UNKNOWN:
            return []
        self._mappings.clear()
        host = self._plan.local_host
        return [("mapping", map_by_plain_servers(host, answering)) for _ in range(self._plan.votes)]

    def _answers(self, server: Address) -> bool:
        found = self._reach.get(server)
        return found is not None and found.answers

    # ── what they found ─────────────────────────────────────────────────────────────────────────

    def _keep(self, finding: Finding) -> None:
        match finding:
            case ReachFinding():
                self._reach[finding.server] = finding
            case MappingFinding():
                self._mappings.append(finding)
            case FilteringFinding():
                self._filterings.append(finding)
            case PortFinding():
                self._ports = finding
            case HairpinFinding():
                self._hairpin = finding
            case LifetimeFinding():
                self._lifetime = finding
            case FragmentFinding():
                self._fragments = finding

    def _report(self) -> Report:
        filtering = vote_on_filtering(self._filterings)
        if not self._filterings:
            why = "no server answers"
            if any(found.answers for found in self._reach.values()):
                why = "no server has another address to answer from (RFC 5780)"
            filtering = FilteringFinding(Filtering.UNKNOWN, 0.0, (why,))
        mapping = vote_on_mapping(self._mappings)
        if not self._mappings:
            mapping = MappingFinding(Mapping.UNKNOWN, 0.0, ("no server answers",))
        return Report(
            self._plan.local_host,
            tuple(self._reach[server] for server in self._plan.servers),
            mapping,
            filtering,
            self._ports,
            self._hairpin,
            self._lifetime,
            self._fragments,
        )
