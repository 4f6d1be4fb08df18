"""Ethernet frames, written by hand and read: what a test puts on a cable, and what it finds."""

import ipaddress
import socket
import struct
from dataclasses import dataclass

ETH_IPV4, ETH_IPV6, ETH_VLAN = 0x0800, 0x86DD, 0x8100
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")
DONT_FRAGMENT = 0x4000
_FRAGMENT_HEADER = 44


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    """What the UDP checksum covers besides the datagram (RFC 768, RFC 8200 §8.1)."""
    return source + destination + struct.pack("!IHH", length, 0, socket.IPPROTO_UDP)


@dataclass(frozen=True, slots=True)
class Frame:
    """A UDP datagram as it stands on the wire, from the Ethernet header on.

    ``mark`` has DSCP and ECN.  What is None is as it should be.
    """

    to_mac: bytes
    from_mac: bytes
    source: tuple[str, int]
    destination: tuple[str, int]
    data: bytes
    mark: int = 0
    ttl: int = 64
    dont_fragment: bool = False
    options: bytes = b""
    vlan: int | None = None
    udp_checksum: int | None = None
    ip_checksum: int | None = None
    udp_length: int | None = None
    trailer: bytes = b""
    is_unfinished: bool = False
    """The checksum has the sum of the pseudo header alone, and is left to a card."""
    fragment: tuple[int, int] | None = None
    """Only so many bytes of what IP carries, or where the first number is 0, those after them."""

    def encode(self) -> bytes:
        """The bytes."""
        source, destination = (
            ipaddress.ip_address(end[0]).packed for end in (self.source, self.destination)
        )
        is_ipv4 = len(source) == 4
        length = _UDP.size + len(self.data) if self.udp_length is None else self.udp_length
        head = _UDP.pack(self.source[1], self.destination[1], length, 0)
        pseudo = pseudo_header(source, destination, length)
        if self.is_unfinished:
            found = ~checksum(pseudo) & 0xFFFF
        elif self.udp_checksum is None:
            found = checksum(pseudo + head + self.data) or 0xFFFF
        else:
            found = self.udp_checksum
        udp = head[:6] + found.to_bytes(2, "big") + self.data
        offset = 0
        if self.fragment is not None:
            first, cut = self.fragment
            udp, offset = (udp[:cut], 0x2000) if first else (udp[cut:], cut // 8)
        ip = (self._ipv4 if is_ipv4 else self._ipv6)(source, destination, len(udp), offset)
        protocol = ETH_IPV4 if is_ipv4 else ETH_IPV6
        if self.vlan is None:
            ethernet = _ETHERNET.pack(self.to_mac, self.from_mac, protocol)
        else:
            ethernet = _ETHERNET.pack(self.to_mac, self.from_mac, ETH_VLAN) + struct.pack(
                "!HH", self.vlan, protocol
            )
        return ethernet + ip + udp + self.trailer

    @property
    def sum_from(self) -> int:
        """Where the UDP datagram begins, if the sum from there on is left to a card; or 0."""
        if not self.is_unfinished:
            return 0
        return len(self.encode()) - len(self.trailer) - len(self.data) - _UDP.size

    def _ipv4(self, source: bytes, destination: bytes, length: int, offset: int) -> bytes:
        flags = offset | (DONT_FRAGMENT if self.dont_fragment else 0)
        words = 5 + len(self.options) // 4
        head = _IPV4.pack(
            0x40 | words,
            self.mark,
            4 * words + length,
            7,
            flags,
            self.ttl,
            socket.IPPROTO_UDP,
            0,
            source,
            destination,
        )
        head += self.options
        found = checksum(head) if self.ip_checksum is None else self.ip_checksum
        return head[:10] + found.to_bytes(2, "big") + head[12:]

    def _ipv6(self, source: bytes, destination: bytes, length: int, offset: int) -> bytes:
        assert not offset
        first = 6 << 28 | self.mark << 20
        return _IPV6.pack(first, length, socket.IPPROTO_UDP, self.ttl, source, destination)


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """A datagram, or a fragment of one, as it was found on the wire."""

    source: str
    destination: str
    mark: int
    ttl: int
    dont_fragment: bool
    fragments: int
    """How many it came in, or 0."""
    vlan: int
    body: bytes
    """The UDP datagram with a checksum of 0."""


class BadFrame(Exception):
    """It is not as any frame must be."""


class Reader:
    """Reads the frames of one wire, one after the other."""

    def __init__(self) -> None:
        self._fragments: dict[tuple[bytes, bytes, int], list[tuple[int, bytes]]] = {}

    def read(self, frame: bytes, *, may_be_partial: bool) -> Seen | None:
        """The datagram that is whole with this frame; None where that is none, or not UDP.

        ``may_be_partial``: the sum over the data may have been left to a card.  BadFrame: lengths
        or sums are wrong.
        """
        protocol: int = struct.unpack_from("!H", frame, 12)[0]
        at, vlan = _ETHERNET.size, 0
        if protocol == ETH_VLAN:
            vlan, protocol = struct.unpack_from("!HH", frame, at)
            at += 4
        if protocol not in (ETH_IPV4, ETH_IPV6):
            return None
        read = _read_ipv4 if protocol == ETH_IPV4 else _read_ipv6
        ip = read(frame, at)
        if ip.protocol != socket.IPPROTO_UDP:
            return None
        body, fragments = ip.body, 0
        if ip.offset or ip.has_more:
            pieces = self._fragments.setdefault((ip.source, ip.destination, ip.identification), [])
            pieces.append((ip.offset, ip.body))
            if ip.has_more:
                return None
            body, fragments = b"".join(piece for _, piece in sorted(pieces)), len(pieces)
            del self._fragments[ip.source, ip.destination, ip.identification]
        body = _without_checksum(body, ip.source, ip.destination, may_be_partial=may_be_partial)
        return Seen(
            str(ipaddress.ip_address(ip.source)),
            str(ipaddress.ip_address(ip.destination)),
            ip.mark,
            ip.ttl,
            ip.dont_fragment,
            fragments,
            vlan,
            body,
        )


@dataclass(frozen=True, slots=True)
class _Ip:
    source: bytes
    destination: bytes
    protocol: int
    mark: int
    ttl: int
    identification: int
    offset: int
    has_more: bool
    dont_fragment: bool
    body: bytes


def _read_ipv4(frame: bytes, at: int) -> _Ip:
    first, mark, total, number, flags, ttl, upper, _, source, destination = _IPV4.unpack_from(
        frame, at
    )
    size = 4 * (first & 15)
    if checksum(frame[at : at + size]):
        raise BadFrame("the IP header's checksum is wrong")
    body = frame[at + size : at + total]
    if len(body) != total - size or at + total != len(frame):
        raise BadFrame(f"{len(frame) - at} bytes where the IP header says {total}")
    return _Ip(
        source,
        destination,
        upper,
        mark,
        ttl,
        number,
        8 * (flags & 0x1FFF),
        bool(flags & 0x2000),
        bool(flags & DONT_FRAGMENT),
        body,
    )


def _read_ipv6(frame: bytes, at: int) -> _Ip:
    word, length, upper, ttl, source, destination = _IPV6.unpack_from(frame, at)
    body = frame[at + _IPV6.size : at + _IPV6.size + length]
    if len(body) != length or at + _IPV6.size + length != len(frame):
        raise BadFrame(f"{len(frame) - at} bytes where the IP header says 40 and {length}")
    number, fragment = 0, 0
    if upper == _FRAGMENT_HEADER:
        upper, fragment, number = struct.unpack_from("!BxHI", body)
        body = body[8:]
    return _Ip(
        source,
        destination,
        upper,
        word >> 20 & 0xFF,
        ttl,
        number,
        fragment & 0xFFF8,
        bool(fragment & 1),
        dont_fragment=False,
        body=body,
    )


def _without_checksum(
    body: bytes, source: bytes, destination: bytes, *, may_be_partial: bool
) -> bytes:
    _, _, length, found = _UDP.unpack_from(body)
    if length != len(body):
        raise BadFrame(f"{len(body)} bytes where the UDP header says {length}")
    pseudo = pseudo_header(source, destination, length)
    if found == 0:
        raise BadFrame("a datagram without a checksum")
    is_partial = may_be_partial and found == ~checksum(pseudo) & 0xFFFF
    if checksum(pseudo + body) and not is_partial:
        raise BadFrame("the UDP checksum is wrong")
    return body[:6] + bytes(2) + body[8:]
