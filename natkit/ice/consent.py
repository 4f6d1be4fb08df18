"""The selected pairs in use: consent to send, and keep-alives where there is none (RFC 7675).

Consent lasts for a time since the last valid answer to any check; no single check decides.
"""

from collections.abc import Callable
from dataclasses import dataclass

from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer
from natkit.ice.checks import Checks, Purpose
from natkit.ice.pair import Pair
from natkit.keepalive.interval import spread
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, Method

_LONGEST_SHARE = 1.2
_LEAST_SHARE = 0.8 / _LONGEST_SHARE
"""The intervals are 0.8 to 1.2 times the mean (RFC 7675 §5.1)."""


@dataclass(slots=True)
class _Kept:
    session: Session
    stream: StreamSession
    answered_at: float
    has_slot: bool = False
    """Whether the process's pacer gave the time at which the timer is due."""


class Consents:
    """Asks over the pairs that data takes, and tells when nobody answered for too long."""

    def __init__(self, state: AgentState, checks: Checks) -> None:
        self._state = state
        self._checks = checks
        self._kept: dict[Pair, _Kept] = {}
        self.on_lost: Callable[[Session, StreamSession, Pair, float], None] | None = None
        self.on_silent: Callable[[Session, StreamSession, Pair, float], None] | None = None

    def begin(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """``pair`` was selected, and was answered just now."""
        self._kept[pair] = _Kept(session, stream, now)
        if self._asks(stream):
            self._state.timers.set((Timer.CONSENT, pair), now + self._interval())
        else:
            interval = self._state.settings.keepalive_interval
            self._state.timers.set((Timer.KEEPALIVE, pair), now + interval)

    def end(self, pair: Pair) -> None:
        """Data takes it no more."""
        self._kept.pop(pair, None)
        self._state.timers.cancel((Timer.CONSENT, pair))
        self._state.timers.cancel((Timer.KEEPALIVE, pair))

    def end_all(self, session: Session | None = None) -> None:
        """A session, or the agent, is over."""
        for pair, kept in list(self._kept.items()):
            if session is None or kept.session is session:
                self.end(pair)

    def answered(self, pair: Pair, now: float) -> None:
        """A check over ``pair`` got a valid answer."""
        kept = self._kept.get(pair)
        if kept is not None:
            kept.answered_at = now

    def revoked(self, pair: Pair, now: float) -> None:
        """The peer answered that it does not want to receive: 403 (RFC 7675 §5.2)."""
        kept = self._kept.get(pair)
        if kept is not None:
            self._lose(pair, kept, now)

    def silence(self, pair: Pair, now: float) -> float | None:
        """For how many seconds nothing was answered; None for a pair that data does not take."""
        kept = self._kept.get(pair)
        return None if kept is None else now - kept.answered_at

    def handle_consent(self, pair: Pair, now: float) -> None:
        """It is time to ask again, or consent has expired."""
        kept = self._kept.get(pair)
        if kept is None:
            return
        settings = self._state.settings
        expires = kept.answered_at + settings.consent_expiry
        if now >= expires:
            self._lose(pair, kept, now)
            return
        key = (Timer.CONSENT, pair)
        if not kept.has_slot:
            slot = self._state.pacer.reserve(now)
            if slot > now:
                kept.has_slot = True
                self._state.timers.set(key, min(slot, expires))
                return
        kept.has_slot = False
        # Many lite agents take a check without USE-CANDIDATE for nothing.
        remote = kept.stream.remote
        self._checks.begin(
            kept.session,
            kept.stream,
            pair,
            now,
            purpose=Purpose.CONSENT,
            nominates=remote is not None and remote.lite and self._state.role.controlling,
        )
        self._state.timers.set(key, min(now + self._interval(), expires))
        if now - kept.answered_at >= settings.silence and self.on_silent is not None:
            self.on_silent(kept.session, kept.stream, pair, now)

    def handle_keepalive(self, pair: Pair, now: float) -> None:
        """Send a Binding indication unless something was sent of late (RFC 8445 §11)."""
        if pair not in self._kept or pair.path is None:
            return
        interval = self._state.settings.keepalive_interval
        last = pair.traffic.last_sent
        due = now if last is None else last + interval
        if due <= now:
            indication = Message.indication(
                Method.BINDING, self._state.random(TRANSACTION_ID_LENGTH)
            )
            self._state.send(indication.encode(fingerprint=True), pair.path)
            pair.traffic.last_sent = now
            due = now + interval
        self._state.timers.set((Timer.KEEPALIVE, pair), due)

    def _asks(self, stream: StreamSession) -> bool:
        # Lite agents ask nothing (RFC 7675 §5.1), and two of them exchange no checks at all.
        settings = self._state.settings
        return settings.consent and not settings.lite and stream.remote is not None

    def _interval(self) -> float:
        longest = self._state.settings.consent_interval * _LONGEST_SHARE
        return spread(longest, self._state.random, _LEAST_SHARE)

    def _lose(self, pair: Pair, kept: _Kept, now: float) -> None:
        self.end(pair)
        pair.fail("consent expired: nothing was answered for too long")
        if self.on_lost is not None:
            self.on_lost(kept.session, kept.stream, pair, now)
