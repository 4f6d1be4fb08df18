"""Whom a probe asks, and what it finds."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Transport

__all__ = [
    "BindingAnswer",
    "Certificate",
    "Check",
    "OptionsAnswer",
    "ProbeResult",
    "ProbeTarget",
    "Protocol",
    "Standing",
    "TlsFacts",
    "printable",
]


def printable(text: str) -> str:
    """A peer's text as one line that no terminal takes for more than text."""
    return "".join([one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text])


class Protocol(StrEnum):
    """What is spoken with a target."""

    SIP = "sip"
    STUN = "stun"
    """Also with TURN servers: a Binding request needs no password (RFC 8656 §3.1)."""


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One address to ask.  ``tls_name`` is the domain that its certificate must speak for."""

    protocol: Protocol
    transport: Transport
    address: Address
    host: str
    tls_name: str

    @classmethod
    def of(cls, target: Target, protocol: Protocol = Protocol.SIP) -> "ProbeTarget":
        """A target that a Locator found."""
        return cls(protocol, target.transport, target.address, target.host, target.tls_name)

    def __str__(self) -> str:
        request = "SIP OPTIONS" if self.protocol is Protocol.SIP else "STUN Binding"
        name = "" if self.host in ("", self.address.host) else f" ({self.host})"
        return f"{request} over {self.transport.upper()} to {self.address}{name}"


class Standing(StrEnum):
    """What came of a check; what could not be tested has not failed."""

    OK = "ok"
    FAILED = "failed"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Check:
    """One check; ``evidence`` is a line for a person: what was seen, or why nothing was tested."""

    standing: Standing
    evidence: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one certificate of a chain says."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What the handshake agreed on, and the certificates that were sent, the server's own first."""

    version: str
    cipher: str
    certificates: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class OptionsAnswer:
    """The final response to OPTIONS.

    ``round_trip`` is seconds from the first transmission, ``sent`` how many there were.
    ``server`` is its Server header field, or User-Agent.  ``received`` and ``rport`` are where it
    saw the request come from, None where it does not say.
    """

    status: int
    reason: str
    round_trip: float
    sent: int
    server: str | None
    allow: tuple[str, ...]
    supported: tuple[str, ...]
    received: str | None
    rport: int | None


@dataclass(frozen=True, slots=True)
class BindingAnswer:
    """The response to a Binding request: where the server saw it come from; seconds."""

    mapped: Address
    round_trip: float


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """All that was found of one target; the checks stand in the order in which they are made."""

    target: ProbeTarget
    connection: Check
    tls: Check
    chain: Check
    expiry: Check
    name: Check
    websocket: Check
    exchange: Check
    facts: TlsFacts | None = None
    answer: OptionsAnswer | BindingAnswer | None = None

    @property
    def checks(self) -> tuple[tuple[str, Check], ...]:
        """Each check with its name."""
        request = "OPTIONS" if self.target.protocol is Protocol.SIP else "Binding"
        return (
            ("connection", self.connection),
            ("TLS", self.tls),
            ("certificate chain", self.chain),
            ("certificate dates", self.expiry),
            ("certificate name", self.name),
            ("WebSocket", self.websocket),
            (request, self.exchange),
        )

    @property
    def standing(self) -> Standing:
        """The worst of the checks that could be made; NOT_TESTED when none could."""
        seen = {check.standing for _, check in self.checks}
        if Standing.FAILED in seen:
            return Standing.FAILED
        return Standing.OK if Standing.OK in seen else Standing.NOT_TESTED
