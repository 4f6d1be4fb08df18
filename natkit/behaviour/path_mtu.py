"""How large a packet may be on its way and stay in one piece (RFC 4821, RFC 8899)."""

from dataclasses import dataclass
from typing import Final

from natkit.address import Address, Family
from natkit.behaviour.steps import Answer, Ask, Open, Script

__all__ = ["LARGEST", "PathMtuFinding", "path_mtu"]

LARGEST: Final = 1500
"""Bytes of the largest packet to try: an Ethernet's, and few paths have more."""

_SMALLEST: Final = {Family.IPV4: 576, Family.IPV6: 1280}
"""What a path is to carry at least (RFC 1122 §3.3.2, RFC 8200 §5)."""

_HEADERS: Final = {Family.IPV4: 28, Family.IPV6: 48}
"""Bytes of the IP and UDP headers."""

GRAIN: Final = 4
"""STUN's messages are multiples of four bytes long, so sizes are found to that."""


@dataclass(frozen=True, slots=True)
class PathMtuFinding:
    """Packets of ``passed`` bytes, IP header included, reached the server; of ``lost`` none did.

    ``lost`` None: nothing that was tried was too large.  ``passed`` None: it could not be measured.
    ``told`` are the sizes that routers named by ICMP, if the shell could hear of them: where
    packets are lost and nobody tells, senders that count on being told hang (RFC 2923 §2.1).
    """

    passed: int | None
    lost: int | None
    evidence: tuple[str, ...]
    told: tuple[int, ...] | None = None

    @property
    def is_black_hole(self) -> bool | None:
        """Whether packets that are too large vanish without a word; None where nobody listened."""
        if self.lost is None or self.told is None:
            return None
        return not self.told


def path_mtu(local_host: str, server: Address, largest: int = LARGEST) -> Script[PathMtuFinding]:
    """Find it by halving; ``largest`` is the MTU of the link, if that is less than an Ethernet's.

    The shell must not let a packet be fragmented, here or on the way.
    """
    local = yield Open(Address(local_host, 0))
    if not isinstance(local, Address):
        return PathMtuFinding(None, None, ("no socket",))
    if not isinstance((yield Ask(local, server)), Answer):
        return PathMtuFinding(None, None, (f"{server} does not answer",))
    headers = _HEADERS[server.family]
    evidence: list[str] = []
    passed, lost = 0, min(largest, LARGEST) // GRAIN * GRAIN + GRAIN
    # The most common answer, and the least that is promised, before the halves between them.
    trials = [lost - GRAIN, _SMALLEST[server.family]]
    while lost - passed > GRAIN:
        middle = (passed + lost) // (2 * GRAIN) * GRAIN
        size = trials.pop(0) if trials else middle
        if not passed < size < lost:
            continue
        answer = yield Ask(local, server, length=size - headers)
        if isinstance(answer, Answer):
            passed = size
        else:
            lost = size
        evidence.append(f"{size} bytes {'pass' if isinstance(answer, Answer) else 'are lost'}")
        if lost <= headers + GRAIN * 8:
            return PathMtuFinding(None, None, (*evidence, "no packet of any size passes"))
    limit = min(largest, LARGEST) // GRAIN * GRAIN
    return PathMtuFinding(passed, lost if lost <= limit else None, tuple(evidence))
