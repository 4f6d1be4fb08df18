"""What short texts mean, remembered: a proxy reads the same addresses many times in one call."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

__all__ = ["Memory", "remembered"]

T = TypeVar("T")

MOST_TEXTS: Final = 2048
"""Texts that one reader remembers: those of some hundred calls that are being set up."""

LONGEST_TEXT: Final = 256
"""Characters or bytes; what is longer is read anew, so that nobody can fill the memory with it."""

MOST_FIELDS: Final = 1024
"""Fields of one kind that are remembered: those of some hundred calls that are being set up."""


def remembered(read: Callable[[str], T]) -> Callable[[str], T]:
    """The same reader, whose results must be immutable; what it raises is not remembered."""
    known = lru_cache(MOST_TEXTS)(read)

    @wraps(read)
    def reading(text: str) -> T:
        return known(text) if len(text) <= LONGEST_TEXT else read(text)

    return reading


class Memory(dict[bytes, T]):
    """What short fields mean, by their bytes."""

    __slots__ = ()

    def keep(self, raw: bytes, meaning: T) -> None:
        """Remember it; when there is no room, all others are forgotten."""
        if len(raw) <= LONGEST_TEXT:
            if len(self) >= MOST_FIELDS:
                self.clear()
            self[raw] = meaning
