"""The proxy's log and its counts: one line an event, with the Call-ID and who decided.

No password, key, nonce or message is ever passed to a logger.
"""

import logging
from collections import Counter
from typing import Final, assert_never

from natkit.errors import NatkitError, TlsFailed
from natkit.locate import Target
from natkit.machine import Path
from natkit.server.log import Logger, level_now, printable
from natkit.sip.registry import REASON_PHRASES
from sip_proxy.administration import AnswerCount
from sip_proxy.calls import CallRecord
from sip_proxy.events import (
    Answered,
    BindingsChanged,
    CallEnded,
    Dropped,
    GatewayChanged,
    GuessesStopped,
    HookFailed,
)

__all__ = ["EventLog", "Fact"]

Fact = (
    Answered | BindingsChanged | CallEnded | Dropped | GatewayChanged | GuessesStopped | HookFailed
)

METHODS: Final = frozenset(
    {
        "ACK",
        "BYE",
        "CANCEL",
        "INFO",
        "INVITE",
        "MESSAGE",
        "NOTIFY",
        "OPTIONS",
        "PRACK",
        "PUBLISH",
        "REFER",
        "REGISTER",
        "SUBSCRIBE",
        "UPDATE",
    }
)
"""What is counted by its name; others, which anybody may make up, are OTHER."""

_CHALLENGES: Final = (401, 407)


class EventLog:
    """Turns the machine's events into lines and counts."""

    def __init__(self, logger: Logger) -> None:
        self.counts: Counter[str] = Counter()
        self.dropped = 0
        self._answers: Counter[tuple[str, int]] = Counter()
        self._logger = logger
        self._shows_debug = False
        self._shows_info = False
        self.follow_level()

    def follow_level(self) -> None:
        """Take up the level that :func:`~natkit.server.log.set_level` set."""
        # Known once, so that an event whose line nobody reads costs no more than its count.
        self._shows_debug = level_now() <= logging.DEBUG
        self._shows_info = level_now() <= logging.INFO

    @property
    def answers(self) -> tuple[AnswerCount, ...]:
        """The final answers to requests, by method and status."""
        counted = sorted(self._answers.items())
        return tuple(AnswerCount(method, status, count) for (method, status), count in counted)

    def defect(self, error: Exception) -> None:
        """Something that must not happen did."""
        self.counts["internal errors"] += 1
        self._logger.error("internal error", exc_info=error)

    def unreachable(self, target: Target, error: NatkitError) -> None:
        """A connection to a server was not made; of one that failed in TLS the operator hears."""
        self.counts["failed connections"] += 1
        tell = self._logger.warning if isinstance(error, TlsFailed) else self._logger.info
        tell(
            "cannot connect",
            server=str(target.address),
            transport=target.transport.value,
            domain=printable(target.tls_name),
            reason=printable(str(error)),
        )

    def count(self, what: str) -> None:
        """Count something that has no line of its own."""
        self.counts[what] += 1

    def write(self, event: Fact) -> None:
        """Log and count one event."""
        match event:
            case Answered():
                self._answered(event)
            case BindingsChanged(address, bindings):
                self.counts["registrations changed"] += 1
                if self._shows_debug:
                    self._logger.debug(
                        "registration changed", user=printable(address), contacts=len(bindings)
                    )
            case CallEnded(record):
                self.counts["calls ended"] += 1
                self.counts["calls answered"] += record.answered is not None
                if self._shows_info:
                    self._logger.info("call ended", **_call(record))
            case Dropped(path, reason):
                self.dropped += 1
                if self._shows_debug:
                    self._logger.debug("dropped", reason=printable(reason), **_client(path))
            case GatewayChanged(gateway, is_up):
                self.counts["gateways up" if is_up else "gateways down"] += 1
                tell = self._logger.info if is_up else self._logger.warning
                tell("gateway up" if is_up else "gateway down", gateway=gateway)
            case HookFailed(call_id, point, reason):
                self.counts["hooks failed"] += 1
                self._logger.error(
                    "hook failed",
                    point=point.value,
                    call_id=printable(call_id),
                    reason=printable(reason),
                )
            case GuessesStopped(path, username, wait):
                self.counts["password guesses stopped"] += 1
                self._logger.warning(
                    "password guesses stopped",
                    user=printable(username),
                    not_heard_for=round(wait),
                    **_client(path),
                )
            case _:
                assert_never(event)

    def _answered(self, event: Answered) -> None:
        status = event.status if event.status in REASON_PHRASES else event.status // 100 * 100
        method = event.method if event.method in METHODS else "OTHER"
        self._answers[method, status] += 1
        # Calls, and what was refused, are what operators look for; challenges are routine.
        matters = event.status not in _CHALLENGES and (event.status >= 300 or method == "INVITE")
        if not (self._shows_info if matters else self._shows_debug):
            return
        tell = self._logger.info if matters else self._logger.debug
        tell(
            "request answered",
            method=printable(event.method),
            call_id=printable(event.call_id),
            status=event.status,
            reason=printable(event.reason),
            decided_by="proxy" if event.by_us else "next hop",
            **_client(event.path),
        )


def _call(record: CallRecord) -> dict[str, str | int | float]:
    return {
        "call_id": printable(record.call_id),
        "from": printable(record.sender),
        "to": printable(record.receiver),
        "status": record.status,
        "reason": printable(record.reason),
        "released_by": record.released_by.value,
        "duration": round(record.duration, 1),
    }


def _client(path: Path) -> dict[str, str]:
    return {"client": str(path.remote), "transport": str(path.transport)}
