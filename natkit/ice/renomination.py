"""Another pair when the selected one goes silent (draft-thatcher-ice-renomination).

Only by option: RFC 8445 §8.1.1 has one nomination for each component.
"""

from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer
from natkit.ice.checks import Checks, Purpose
from natkit.ice.nomination import Nominations
from natkit.ice.pair import Pair

MOST_ALTERNATES = 3
"""Pairs of a component that are kept alive beside the selected one."""

ALTERNATE_SHARE = 3
"""An alternate is asked once for this many consent checks of the selected pair."""


class Renomination:
    """Keeps alternates alive; as the controlling agent nominates one when it is needed."""

    def __init__(self, state: AgentState, checks: Checks, nominations: Nominations) -> None:
        self._state = state
        self._checks = checks
        self._nominations = nominations
        self._value = 0

    def selected(self, session: Session, stream: StreamSession, now: float) -> None:
        """A pair was selected: begin to keep the others alive."""
        if self._state.settings.renominate and session is self._state.session:
            for component in stream.selected:
                key = (Timer.ALTERNATES, (stream.stream, component))
                if key not in self._state.timers:
                    self._state.timers.set(key, now + self._interval)

    @property
    def _interval(self) -> float:
        return self._state.settings.consent_interval * ALTERNATE_SHARE

    def handle_alternates(self, stream: StreamSession, component: int, now: float) -> None:
        """Ask over each alternate, which keeps the NATs' bindings too."""
        session = self._state.session
        for pair in self._alternates(stream, component):
            self._checks.begin(session, stream, pair, now, purpose=Purpose.CONSENT)
        key = (Timer.ALTERNATES, (stream.stream, component))
        self._state.timers.set(key, now + self._interval)

    def silent(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """Nothing has been answered over the selected ``pair`` for some time."""
        state = self._state
        component = pair.component
        if (
            not state.settings.renominate
            or not state.role.controlling
            or session is not state.session
            or component in stream.nominating
        ):
            return
        alternates = self._alternates(stream, component)
        if not alternates:
            return
        # The one heard of last is the likeliest to be alive.
        best = max(alternates, key=lambda each: each.traffic.last_received or 0.0)
        heard, silent_since = best.traffic.last_received or 0.0, pair.traffic.last_received or 0.0
        if heard <= silent_since:
            for each in alternates:
                self._checks.begin(session, stream, each, now, purpose=Purpose.CONSENT)
            return
        self._value += 1
        if stream.remote is not None and stream.remote.renomination:
            best.nomination_value = self._value
        self._nominations.nominate(stream, best)

    def _alternates(self, stream: StreamSession, component: int) -> list[Pair]:
        selected = stream.selected.get(component)
        valid = [
            pair
            for pair in stream.checklist.of_component(component)
            if pair.is_valid and pair is not selected
        ]
        return valid[:MOST_ALTERNATES]
