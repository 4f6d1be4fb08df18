"""What crosses a link: an IP packet with a datagram or a segment of a stream in it."""

from dataclasses import dataclass
from enum import Enum

from natkit.address import Address, Family


class Protocol(Enum):
    """The two protocols that the NATs know."""

    UDP = "udp"
    TCP = "tcp"


class SegmentKind(Enum):
    """What a segment of a stream says."""

    SYN = "syn"
    DATA = "data"
    FIN = "fin"
    ACK = "ack"
    RST = "rst"


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stream: ``number`` counts segments, not bytes, and SYN is number 0.

    ``incarnation`` tells a connection from an earlier one between the same addresses;
    ``acknowledged`` is the number of the next segment that its sender waits for.
    """

    kind: SegmentKind
    incarnation: int
    number: int
    acknowledged: int
    data: bytes = b""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.number}/{self.acknowledged} {len(self.data)} bytes"


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet."""

    protocol: Protocol
    source: Address
    destination: Address
    payload: bytes | Segment

    @property
    def size(self) -> int:
        """Bytes on the wire from the IP header on, for the MTU."""
        ip_header = 20 if self.source.family is Family.IPV4 else 40
        if isinstance(self.payload, Segment):
            return ip_header + 20 + len(self.payload.data)
        return ip_header + 8 + len(self.payload)

    def with_source(self, source: Address) -> "Packet":
        """The packet after its source was translated."""
        return Packet(self.protocol, source, self.destination, self.payload)

    def with_destination(self, destination: Address) -> "Packet":
        """The packet after its destination was translated."""
        return Packet(self.protocol, self.source, destination, self.payload)

    def with_data(self, data: bytes) -> "Packet":
        """The packet after a gateway rewrote its datagram."""
        return Packet(self.protocol, self.source, self.destination, data)

    def __str__(self) -> str:
        ends = f"{self.protocol.value} {self.source} → {self.destination}"
        if isinstance(self.payload, Segment):
            return f"{ends} {self.payload}"
        return f"{ends} {len(self.payload)} bytes {self.payload[:20].hex()}"
