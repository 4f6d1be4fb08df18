"""Which valid pair becomes the selected one: who says so, and when (RFC 8445 §8)."""

from collections.abc import Callable

from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer, described
from natkit.ice.checklist import ChecklistState
from natkit.ice.checks import Checks
from natkit.ice.consent import Consents
from natkit.ice.events import PairSelected, PairValid
from natkit.ice.explanation import PairState
from natkit.ice.pair import Pair

RELEASE_DELAY = 3.0
"""Seconds after completion before unused sockets are given up (RFC 8445 §8.3)."""

_HOPEFUL = (PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS)


def ripe_pair(
    stream: StreamSession, component: int, direct_settling: float, relayed_settling: float
) -> tuple[Pair, float | None] | None:
    """The pair that is best so far, and the time until which better ones have a chance.

    None for that time: there is no better one.  None at all: nothing is valid yet.
    """
    best = stream.best_valid(component)
    if best is None or best.valid_since is None:
        return None
    if not any(
        pair.state in _HOPEFUL and pair.priority > best.priority
        for pair in stream.checklist.of_component(component)
    ):
        return best, None
    round_trip = best.traffic.round_trip or 0.0
    settling = relayed_settling if best.is_relayed else direct_settling
    return best, best.valid_since + settling + round_trip


class Nominations:
    """Nominates as the controlling agent, takes nominations as the controlled one."""

    def __init__(self, state: AgentState, checks: Checks, consents: Consents) -> None:
        self._state = state
        self._checks = checks
        self._consents = consents
        self.on_selected: Callable[[Session, StreamSession, float], None] | None = None

    def valid(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """A pair became valid, or its check was answered again."""
        component = pair.component
        if pair.wants_nomination and not self._state.role.controlling:
            pair.wants_nomination = False
            self._accept(session, stream, pair, now)
        elif component not in stream.selected and component not in stream.valid_told:
            stream.valid_told.add(component)
            self._state.tell(PairValid(stream.stream, component, described(pair)))
        self.consider(session, stream, component, now)

    # ── as the controlling agent ────────────────────────────────────────────────────────────────

    def consider(self, session: Session, stream: StreamSession, component: int, now: float) -> None:
        """Nominate the best pair of a component, if it is time (RFC 8445 §8.1.1)."""
        state = self._state
        if (
            not state.role.controlling
            or session is not state.session
            or component in stream.selected
            or component in stream.nominating
        ):
            return
        settings = state.settings
        ripe = ripe_pair(stream, component, settings.direct_settling, settings.relayed_settling)
        key = (Timer.NOMINATION, (stream.stream, component))
        if ripe is None:
            state.timers.cancel(key)
        elif ripe[1] is None or ripe[1] <= now:
            state.timers.cancel(key)
            self.nominate(stream, ripe[0])
        else:
            state.timers.set(key, ripe[1])

    def nominate(self, stream: StreamSession, pair: Pair) -> None:
        """Queue the nominating check of a valid pair."""
        stream.nominating[pair.component] = pair
        stream.checklist.nominations.append(pair)

    def answered(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """The peer answered the check that nominated ``pair``."""
        if stream.nominating.get(pair.component) is pair:
            del stream.nominating[pair.component]
            if self._state.role.controlling:
                self.select(session, stream, pair, now)

    def unanswered(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """The nominated pair failed: another one has its turn."""
        if stream.nominating.get(pair.component) is pair:
            del stream.nominating[pair.component]
        self.consider(session, stream, pair.component, now)

    def withdraw(self) -> None:
        """This side is controlled from now on: it nominates nothing."""
        for stream in self._state.session.streams:
            stream.nominating.clear()
            stream.checklist.nominations.clear()
            for component in range(1, stream.components + 1):
                self._state.timers.cancel((Timer.NOMINATION, (stream.stream, component)))

    # ── as the controlled agent ─────────────────────────────────────────────────────────────────

    def nominated_by_peer(
        self,
        session: Session,
        stream: StreamSession,
        pair: Pair,
        transaction_id: bytes,
        value: int,
        now: float,
    ) -> None:
        """The peer's check over ``pair`` nominates it (RFC 8445 §7.3.1.5)."""
        if pair.nominated_by == transaction_id:
            return
        pair.nominated_by = transaction_id
        pair.nomination_value = max(pair.nomination_value, value)
        if stream.remote is not None and stream.remote.ice2:
            # One pair at a time is nominated: this one supersedes what came before it.
            for other in stream.checklist.of_component(pair.component):
                other.wants_nomination = False
        if pair.is_valid:
            self._accept(session, stream, pair, now)
        else:
            pair.wants_nomination = True

    def _accept(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        current = stream.selected.get(pair.component)
        if current is not None and current is not pair:
            if pair.nomination_value or current.nomination_value:
                if pair.nomination_value <= current.nomination_value:
                    return
            elif (
                stream.remote is not None
                and not stream.remote.ice2
                and current.is_valid
                and pair.priority <= current.priority
            ):
                # RFC 5245 §8.1.1.2: of those that an aggressive peer nominates the best one counts.
                return
        self.select(session, stream, pair, now)

    # ── the selected pair ───────────────────────────────────────────────────────────────────────

    def select(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """Data takes ``pair`` from now on."""
        component = pair.component
        current = stream.selected.get(component)
        pair.nominated = True
        if current is pair:
            return
        if current is not None:
            current.nominated = False
            self._consents.end(current)
        stream.selected[component] = pair
        stream.lost.discard(component)
        stream.failed = False
        self._stop_others(stream, pair)
        self._consents.begin(session, stream, pair, now)
        if stream.is_completed:
            stream.checklist.state = ChecklistState.COMPLETED
        self._state.changed = True
        self._state.tell(PairSelected(stream.stream, component, described(pair)))
        if self.on_selected is not None:
            self.on_selected(session, stream, now)

    def _stop_others(self, stream: StreamSession, pair: Pair) -> None:
        role_is_controlled = not self._state.role.controlling
        aggressive = role_is_controlled and stream.remote is not None and not stream.remote.ice2
        below = pair.priority if aggressive else None
        for other in stream.checklist.stop(pair.component, below):
            self._checks.stop(other)
