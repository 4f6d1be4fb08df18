"""Whether UDP gets to a server and back (RFC 5780 §4.2)."""

from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.behaviour.mapping import is_alternate
from natkit.behaviour.steps import Answer, Ask, Open, Script
from natkit.stun.transaction import Timing

__all__ = ["ReachFinding", "reach"]

SINGLE_PACKETS: Final = 5
"""Packets that show loss: each is sent once."""


@dataclass(frozen=True, slots=True)
class ReachFinding:
    """How one server answers.

    ``round_trip`` is the shortest in seconds, None when nothing came; ``lost`` of ``sent`` single
    packets had no answer.  ``other`` is its other address, by its own word; ``plain`` the mapped
    address as it said it without obfuscation as well.
    """

    server: Address
    mapped: Address | None = None
    local: Address | None = None
    round_trip: float | None = None
    sent: int = 0
    lost: int = 0
    other: Address | None = None
    plain: Address | None = None

    @property
    def answers(self) -> bool:
        """Whether it does at all."""
        return self.mapped is not None

    @property
    def discovers(self) -> bool:
        """Whether it names an alternate address that RFC 5780's tests can use."""
        return self.other is not None and is_alternate(self.server, self.other)


def reach(
    local_host: str, server: Address, patience: float, samples: int = SINGLE_PACKETS
) -> Script[ReachFinding]:
    """Ask until there is an answer; then some single packets, each waited for ``patience`` seconds.

    A server that does not answer is asked no more.
    """
    local = yield Open(Address(local_host, 0))
    if not isinstance(local, Address):
        return ReachFinding(server)
    first = yield Ask(local, server)
    if not isinstance(first, Answer) or first.mapped is None:
        return ReachFinding(server, local=local)
    once = Timing(rto=patience, maximum_rto=patience, request_count=1, last_wait=1)
    times: list[float] = []
    for _ in range(samples):
        answer = yield Ask(local, server, timing=once)
        if isinstance(answer, Answer):
            times.append(answer.round_trip)
    quickest = min(times, default=first.round_trip)
    lost = samples - len(times)
    return ReachFinding(
        server, first.mapped, local, quickest, samples, lost, first.other, first.plain
    )
