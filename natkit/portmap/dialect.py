"""What PCP and NAT-PMP differ in, for the one machine that speaks either."""

from dataclasses import dataclass
from typing import Protocol as Interface

from natkit.address import Address
from natkit.machine import RandomBytes
from natkit.portmap.mapping import Method, Wish


@dataclass(frozen=True, slots=True)
class Granted:
    """An answer to a request for a mapping.

    ``external_host`` is None where the protocol tells it apart from mappings.
    """

    external_port: int
    external_host: str | None
    lifetime: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway refuses; ``lifetime`` seconds long, where it says so (RFC 6887 §7.2)."""

    code: int
    reason: str
    lifetime: int | None


@dataclass(frozen=True, slots=True)
class ExternalHost:
    """The gateway's external address (RFC 6886 §3.2)."""

    host: str


@dataclass(frozen=True, slots=True)
class Announced:
    """Nothing but the epoch (RFC 6887 §14.1)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One message of the gateway; ``epoch`` is the age in seconds of what it remembers.

    ``key`` names the request of a mapping that it answers, as :meth:`Dialect.key` does; None when
    it answers no such.  ``epoch`` is None where an error does not tell it.
    """

    content: Granted | Refused | ExternalHost | Announced
    key: bytes | None
    epoch: int | None


def is_reachable(host: str) -> bool:
    """Whether anybody could be reached at an external address; private ones, behind another NAT."""
    address = Address(host, 0).ip
    return not (address.is_unspecified or address.is_multicast or address.is_loopback)


class Dialect(Interface):
    """One protocol; without state, but for what it was made with."""

    @property
    def method(self) -> Method:
        """Which protocol this is."""
        ...

    @property
    def tells_host_apart(self) -> bool:
        """Whether the external address is a question of its own: what :meth:`probe` asks."""
        ...

    def key(self, wish: Wish, nonce: bytes) -> bytes:
        """What a request and its answer have in common."""
        ...

    def request(
        self, wish: Wish, nonce: bytes, client: str, lifetime: int, external: Address | None
    ) -> bytes:
        """Ask for the mapping; lifetime 0 removes it.  ``external``: what was granted before."""
        ...

    def probe(self, client: str) -> bytes:
        """Ask for what changes nothing: the epoch, or the external address."""
        ...

    def parse(self, data: bytes) -> Reply:
        """Read what a gateway sent; raises MalformedMessage."""
        ...

    def interval(self, sent: int, previous: float, random: RandomBytes) -> float:
        """Seconds until the request is sent again, after ``sent`` transmissions."""
        ...

    def lost_state(self, client_delta: float, before: int, epoch: int) -> bool:
        """Whether ``epoch``, ``client_delta`` seconds after ``before``, shows that it forgot."""
        ...
