"""A flood with forged sources; only for a network namespace that a test made.

It stops by itself.  ::

    python -m tests.floods.raw_flood KIND SERVER:PORT SOURCES RATE SECONDS
"""

import struct
import sys
from collections.abc import Callable

from natkit.address import Address
from natkit.stun.attributes import RequestedTransport
from natkit.stun.message import Message
from natkit.stun.registry import MAGIC_COOKIE, UDP_PROTOCOL, Method
from tests.floods.raw import datagram, send_evenly

__all__ = ["KINDS", "dtls_hello"]

_CLAIMS = (0, 4, 0x7FFC, 0xFFFC, 0xFFFF)
_SIZES = (0, 1, 3, 4, 19, 20, 24, 200, 1_400)
_TYPES = (0x0001, 0x0003, 0x0016, 0x4000, 0x7FFF)
_MIXED = len(_CLAIMS) * len(_SIZES) * len(_TYPES)


def dtls_hello() -> bytes:
    """A ClientHello of DTLS 1.2 without a cookie (RFC 6347 §4.2.2), one cipher, no extensions."""
    body = bytes.fromhex("fefd") + bytes(32) + b"\0" + b"\0" + bytes.fromhex("0002c02b 0100")
    length = len(body).to_bytes(3, "big")
    handshake = b"\1" + length + bytes(2) + bytes(3) + length + body
    return bytes.fromhex("16feff 0000 000000000000") + len(handshake).to_bytes(2, "big") + handshake


def _allocate(number: int) -> bytes:
    transport = RequestedTransport(UDP_PROTOCOL)
    return Message.request(Method.ALLOCATE, number.to_bytes(12, "big"), transport).encode()


def _hello(_: int) -> bytes:
    return dtls_hello()


def _any_length(number: int) -> bytes:
    """A length that is not the one that the header claims."""
    number %= _MIXED
    kind = _TYPES[number % len(_TYPES)]
    claim = _CLAIMS[number // len(_TYPES) % len(_CLAIMS)]
    size = _SIZES[number // len(_TYPES) // len(_CLAIMS)]
    return (struct.pack("!HHI", kind, claim, MAGIC_COOKIE) + bytes(size))[:size]


KINDS: dict[str, Callable[[int], bytes]] = {
    "allocates": _allocate,
    "dtls-hellos": _hello,
    "lengths": _any_length,
}
"""What comes from the source of each number, by name."""


def _source(number: int) -> Address:
    """11.0.0.7 and so on, each in a /24 of its own."""
    return Address(f"11.{number >> 8 & 255}.{number & 255}.7", 1_024 + number % 60_000)


def main(kind: str, server: str, sources: str, rate: str, seconds: str) -> None:
    """Send at ``rate`` packets a second for so many seconds; print how many were sent."""
    destination = Address.parse(server)
    form = KINDS[kind]
    packets = [datagram(_source(n), destination, form(n)) for n in range(int(sources))]
    print(send_evenly(packets, destination, int(rate), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
