"""A flood with forged sources; only for a network namespace that a test made.

It stops by itself.  ::

    python -m tests.floods.raw_flood KIND[,KIND]… ADDRESS:PORT SOURCES RATE SECONDS
"""

import struct
import sys
from collections.abc import Callable

from natkit.address import Address
from natkit.stun.attributes import Data, RequestedTransport, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import MAGIC_COOKIE, UDP_PROTOCOL, Method
from natkit.turn.channel_data import ChannelData
from tests.floods.raw import MORE_FRAGMENTS, datagram, send_evenly

__all__ = ["KINDS", "dtls_hello"]

_CLAIMS = (0, 4, 0x7FFC, 0xFFFC, 0xFFFF)
_SIZES = (0, 1, 3, 4, 19, 20, 24, 200, 1_400)
_TYPES = (0x0001, 0x0003, 0x0016, 0x4000, 0x7FFF)
_MIXED = len(_CLAIMS) * len(_SIZES) * len(_TYPES)
_CALL = bytes(160)
"""Data of a telephone call's datagram."""
_FEW = 16
# The system's table of neighbours is one for all of its namespaces, and has room for a thousand.
_NEIGHBOURS = 200
_PEER = Address("198.51.100.9", 9)


def dtls_hello() -> bytes:
    """A ClientHello of DTLS 1.2 without a cookie (RFC 6347 §4.2.2), one cipher, no extensions."""
    body = bytes.fromhex("fefd") + bytes(32) + b"\0" + b"\0" + bytes.fromhex("0002c02b 0100")
    length = len(body).to_bytes(3, "big")
    handshake = b"\1" + length + bytes(2) + bytes(3) + length + body
    return bytes.fromhex("16feff 0000 000000000000") + len(handshake).to_bytes(2, "big") + handshake


def _binding(number: int) -> bytes:
    return Message.request(Method.BINDING, number.to_bytes(12, "big")).encode()


def _allocates(number: int, server: Address) -> bytes:
    transport = RequestedTransport(UDP_PROTOCOL)
    request = Message.request(Method.ALLOCATE, number.to_bytes(12, "big"), transport)
    return datagram(_source(number), server, request.encode())


def _dtls_hellos(number: int, server: Address) -> bytes:
    return datagram(_source(number), server, dtls_hello())


def _any_length(number: int) -> bytes:
    """A length that is not the one that the header claims."""
    number %= _MIXED
    kind = _TYPES[number % len(_TYPES)]
    claim = _CLAIMS[number // len(_TYPES) % len(_CLAIMS)]
    size = _SIZES[number // len(_TYPES) // len(_CLAIMS)]
    return (struct.pack("!HHI", kind, claim, MAGIC_COOKIE) + bytes(size))[:size]


def _lengths(number: int, server: Address) -> bytes:
    return datagram(_source(number), server, _any_length(number))


def _udp_lengths(number: int, server: Address) -> bytes:
    """UDP's length says more than came, or less, down to less than its header."""
    data = _any_length(number // len(_SIZES))
    return datagram(_source(number), server, data, length=_SIZES[number % len(_SIZES)])


def _bindings(number: int, server: Address) -> bytes:
    return datagram(_source(number), server, _binding(number))


def _bindings_of_few(number: int, server: Address) -> bytes:
    return datagram(_source(number % _FEW), server, _binding(number))


def _bindings_of_neighbours(number: int, server: Address) -> bytes:
    """From hosts that are not there, on the very link."""
    source = Address(f"192.0.2.{10 + number % _NEIGHBOURS}", 1_024 + number % 60_000)
    return datagram(source, server, _binding(number))


def _channel_data(number: int, server: Address) -> bytes:
    """On channels of nobody."""
    data = ChannelData(0x4000 + number % 0x1000, _CALL).encode(padded=False)
    return datagram(_source(number), server, data)


def _send_indications(number: int, server: Address) -> bytes:
    attributes = (XorPeerAddress(_PEER), Data(_CALL))
    message = Message.indication(Method.SEND, number.to_bytes(12, "big"), *attributes)
    return datagram(_source(number), server, message.encode())


def _fragments(number: int, server: Address) -> bytes:
    """First ones, middle ones and last ones of datagrams that are never whole."""
    part = (MORE_FRAGMENTS, MORE_FRAGMENTS | 32, 64)[number % 3]
    identification = 1 + number % 60_000
    data = ChannelData(0x4000, _CALL).encode(padded=False)
    return datagram(_source(number), server, data, identification=identification, fragment=part)


def _peers(number: int, relayed: Address) -> bytes:
    """Data for a relayed address, from peers that have no permission."""
    return datagram(_source(number), relayed, _CALL)


def _source(number: int) -> Address:
    """11.0.0.7 and so on, each in a /24 of its own."""
    return Address(f"11.{number >> 8 & 255}.{number & 255}.7", 1_024 + number % 60_000)


Form = Callable[[int, Address], bytes]
KINDS: dict[str, Form] = {
    "allocates": _allocates,
    "bindings": _bindings,
    "bindings-of-few": _bindings_of_few,
    "bindings-of-neighbours": _bindings_of_neighbours,
    "channel-data": _channel_data,
    "dtls-hellos": _dtls_hellos,
    "fragments": _fragments,
    "lengths": _lengths,
    "peers": _peers,
    "send-indications": _send_indications,
    "udp-lengths": _udp_lengths,
}
"""The packet of each number, by the name of the flood; several names give some of each."""


def main(kinds: str, target: str, sources: str, rate: str, seconds: str) -> None:
    """Send at ``rate`` packets a second for so many seconds; print how many were sent."""
    destination = Address.parse(target)
    forms = [KINDS[kind] for kind in kinds.split(",")]
    packets = [forms[n % len(forms)](n, destination) for n in range(int(sources))]
    print(send_evenly(packets, destination, int(rate), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
