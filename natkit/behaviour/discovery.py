"""Runs the tests of RFC 5780 in their order, several times each, and makes one report of them.

What could disturb one another runs apart: first all servers are asked whether they answer, then
ports are looked at while nothing else is mapped, then mapping and filtering side by side from fresh
sockets, and only after those hairpinning and the lifetime.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from natkit.address import Address
from natkit.behaviour.asking import ScriptEnded, Scripts
from natkit.behaviour.collected import Collected, Finding
from natkit.behaviour.plan import Phase, Plan, Tests, patient, tests_of
from natkit.behaviour.report import Report
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    RandomBytes,
    RequestId,
    Transmit,
)

__all__ = ["Discovered", "Discovery", "DiscoveryEvent", "Progress"]


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


DiscoveryEvent = OpenSocket | CloseSocket | Connect | ClosePath | Progress | Discovered


class Discovery:
    """A machine (see :mod:`natkit.machine`) for one plan; its last event is Discovered."""

    def __init__(self, plan: Plan, *, random: RandomBytes) -> None:
        self._plan = plan
        self._random = random
        self._scripts: Scripts[Finding] = Scripts(random=random, timing=patient(plan.patience))
        self._phase = Phase.REACH
        self._found = Collected()
        self._events: deque[DiscoveryEvent] = deque()
        self._done = 0
        self._planned = 0

    def start(self, now: float) -> None:
        """Begin."""
        self._begin(Phase.REACH, now)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived; what belongs to no test is ignored."""
        self._scripts.receive(data, path, now)
        self._collect(now)

    def disconnected(self, path: Path, now: float) -> None:
        """A connection ended."""
        self._scripts.disconnected(path, now)
        self._collect(now)

    def answer(self, request_id: RequestId, result: Address | Path | Failure, now: float) -> None:
        """A socket is open, a connection made, or not."""
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
            self._found.keep(event.name, event.finding)
            self._done += 1
            self._events.append(Progress(event.name, self._done, self._planned))
        if self._phase is not Phase.OVER and not len(self._scripts):
            self._begin(Phase(self._phase + 1), now)

    def _begin(self, phase: Phase, now: float) -> None:
        """Start this phase, or the first one after it that has something to do."""
        tests: Tests = []
        while phase is not Phase.OVER and not (
            tests := tests_of(phase, self._plan, self._found, self._random)
        ):
            phase = Phase(phase + 1)
        self._phase = phase
        if phase is Phase.OVER:
            report = self._found.report(self._plan.local_host, self._plan.servers)
            self._events.append(Discovered(report))
            return
        self._planned += len(tests)
        for name, script in tests:
            self._scripts.start(name, script, now)
        self._collect(now)
