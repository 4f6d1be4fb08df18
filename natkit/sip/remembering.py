"""What short texts mean, remembered: a proxy reads the same addresses many times in one call."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

__all__ = ["remembered"]

T = TypeVar("T")

MOST_TEXTS: Final = 2048
"""Texts that one reader remembers: those of some hundred calls that are being set up."""

LONGEST_TEXT: Final = 256
"""Characters; what is longer is read anew, so that nobody can fill the memory with it."""


def remembered(read: Callable[[str], T]) -> Callable[[str], T]:
    """The same reader, whose results must be immutable; what it raises is not remembered."""
    known = lru_cache(MOST_TEXTS)(read)

    @wraps(read)
    def reading(text: str) -> T:
        return known(text) if len(text) <= LONGEST_TEXT else read(text)

    return reading
