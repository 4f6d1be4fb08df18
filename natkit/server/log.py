"""The servers' logs: one line an event, to the standard error, as text or as JSON objects."""

import logging
import os
import sys
import time
from collections.abc import Collection

import structlog

from natkit.server.log_floods import LogFloods

__all__ = ["Logger", "configure", "level_now", "printable", "set_level"]

Logger = structlog.typing.FilteringBoundLogger


# "exception" is an error with a traceback.
_NUMBERS = {name.lower(): level for name, level in logging.getLevelNamesMapping().items()} | {
    "exception": logging.ERROR
}


class _Threshold:
    """Drops what is below the level, which may change while loggers are in use everywhere."""

    def __init__(self) -> None:
        self.level = logging.NOTSET

    def __call__(
        self, _: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if _NUMBERS[method] < self.level:
            raise structlog.DropEvent
        return event


_threshold = _Threshold()


def set_level(level: str) -> None:
    """Log what is of this level or above from now on."""
    _threshold.level = getattr(logging, level.upper())
    logging.getLogger().setLevel(_threshold.level)


def level_now() -> int:
    """The level that :func:`set_level` set, as the logging module numbers it."""
    return _threshold.level


def printable(name: str) -> str:
    """A text that others have chosen, so that it does not steer the terminal that shows it."""
    return name if name.isprintable() else ascii(name)


def configure(level: str, *, as_json: bool, every_line: Collection[str] = ()) -> Logger:
    """Set up structlog, and the logging module, by which the libraries log, on top of it.

    The events ``every_line`` are written whatever their rate.
    """
    set_level(level)
    # Past the logging module a line costs a third, which shows in allocations a second.
    structlog.configure(
        processors=[
            _threshold,
            LogFloods(_summarize, time.monotonic, every_line),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(as_json=as_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger()
    root = logging.getLogger()
    root.handlers[:] = [_Forward(logger)]
    return logger


def _summarize(event: str, kind: str, count: int) -> None:
    logger: Logger = structlog.get_logger()
    logger.warning(event, of=kind, count=count)


def _renderers(*, as_json: bool) -> list[structlog.typing.Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return [
        structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=20, exception_formatter=structlog.dev.plain_traceback
        )
    ]


class _Forward(logging.Handler):
    """Gives the records of the logging module to structlog."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        # structlog knows the five levels, the logging module any number.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        self._logger.log(level, record.getMessage(), **fields)
