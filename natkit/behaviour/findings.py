"""What tests find: each answer with how sure it is and what it rests on."""

from dataclasses import dataclass
from enum import StrEnum

from natkit.address import Address
from natkit.keepalive.interval import CAUTION
from natkit.machine import Transport

__all__ = [
    "Fact",
    "Filtering",
    "FilteringFinding",
    "HairpinFinding",
    "LifetimeFinding",
    "Mapping",
    "MappingFinding",
    "PortFinding",
    "PortRule",
]


@dataclass(frozen=True, slots=True)
class Fact:
    """Whether something holds; None: it could not be told, which ``evidence`` explains.

    ``confidence``, 0 to 1, is the share of what was looked at that shows it.
    """

    holds: bool | None
    confidence: float
    evidence: tuple[str, ...]

    @classmethod
    def unknown(cls, *why: str) -> "Fact":
        """It could not be told."""
        return cls(None, 0.0, why)


class Mapping(StrEnum):
    """How a NAT maps one local port to the outside (RFC 4787 §4.1), as far as it was seen."""

    NONE = "none"
    """There is no NAT: the address outside is the local one."""
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    DEPENDENT = "dependent"
    """On the address or on both: what was asked cannot tell the two apart."""
    UNKNOWN = "unknown"


class Filtering(StrEnum):
    """Whom a NAT or firewall lets in (RFC 4787 §5), as far as it was seen."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    UNKNOWN = "unknown"


class PortRule(StrEnum):
    """Which external port a mapping gets (RFC 4787 §4.2)."""

    PRESERVED = "preserved"
    SEQUENTIAL = "sequential"
    """By steps that can be foretold."""
    ARBITRARY = "arbitrary"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MappingFinding:
    """One test, or the vote of several: ``confidence`` is the share that agreed, 0 to 1.

    ``evidence`` are lines for a person.  ``local`` and ``mapped`` are those of the last test.
    """

    kind: Mapping
    confidence: float
    evidence: tuple[str, ...]
    local: Address | None = None
    mapped: Address | None = None
    transport: Transport = Transport.UDP


@dataclass(frozen=True, slots=True)
class FilteringFinding:
    """As :class:`MappingFinding`."""

    kind: Filtering
    confidence: float
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PortFinding:
    """``step`` is the difference of one mapping's port from the next, where it is sequential.

    ``keeps_parity``: whether even ports stay even and odd ones odd; None where nothing shows it.
    ``hosts`` are the external addresses that this host's mappings had.
    """

    kind: PortRule
    confidence: float
    evidence: tuple[str, ...]
    step: int | None = None
    keeps_parity: bool | None = None
    hosts: tuple[str, ...] = ()

    @property
    def pooling_is_paired(self) -> bool | None:
        """Whether this host has one external address at a time (RFC 4787 §4.1, REQ-2)."""
        return len(self.hosts) == 1 if self.hosts else None


@dataclass(frozen=True, slots=True)
class HairpinFinding:
    """Whether two hosts inside reach each other by their outside addresses (RFC 4787 §6).

    ``works`` is None when it could not be told; ``external_source``: whether the receiver sees the
    sender's outside address, as RFC 4787's REQ-9 demands.
    """

    works: bool | None
    evidence: tuple[str, ...]
    external_source: bool | None = None


@dataclass(frozen=True, slots=True)
class LifetimeFinding:
    """How long a silent binding lets packets in: between ``survived`` and ``fatal`` seconds.

    ``fatal`` None: nothing that was tried was too long.  ``works`` False: it could not be measured.
    """

    works: bool
    survived: float
    fatal: float | None
    evidence: tuple[str, ...]

    @property
    def keep_alive(self) -> float | None:
        """Seconds after which to send something at the latest; None where that is not known."""
        return CAUTION * self.survived if self.works and self.survived else None
