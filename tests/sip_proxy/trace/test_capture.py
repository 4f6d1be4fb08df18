import struct

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from sip_proxy.trace.capture import as_capture
from sip_proxy.trace.recorder import Recorded

INVITE = b"INVITE sip:bob@example.org SIP/2.0\r\nCall-ID: 1\r\n\r\n"


def packets(capture: bytes) -> list[tuple[float, bytes]]:
    magic, major, minor, _, _, _, link = struct.unpack("!IHHiIII", capture[:24])
    assert (magic, major, minor, link) == (0xA1B2C3D4, 2, 4, 101)
    found, rest = [], capture[24:]
    while rest:
        seconds, microseconds, size, length = struct.unpack("!IIII", rest[:16])
        assert size == length
        found.append((seconds + microseconds / 1e6, rest[16 : 16 + size]))
        rest = rest[16 + size :]
    return found


def checks(data: bytes) -> bool:
    """RFC 1071 §1: with the sum in its place, all ones come out."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("data", [INVITE, INVITE + b"x"])
def test_a_message_is_a_datagram_whose_sums_are_right(is_sent: bool, data: bytes) -> None:
    ours, theirs = Address("192.0.2.5", 5060), Address("192.0.2.10", 4_000)
    message = Recorded(10.25, is_sent, Path(Transport.TLS, ours, theirs), data)
    ((time, packet),) = packets(as_capture([message], 1_000.0))
    assert time == 1_010.25
    header, datagram = packet[:20], packet[20:]
    assert checks(header)
    assert struct.unpack("!BBH", header[:4]) == (0x45, 0, len(packet))
    source, destination = (ours, theirs) if is_sent else (theirs, ours)
    assert header[12:] == source.packed + destination.packed
    assert struct.unpack("!HHH", datagram[:6]) == (source.port, destination.port, len(datagram))
    assert checks(header[12:] + struct.pack("!HH", 17, len(datagram)) + datagram)
    assert datagram[8:28] == INVITE[:20]


def test_ipv6_too() -> None:
    ours, theirs = Address("2001:db8::5", 5060), Address("2001:db8::10", 4_000)
    message = Recorded(0.0, False, Path(Transport.UDP, ours, theirs), INVITE)
    ((_, packet),) = packets(as_capture([message], 0.0))
    assert struct.unpack("!IHBB", packet[:8]) == (6 << 28, len(packet) - 40, 17, 64)
    assert packet[8:40] == theirs.packed + ours.packed
    assert checks(packet[8:40] + struct.pack("!II", len(packet) - 40, 17) + packet[40:])


def test_what_is_longer_than_a_packet_is_cut_and_secrets_are_masked() -> None:
    path = Path(Transport.TCP, Address("192.0.2.5", 5060), Address("192.0.2.10", 4_000))
    long = INVITE.replace(b"Call-ID", b'Authorization: Digest response="SECRET"\r\nCall-ID')
    messages = [Recorded(0.0, False, path, long + bytes(65_535)) for _ in range(2)]
    found = packets(as_capture(messages, 0.0))
    assert [len(packet) for _, packet in found] == [65_535, 65_535]
    assert not any(b"SECRET" in packet for _, packet in found)
