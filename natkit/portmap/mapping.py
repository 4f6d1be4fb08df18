"""What is asked of a gateway and what it grants, whichever protocol it speaks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.portmap.registry import Protocol

RECOMMENDED_LIFETIME: Final = 7200
"""Seconds to ask for (RFC 6886 §3.3): short enough that what a crash leaves behind goes soon."""


class Method(StrEnum):
    """The protocols by which gateways take requests for mappings."""

    PCP = "pcp"
    NAT_PMP = "nat-pmp"
    UPNP = "upnp"


@dataclass(frozen=True, slots=True)
class Filter:
    """Whom a mapping lets in: a network, and of its hosts one port, or 0 for all (RFC 6887 §13.3).

    ``prefix`` counts the bits of ``remote.host`` that matter.
    """

    remote: Address
    prefix: int


@dataclass(frozen=True, slots=True)
class Wish:
    """A mapping to ask for.

    ``external_port`` and ``external_host`` are suggestions, 0 and None without one; ``lifetime`` is
    in seconds.  What follows is PCP's alone: ``remote`` asks for the mapping of one conversation
    (PEER, RFC 6887 §12), ``third_party`` is whom the mapping is for (§13.1), ``prefer_failure``
    wants the suggestion or nothing (§13.2), ``filters`` is whom it lets in (§13.3).
    """

    protocol: Protocol
    internal_port: int
    external_port: int = 0
    external_host: str | None = None
    lifetime: int = RECOMMENDED_LIFETIME
    remote: Address | None = None
    third_party: str | None = None
    prefer_failure: bool = False
    filters: tuple[Filter, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.internal_port <= 0xFFFF or not 0 <= self.external_port <= 0xFFFF:
            raise MisuseError("ports are 1 to 65535, and 0 for any external one")
        if not 0 < self.lifetime <= 0xFFFFFFFF:
            raise MisuseError("a lifetime is 1 to 4294967295 seconds")
        if self.prefer_failure and (self.remote is not None or not self.external_port):
            # RFC 6887 §13.2
            raise MisuseError("prefer_failure goes with MAP and a suggested external port")

    @property
    def needs_pcp(self) -> bool:
        """Whether only PCP can say this."""
        return bool(self.remote or self.third_party or self.prefer_failure or self.filters)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Packets for ``external`` come to ``internal`` until ``lifetime`` seconds after the grant.

    The gateway's word: whether it holds, only a packet from outside shows.  ``lifetime`` 0 stands
    for a mapping that never ends (UPnP).  ``nonce`` is what PCP removes it by, and ``pinhole`` what
    UPnP does, for whom a crash left it behind (:class:`Left`).
    """

    method: Method
    wish: Wish
    gateway: Address
    internal: Address
    external: Address
    lifetime: float
    nonce: bytes = b""
    pinhole: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """A mapping that an earlier life of this program made and did not remove."""

    method: Method
    wish: Wish
    external_port: int
    nonce: bytes = b""
    pinhole: str | None = None


@dataclass(frozen=True, slots=True)
class Mapped:
    """The mapping is there, or was renewed; ``mapping.external`` may have changed."""

    wish_id: int
    mapping: Mapping


@dataclass(frozen=True, slots=True)
class MappingFailed:
    """There is none, by the gateway's word or because it said nothing.

    ``code`` is the protocol's own, None for silence; ``retry_after`` is in seconds where the
    gateway told.  The wish is forgotten.
    """

    wish_id: int
    method: Method
    reason: str
    code: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class MappingLost:
    """What was granted has ended and was not renewed; it is asked for on."""

    wish_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unmapped:
    """The mapping was removed; ``confirmed`` by the gateway, or after it stayed silent."""

    wish_id: int
    confirmed: bool


@dataclass(frozen=True, slots=True)
class GatewayRestarted:
    """The gateway lost its mappings (RFC 6886 §3.6, RFC 6887 §8.5); they are asked for again."""

    gateway: Address


@dataclass(frozen=True, slots=True)
class Speaks:
    """The gateway speaks the protocol; ``external_host`` is its external address, if it told."""

    method: Method
    external_host: str | None


@dataclass(frozen=True, slots=True)
class Silent:
    """The gateway does not, or not for us; ``reason`` is a line for a person."""

    method: Method
    reason: str


PortMapEvent = Mapped | MappingFailed | MappingLost | Unmapped | GatewayRestarted | Speaks | Silent
