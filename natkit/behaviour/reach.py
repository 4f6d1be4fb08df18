"""Whether UDP gets to a server and back (RFC 5780 §4.2), in large packets as well (§3.5)."""

from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.behaviour.asking import Answer, Ask, Open, Script
from natkit.stun.transaction import Timing

__all__ = ["FragmentFinding", "ReachFinding", "fragment_handling", "reach"]

SINGLE_PACKETS: Final = 5
"""Packets that show loss: each is sent once."""

LARGE: Final = 1500
"""Bytes of padding that make two fragments of a packet on an Ethernet."""


@dataclass(frozen=True, slots=True)
class ReachFinding:
    """How one server answers.

    ``round_trip`` is the shortest in seconds, None when nothing came; ``lost`` of ``sent`` single
    packets had no answer.  ``other`` is its other address, by its own word.
    """

    server: Address
    mapped: Address | None = None
    local: Address | None = None
    round_trip: float | None = None
    sent: int = 0
    lost: int = 0
    other: Address | None = None

    @property
    def answers(self) -> bool:
        """Whether it does at all."""
        return self.mapped is not None

    @property
    def discovers(self) -> bool:
        """Whether it names an alternate address that RFC 5780's tests can use."""
        other = self.other
        return other is not None and (
            other.host != self.server.host and other.port != self.server.port
        )


@dataclass(frozen=True, slots=True)
class FragmentFinding:
    """Whether large packets pass: ``passes`` is None when it could not be told.

    ``padding`` is the number of bytes that the request and its answer were made larger by.
    """

    passes: bool | None
    padding: int
    evidence: tuple[str, ...]


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
    return ReachFinding(
        server, first.mapped, local, quickest, samples, samples - len(times), first.other
    )


def fragment_handling(
    local_host: str, server: Address, padding: int = LARGE
) -> Script[FragmentFinding]:
    """Ask with so much padding that request and answer come in fragments.

    A server that knows no PADDING (420), or leaves it out of its answer, shows the way there only.
    """
    local = yield Open(Address(local_host, 0))
    if not isinstance(local, Address):
        return FragmentFinding(None, padding, ("no socket",))
    small = yield Ask(local, server)
    if not isinstance(small, Answer):
        return FragmentFinding(None, padding, (f"{server} does not answer",))
    large = yield Ask(local, server, padding=padding)
    if not isinstance(large, Answer):
        return FragmentFinding(
            False, padding, (f"{server} answers small packets, not one with {padding} bytes more",)
        )
    if large.padding >= padding:
        return FragmentFinding(True, padding, (f"{large.padding} bytes of padding came back",))
    return FragmentFinding(
        None, padding, (f"a large packet reached {server}; its answer was a small one",)
    )
