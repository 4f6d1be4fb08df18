"""The server's log: one line an event, with the session's number and the rule that decided.

Lines go to the standard error, as text or as JSON objects.  No password, key or nonce is ever
passed to a logger.
"""

import logging
import os
import sys
from collections import Counter

import structlog

from natkit.machine import Path
from natkit.stun.registry import Method, StunError
from stun_server.events import (
    AllocationClosed,
    AllocationOpened,
    AllocationRefreshed,
    ChannelBound,
    PeerRefused,
    PermissionInstalled,
    RequestRefused,
)

__all__ = ["EventLog", "Fact", "Logger", "configure"]

REFUSALS_PER_SECOND = 20
"""Lines a second about what strangers were refused; the rest is counted, so that nobody fills the
disk by asking."""

Fact = (
    AllocationOpened
    | AllocationRefreshed
    | AllocationClosed
    | PermissionInstalled
    | ChannelBound
    | PeerRefused
    | RequestRefused
)


Logger = structlog.stdlib.BoundLogger


def configure(level: str, *, as_json: bool) -> Logger:
    """Set up structlog and what the libraries log by the logging module; the server's logger."""
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if as_json:
        shared.append(structlog.processors.format_exc_info)
        renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors,
            pad_event_to=20,
            exception_formatter=structlog.dev.plain_traceback,
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logger: Logger = structlog.stdlib.get_logger("stun_server")
    return logger


class EventLog:
    """Turns the machine's events into lines and counts."""

    def __init__(self, logger: Logger) -> None:
        self.counts: Counter[str] = Counter()
        self._logger = logger
        self._second = 0
        self._lines = 0
        self._suppressed = 0

    def write(self, event: Fact, now: float) -> None:
        """Log and count one event."""
        match event:
            case AllocationOpened():
                self.counts["allocations opened"] += 1
                self._logger.info(
                    "allocation opened",
                    session=event.allocation_id,
                    user=event.username,
                    **_client(event.client),
                    relayed=str(event.relayed),
                    lifetime=round(event.until - now),
                )
            case AllocationClosed():
                self.counts[f"allocations {event.reason}"] += 1
                self._logger.info(
                    "allocation closed", session=event.allocation_id, reason=str(event.reason)
                )
            case AllocationRefreshed():
                self._logger.debug(
                    "allocation refreshed",
                    session=event.allocation_id,
                    lifetime=round(event.until - now),
                )
            case PermissionInstalled():
                self._logger.debug(
                    "peer permitted", session=event.allocation_id, peer=event.peer_host
                )
            case ChannelBound():
                self._logger.debug(
                    "channel bound",
                    session=event.allocation_id,
                    channel=f"{event.channel:#06x}",
                    peer=str(event.peer),
                )
            case PeerRefused():
                self.counts["peers refused"] += 1
                if self._has_room(now):
                    self._logger.warning(
                        "peer refused",
                        session=event.allocation_id,
                        peer=str(event.peer),
                        rule=str(event.rule),
                        to_allow=f"--allow-peer {event.rule.network}",
                    )
            case RequestRefused():
                self.counts[f"requests refused with {event.code}"] += 1
                # A nonce that ran out is every client's routine.
                if event.code != StunError.STALE_NONCE and self._has_room(now):
                    self._logger.info(
                        "request refused",
                        method=Method(event.method).name.lower(),
                        **_client(event.path),
                        code=int(event.code),
                        reason=event.reason,
                    )

    def count_only(self, what: str) -> None:
        """Count something that has no line of its own."""
        self.counts[what] += 1

    def _has_room(self, now: float) -> bool:
        if int(now) != self._second:
            if self._suppressed:
                self._logger.warning("refusals not logged", count=self._suppressed)
            self._second, self._lines, self._suppressed = int(now), 0, 0
        if self._lines >= REFUSALS_PER_SECOND:
            self._suppressed += 1
            return False
        self._lines += 1
        return True


def _client(path: Path) -> dict[str, str]:
    return {"client": str(path.remote), "transport": str(path.transport)}
