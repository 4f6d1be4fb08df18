"""What is settled about phones behind NATs that know nothing of RFC 5626."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from natkit.errors import MisuseError

__all__ = ["Ask", "NatSettings"]

MOST_FLOWS: Final = 100_000
"""Flows that are kept open at once; phones beyond are reached while their NAT remembers them."""


class Ask(StrEnum):
    """What keeps a flow open over UDP; over a connection a double CRLF does, which TCP answers."""

    NOTHING = "none"
    """Over connections neither."""
    CRLF = "crlf"
    """Four bytes that every SIP element passes over (RFC 3261 §7.5): nobody answers, and a NAT that
    counts only what leaves does not see them (RFC 4787 REQ-6)."""
    OPTIONS = "options"
    """A request: the phone's answer, whatever it is, opens every NAT and shows that it is there."""


@dataclass(frozen=True, slots=True)
class NatSettings:
    """How flows are kept open from our side, and which."""

    keep_alive: Ask = Ask.OPTIONS
    interval: float = 25.0
    """Seconds over UDP at the most: NATs there forget after 30, some of them."""
    connection_interval: float = 120.0
    """Seconds over connections at the most."""
    misses: int = 3
    """OPTIONS without any answer, one after the other, that end a registration."""
    everybody: bool = False
    """Keep the flows of phones too that no NAT was seen before."""
    largest_count: int = MOST_FLOWS
    rewrite_contacts: bool = False
    """Put the address that a phone was seen at into its Contact."""

    def __post_init__(self) -> None:
        if min(self.interval, self.connection_interval) < 1:
            raise MisuseError("a keep-alive's interval is a second at the least")
        if self.misses < 1:
            raise MisuseError("an OPTIONS is missed once at the least")
