"""What Linux tells of its addresses beyond the addresses themselves, and that something changed.

What reads it, :mod:`natkit.net.rtnetlink`, is much to load, and is loaded by who asks.  Where
pyroute2 is not installed, or the system is another, nothing is told.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from natkit.net.interfaces import InterfaceAddress

__all__ = [
    "ATTRIBUTE",
    "PIECE",
    "AddressDetails",
    "ask",
    "attributes",
    "drain",
    "dump",
    "message",
    "open_requests",
    "open_signal",
    "read_details",
]

PIECE = 65_536
"""Bytes that are read from the kernel at a time."""

ATTRIBUTE = struct.Struct("=HH")
"""How long an attribute is with this header, and what it is."""

# <linux/netlink.h>
_HEADER = struct.Struct("=IHHII")
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class AddressDetails:
    """What the kernel says of an address; the first three are of IPv6.

    ``temporary``: made for privacy, and replaced before long (RFC 8981).  ``deprecated``: not for
    new flows (RFC 4862 §5.5.4).  ``tentative``: not yet known to be nobody else's (§5.4), and of no
    use until then.  ``mtu``: the interface's, in bytes.
    """

    temporary: bool
    deprecated: bool
    tentative: bool
    mtu: int


def read_details() -> Mapping[InterfaceAddress, AddressDetails]:
    """The details of every address; empty where the platform does not tell.  Raises OSError."""
    try:
        from natkit.net.rtnetlink import read_details as read  # noqa: PLC0415
    except ImportError:
        return {}
    return read()


def open_signal() -> socket.socket | None:
    """A non-blocking socket that becomes readable when an address, a link or a route changes.

    To be emptied by :func:`drain`.  None where the platform does not tell.  Raises OSError.
    """
    try:
        from natkit.net.rtnetlink import open_signal as opened  # noqa: PLC0415
    except ImportError:
        return None
    return opened()


def drain(signal: socket.socket) -> None:
    """Take all that waits; what it says is read anew from the kernel.

    That messages were lost (ENOBUFS) is a change like any other.
    """
    while True:
        try:
            signal.recv(PIECE)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return


def open_requests(family: int | None = None) -> socket.socket:
    """A socket that takes each :func:`message`, for routes and what belongs to them if not said.

    Raises OSError.
    """
    family = socket.NETLINK_ROUTE if family is None else family
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
    sock.settimeout(_PATIENCE)
    return sock


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A request of that kind, of <linux/rtnetlink.h>."""
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body


def dump(kind: int, body: bytes) -> Iterator[bytes]:
    """What the kernel answers to a request for all there is.  Raises OSError."""
    with open_requests() as sock:
        sock.send(message(kind, body, _DUMP))
        while True:
            for answer, found in _messages(sock.recv(PIECE)):
                if answer == _DONE:
                    return
                yield found


def ask(sock: socket.socket, kind: int, body: bytes) -> bytes:
    """What the kernel answers to one request.  Raises OSError."""
    sock.send(message(kind, body))
    return next(found for _, found in _messages(sock.recv(PIECE)))


def attributes(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Those that begin there, each with what it is."""
    while at + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, at)
        yield kind, body[at + ATTRIBUTE.size : at + length]
        at += max(ATTRIBUTE.size, (length + 3) // 4 * 4)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        body = data[_HEADER.size : length]
        if kind == _ERROR:
            number: int = -struct.unpack_from("=i", body)[0]
            raise OSError(number, os.strerror(number))
        yield kind, body
        data = data[(length + 3) // 4 * 4 :]
