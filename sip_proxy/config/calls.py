"""``[calls]`` and ``[trace]``: how calls are followed, and what is remembered of their messages."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Count, Seconds, read_secret
from sip_proxy.calls import CallSettings
from sip_proxy.config.tables import DEFAULT
from sip_proxy.shell.call_records import CALL_RECORDS, KINDS
from sip_proxy.trace import RecorderSettings

__all__ = ["Calls", "Trace"]

_CALLS = DEFAULT.calls
_MEGABYTE = 1 << 20


def _place(url: str) -> str:
    if url.partition(":")[0] not in CALL_RECORDS:
        # The text may hold a password, so it is not repeated.
        raise MisuseError(f"call records are kept in {KINDS}")
    return url


CallRecordPlace = Annotated[str, BeforeValidator(read_secret), AfterValidator(_place)]


class Calls(Table):
    """Calls from their INVITE to their end: records of them, and how many a user has."""

    records: CallRecordPlace = "none"
    """Where a record of each call is kept: ``file:FILE`` for JSON lines, ``sqlite:FILE``,
    ``postgresql://…``, or ``none``."""
    longest: Seconds = int(_CALLS.longest)
    """Seconds after which an answered call whose BYE was not seen is taken to be over; sooner where
    its session interval ends without a refresh (RFC 4028)."""
    per_user: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = _CALLS.per_user
    """Calls of one user at once; one more is refused by 403. 0 stands for any number."""
    per_user_minute: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = _CALLS.per_user_minute
    """New calls of one user in a minute; one more is refused by 480. 0 stands for any number."""
    followed: Count = _CALLS.largest_count
    """Calls at once that are followed; those beyond are put through without a record."""

    def settings(self) -> CallSettings:
        """What the machine is told."""
        return CallSettings(float(self.longest), self.per_user, self.per_user_minute, self.followed)


class Trace(Table):
    """The flight recorder, from which ladders of calls are drawn."""

    memory: Annotated[int, Field(ge=0, le=16_384, strict=True)] = (
        DEFAULT.recorder.memory // _MEGABYTE
    )
    """Megabytes for the messages of the last while, about 1,300 calls in 32; 0 records nothing."""

    def settings(self) -> RecorderSettings:
        """What the machine is told."""
        return RecorderSettings(self.memory * _MEGABYTE)
