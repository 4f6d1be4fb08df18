"""Which connection to open when, so that a broken address family costs no time (RFC 8305)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby, zip_longest
from typing import Final, Generic, TypeVar

from natkit.errors import MisuseError
from sipdns.targets import RankedTarget

__all__ = ["ATTEMPT_DELAY", "Start", "connection_starts", "interleaved"]

ATTEMPT_DELAY: Final = 0.25
"""Seconds of a head start that each attempt has over the next (RFC 8305 §5)."""

SHORTEST_DELAY: Final = 0.01
"""RFC 8305 §5: the delay must not be less, in seconds."""

T = TypeVar("T", bound=RankedTarget)


@dataclass(frozen=True, slots=True)
class Start(Generic[T]):
    """Open a connection to ``target``, ``after`` seconds from the first attempt at the latest.

    Earlier when an attempt before it fails; not at all when one succeeds.
    """

    target: T
    after: float


def interleaved(targets: Sequence[T]) -> list[T]:
    """The targets with the families of each host in turn, the better family first (RFC 8305 §4).

    The order of hosts, which is that of their SRV records, stays.  Over UDP and DTLS nothing is
    changed: without a connection there is nothing to be won.
    """
    result: list[T] = []
    for _, group in groupby(targets, key=_record):
        addresses = list(group)
        first = [one for one in addresses if one.family is addresses[0].family]
        others = [one for one in addresses if one.family is not addresses[0].family]
        if not others or not addresses[0].transport.is_reliable:
            result += addresses
            continue
        pairs = chain.from_iterable(zip_longest(first, others))
        result += [one for one in pairs if one is not None]
    return result


def connection_starts(
    targets: Sequence[T], *, delay: float = ATTEMPT_DELAY
) -> tuple[Start[T], ...]:
    """When to begin with each target.

    MisuseError for a ``delay`` below 10 ms, and for targets over UDP: two requests would be sent.
    """
    if delay < SHORTEST_DELAY:
        raise MisuseError(f"attempts must be {SHORTEST_DELAY:g} s apart at least, not {delay:g} s")
    for target in targets:
        if not target.transport.is_reliable:
            raise MisuseError(f"over {target.transport} there is no connection to be first with")
    return tuple(Start(target, index * delay) for index, target in enumerate(interleaved(targets)))


def _record(target: RankedTarget) -> tuple[str, str, int, int | None, int | None]:
    port = target.address.port
    return target.transport, target.host, port, target.priority, target.weight
