"""Whether packets in fragments pass, each way on its own (RFC 4787 §10, §11; RFC 5780 §3.5)."""

from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.behaviour.steps import Answer, Ask, Open, Script

__all__ = ["FragmentFinding", "fragment_handling"]

LARGE: Final = 1500
"""Bytes of padding that make two fragments of a packet on an Ethernet."""

WITH_HEADERS: Final = LARGE + 28
"""Bytes of a request that are more than an Ethernet's packet, in a multiple of four."""


@dataclass(frozen=True, slots=True)
class FragmentFinding:
    """Whether large packets pass on the way out, and on the way back; None: it could not be told.

    ``padding`` is the number of bytes that the answer was to be made larger by.
    """

    out: bool | None
    back: bool | None
    padding: int
    evidence: tuple[str, ...]

    @property
    def passes(self) -> bool | None:
        """Whether they pass both ways."""
        if False in (self.out, self.back):
            return False
        return True if self.out and self.back else None


def fragment_handling(
    local_host: str, server: Address, padding: int = LARGE
) -> Script[FragmentFinding]:
    """First a large request whose answer is small, then one whose answer is large as well.

    The first is filled with attributes that a server reads over, the second has PADDING.  A server
    that knows no PADDING (420), or leaves it out of its answer, shows nothing of the way back.
    """

    def found(*lines: str, out: bool | None = None, back: bool | None = None) -> FragmentFinding:
        return FragmentFinding(out, back, padding, lines)

    local = yield Open(Address(local_host, 0))
    if not isinstance(local, Address):
        return found("no socket")
    small = yield Ask(local, server)
    if not isinstance(small, Answer):
        return found(f"{server} does not answer")
    large = yield Ask(local, server, length=WITH_HEADERS)
    if not isinstance(large, Answer):
        still = yield Ask(local, server)
        if not isinstance(still, Answer):
            return found(f"{server} does not answer any more")
        line = f"{server} answers small packets, none of {WITH_HEADERS} bytes"
        return found(line, out=False)
    passed = f"a request of {WITH_HEADERS} bytes reached {server}"
    padded = yield Ask(local, server, padding=padding)
    if not isinstance(padded, Answer):
        line = f"no answer with {padding} bytes of padding came back"
        return found(passed, line, out=True, back=False)
    if padded.padding >= padding:
        return found(passed, f"{padded.padding} bytes of padding came back", out=True, back=True)
    return found(passed, "it answers with no padding (RFC 5780 §7.6)", out=True)
