"""What is answered while a store cannot be asked (RFC 3261 §20.33, §21.5.1, §21.5.4)."""

from typing import Final

from natkit.machine import Failure, RandomBytes
from natkit.sip import HeaderField
from natkit.sip.kinds import RETRY_AFTER, RetryAfter
from sip_proxy.events import Overloaded
from sip_proxy.rejection import Rejection

__all__ = ["retry_later", "unavailable"]

LEAST_DELAY: Final = 5
"""Seconds until one who was turned away may come back at the earliest."""

SPREAD: Final = 16
"""Over how many seconds they come back, lest all of them do at once; divides 256."""


def retry_later(random: RandomBytes) -> HeaderField:
    """A Retry-After of this moment."""
    return HeaderField.of(RETRY_AFTER, RetryAfter(LEAST_DELAY + random(1)[0] % SPREAD))


def unavailable(what: str, failure: Failure, random: RandomBytes) -> Rejection:
    """The answer for a request that ``what`` was needed for: 503 where it has too much to do."""
    if isinstance(failure, Overloaded):
        return Rejection(503, f"{what} has too much to do", [retry_later(random)])
    return Rejection(500, f"{what} is down", [retry_later(random)])
