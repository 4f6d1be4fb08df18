"""Socket addresses as the bytes that the kernel reads and writes.

A peer's address stays in this form on the hot path: it is a dictionary key as it is.  The layout is
that of Linux's ``struct sockaddr_in`` and ``sockaddr_in6``; the portable batch, which goes through
the socket module, keeps addresses in the same form.
"""

import socket
import struct
from functools import lru_cache

from natkit.address import Address
from natkit.errors import MisuseError

__all__ = [
    "HOST",
    "IPV4_SIZE",
    "IPV6_SIZE",
    "NETWORK",
    "from_python",
    "host_bytes",
    "of_parts",
    "pack",
    "port_of",
    "python_address",
    "size_for",
    "to_python",
    "unpack",
]

IPV4_SIZE = 16
"""Bytes of a ``sockaddr_in``: family, port, address, eight of zero."""

IPV6_SIZE = 28
"""Bytes of a ``sockaddr_in6``: family, port, flow label, address, scope."""

HOST = {IPV4_SIZE: slice(4, 8), IPV6_SIZE: slice(8, 24)}
"""By size, where in a socket address the IP address lies, in network order."""

NETWORK = {IPV4_SIZE: slice(4, 7), IPV6_SIZE: slice(8, 15)}
"""By size, where its network lies: an IPv4 /24, an IPv6 /56, the least that one site has."""

PythonAddress = tuple[str, int] | tuple[str, int, int, int]
"""What the socket module calls an address."""

_KEPT = 4096
"""Addresses whose other form is kept: that of a peer is asked for with each packet."""

_FAMILY = struct.Struct("=H")
_SCOPE = struct.Struct("=I")
_IPV4_HEAD = _FAMILY.pack(socket.AF_INET)
_IPV6_HEAD = _FAMILY.pack(socket.AF_INET6)


def size_for(family: int) -> int:
    """How many bytes the addresses of a socket of ``family`` have."""
    return IPV6_SIZE if family == socket.AF_INET6 else IPV4_SIZE


def of_parts(host: bytes, port: int, scope: int = 0) -> bytes:
    """From an IP address of 4 or 16 bytes, a port and, for IPv6, an interface's number."""
    if len(host) == 4:
        return _IPV4_HEAD + port.to_bytes(2, "big") + host + bytes(8)
    return _IPV6_HEAD + port.to_bytes(2, "big") + bytes(4) + host + _SCOPE.pack(scope)


def pack(address: Address) -> bytes:
    """The socket address of ``address``; MisuseError when its zone names no interface."""
    zone = address.host.partition("%")[2]
    return of_parts(address.packed, address.port, _interface_number(zone) if zone else 0)


def unpack(name: bytes) -> Address:
    """The Address that ``name`` stands for, with its zone as an interface's name if it has one."""
    host = host_bytes(name)
    if len(host) == 4:
        return Address(socket.inet_ntoa(host), port_of(name))
    scope = _SCOPE.unpack_from(name, 24)[0]
    text = socket.inet_ntop(socket.AF_INET6, host)
    return Address(f"{text}%{_interface_name(scope)}" if scope else text, port_of(name))


def from_python(address: PythonAddress) -> bytes:
    """From what the socket module gives as a datagram's source."""
    if len(address) == 2:
        return of_parts(socket.inet_aton(address[0]), address[1])
    host = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return of_parts(host, address[1], address[3])


@lru_cache(_KEPT)
def to_python(name: bytes) -> PythonAddress:
    """For the socket module, as a datagram's destination."""
    host = host_bytes(name)
    if len(host) == 4:
        return socket.inet_ntoa(host), port_of(name)
    scope = _SCOPE.unpack_from(name, 24)[0]
    return socket.inet_ntop(socket.AF_INET6, host), port_of(name), 0, scope


def python_address(address: Address) -> PythonAddress:
    """``address`` for the socket module; MisuseError when its zone names no interface."""
    # The socket module looks a zone up by getaddrinfo, which knows fewer of them.
    return to_python(pack(address)) if "%" in address.host else address


def host_bytes(name: bytes) -> bytes:
    """The IP address alone, 4 or 16 bytes in network order."""
    return name[HOST[len(name)]]


def port_of(name: bytes) -> int:
    """The port alone."""
    return int.from_bytes(name[2:4], "big")


def _interface_number(zone: str) -> int:
    if zone.isascii() and zone.isdigit():
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        raise MisuseError(f"{zone!r} is not a network interface of this machine") from None


def _interface_name(scope: int) -> str:
    try:
        return socket.if_indextoname(scope)
    except OSError:
        return str(scope)
