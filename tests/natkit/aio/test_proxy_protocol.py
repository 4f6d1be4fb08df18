"""The headers of the PROXY protocol, versions 1 and 2, cut anywhere, and what is none."""

import random

import pytest

from natkit.address import Address
from natkit.aio.proxy_protocol import LONGEST_HEADER, ProxyHeader, read_proxy_header
from natkit.errors import MalformedMessage

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = bytes([203, 0, 113, 9, 192, 0, 2, 1]) + (4711).to_bytes(2, "big") + b"\x0d\x96"
IPV6 = Address("2001:db8::9", 0).packed * 2 + (4711).to_bytes(2, "big") + b"\x0d\x96"


def binary(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


GOOD = [
    (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 3478\r\n", Address("203.0.113.9", 4711)),
    (b"PROXY TCP6 2001:DB8::9 2001:db8::1 4711 3478\r\n", Address("2001:db8::9", 4711)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (binary(0x21, 0x11, IPV4), Address("203.0.113.9", 4711)),
    (binary(0x21, 0x21, IPV6), Address("2001:db8::9", 4711)),
    (binary(0x21, 0x11, IPV4 + b"\x03\0\x04crc!"), Address("203.0.113.9", 4711)),
    (binary(0x20, 0x11, IPV4), None),
    (binary(0x20, 0x00, b""), None),
    (binary(0x21, 0x00, b""), None),
]


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_a_header_says_who_the_client_is(header: bytes, client: Address | None) -> None:
    expected = ProxyHeader(len(header), client)
    assert read_proxy_header(header) == expected
    # What follows is the client's, whatever it is.
    assert read_proxy_header(header + b"\r\nPROXY \0") == expected
    for length in range(len(header)):
        assert read_proxy_header(header[:length]) is None, length


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01",
        b"\0\x01",
        b"PROXZ",
        b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        b"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n",
        b"PROXY \xff\r\n",
        b"PROXY \r\n",
        b"PROXY " + b"x" * 101,
        binary(0x11, 0x11, IPV4),
        binary(0x22, 0x11, IPV4),
        binary(0x21, 0x12, IPV4),
        binary(0x21, 0x31, IPV4),
        binary(0x21, 0x11, IPV4[:-1]),
        binary(0x21, 0x21, IPV4),
        binary(0x21, 0x11, bytes(LONGEST_HEADER))[:16],
    ],
)
def test_what_is_no_header_for_tcp_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_proxy_header(data)


def test_any_bytes_are_read_or_refused() -> None:
    seed = 20261123
    print(f"seed {seed}")
    source = random.Random(seed)
    for _ in range(5_000):
        header = bytearray(source.choice(GOOD)[0])
        for _ in range(source.randrange(1, 5)):
            header[source.randrange(len(header))] = source.randrange(256)
        try:
            found = read_proxy_header(bytes(header))
        except MalformedMessage:
            continue
        assert found is None or 0 < found.length <= LONGEST_HEADER
