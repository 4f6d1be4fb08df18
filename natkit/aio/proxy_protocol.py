"""The PROXY protocol, versions 1 and 2: what a load balancer says of the client it connects for.

The specification is HAProxy's (proxy-protocol.txt); sections below are its.
"""

from typing import Final, NamedTuple

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError

__all__ = ["LONGEST_HEADER", "ProxyHeader", "read_proxy_header"]

LONGEST_HEADER: Final = 2048
"""Bytes of the longest header that is waited for: addresses, and the TLVs of a real proxy."""

_LONGEST_TEXT = 107  # §2.1, with its CR LF
_TEXT = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # §2.2
_FIXED_LENGTH = 16
_VERSION_2 = 0x20
_LOCAL = 0
_PROXY = 1
_UNSPECIFIED = 0x00
# Family and protocol in one byte: TCP over IPv4 and over IPv6, and the bytes of a host.
_HOST_LENGTH = {0x11: 4, 0x21: 16}
_FAMILIES = {"TCP4": 4, "TCP6": 16}


class ProxyHeader(NamedTuple):
    """``client`` is None where the proxy speaks for itself, as in a health check.

    ``length`` is the header's in bytes.
    """

    length: int
    client: Address | None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the beginning of a stream; None when more of it must come.

    While it is None all of ``data`` belongs to the header.  Raises MalformedMessage for anything
    but a header for TCP.
    """
    if data.startswith(_SIGNATURE):
        return _read_binary(data)
    if data.startswith(_TEXT):
        return _read_text(data)
    if _SIGNATURE.startswith(data) or _TEXT.startswith(data):
        return None
    raise MalformedMessage("no PROXY header at the beginning of the stream")


def _read_text(data: bytes) -> ProxyHeader | None:
    """§2.1"""
    end = data.find(b"\r\n", 0, _LONGEST_TEXT)
    if end < 0:
        if len(data) >= _LONGEST_TEXT:
            raise MalformedMessage("a PROXY line without end")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    length = end + 2
    if words[1] == "UNKNOWN":
        return ProxyHeader(length, None)
    if len(words) != 6 or words[1] not in _FAMILIES or not words[4].isdecimal():
        raise MalformedMessage("a PROXY line with other than TCP's two addresses")
    try:
        client = Address.of(words[2], int(words[4]))
    except MisuseError as error:
        raise MalformedMessage(f"a PROXY line whose client {error}") from None
    if len(client.packed) != _FAMILIES[words[1]]:
        raise MalformedMessage(f"a PROXY line with {client.host} as {words[1]}")
    return ProxyHeader(length, client)


def _read_binary(data: bytes) -> ProxyHeader | None:
    """§2.2"""
    if len(data) < _FIXED_LENGTH:
        return None
    command = data[12] ^ _VERSION_2
    length = _FIXED_LENGTH + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise MalformedMessage(f"a PROXY header of version and command 0x{data[12]:02x}")
    if length > LONGEST_HEADER:
        raise MalformedMessage(f"a PROXY header of {length} bytes")
    if len(data) < length:
        return None
    if command == _LOCAL or data[13] == _UNSPECIFIED:
        return ProxyHeader(length, None)
    size = _HOST_LENGTH.get(data[13])
    if size is None or length < _FIXED_LENGTH + 2 * size + 4:
        raise MalformedMessage(f"a PROXY header without TCP's addresses: 0x{data[13]:02x}")
    ports = _FIXED_LENGTH + 2 * size
    host = data[_FIXED_LENGTH : _FIXED_LENGTH + size]
    port = int.from_bytes(data[ports : ports + 2], "big")
    return ProxyHeader(length, Address.from_packed(host, port))
