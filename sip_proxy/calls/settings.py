"""How long calls last, and how many there are."""

from dataclasses import dataclass

from natkit.errors import MisuseError

__all__ = ["CallSettings"]


@dataclass(frozen=True, slots=True)
class CallSettings:
    """``longest``: seconds after which an answered call is taken to be over.

    ``per_user`` and ``per_user_minute``: calls of one user at once, and new ones in a minute; 0 for
    any number.  Calls beyond ``largest_count`` at once are put through and not followed.
    """

    longest: float = 12 * 3_600.0
    per_user: int = 0
    per_user_minute: int = 0
    largest_count: int = 20_000

    def __post_init__(self) -> None:
        if self.longest <= 0 or min(self.per_user, self.per_user_minute, self.largest_count) < 0:
            raise MisuseError("calls last for some time, and are 0 or more")
