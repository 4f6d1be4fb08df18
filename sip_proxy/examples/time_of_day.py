"""Outside office hours calls for the office go elsewhere."""

from collections.abc import Callable
from datetime import UTC, datetime, time

from sip_proxy.hooks import AskedRequest, ForkTo, Hooks

OFFICE = "sip:office@example.org"
AFTER_HOURS = "sip:on-duty@example.org"
OPENS, CLOSES = time(9), time(17, 30)
SATURDAY = 5


def _now() -> datetime:
    return datetime.now(UTC)


class TimeOfDay(Hooks):
    """``clock`` says what time it is where the office is."""

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock

    async def on_request(self, asked: AskedRequest) -> ForkTo | None:
        """Who is on duty rings in place of the office."""
        if asked.called != OFFICE or self._is_open():
            return None
        return ForkTo.at_once(AFTER_HOURS)

    def _is_open(self) -> bool:
        now = self._clock()
        return now.weekday() < SATURDAY and OPENS <= now.time() < CLOSES


hooks = TimeOfDay()
