"""The hardware addresses of hosts next to this one, as Linux keeps them (rtnetlink(7))."""

import os
import socket
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

from natkit.net.netlink import PIECE

__all__ = ["Neighbour", "read_neighbours", "refresh_neighbours"]

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/neighbour.h>
_HEADER = struct.Struct("=IHHII")
_NEIGHBOUR = struct.Struct("=B3xiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_NEW_NEIGHBOUR, _GET_NEIGHBOUR = 28, 30
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_DESTINATION = 1
_USE = 1
_STALE = 0x04
_PATIENCE = 5.0


class Neighbour(NamedTuple):
    """A host on the wire of interface number ``interface``; ``address`` is in network order."""

    interface: int
    address: bytes
    state: int

    @property
    def is_stale(self) -> bool:
        """Whether it has not been heard of for a while, and nobody has asked since."""
        return self.state == _STALE


def read_neighbours() -> tuple[Neighbour, ...]:
    """All that are known.  Raises OSError."""
    with _open() as sock:
        request = _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(_message(_GET_NEIGHBOUR, _REQUEST | _DUMP, request))
        found: list[Neighbour] = []
        while True:
            for kind, body in _messages(sock.recv(PIECE)):
                if kind == _DONE:
                    return tuple(found)
                if kind == _ERROR:
                    number: int = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, os.strerror(number))
                if kind == _NEW_NEIGHBOUR:
                    found += _read(body)


def refresh_neighbours(interfaces: Collection[int]) -> None:
    """Have the system ask whether those that it has not heard of for a while are still there.

    As it does by itself before it sends to them; for senders that are not the system.  Needs
    CAP_NET_ADMIN.  Raises OSError.
    """
    stale = [each for each in read_neighbours() if each.is_stale and each.interface in interfaces]
    if not stale:
        return
    with _open() as sock:
        for each in stale:
            family = socket.AF_INET if len(each.address) == 4 else socket.AF_INET6
            body = _NEIGHBOUR.pack(family, each.interface, 0, _USE, 0)
            body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(each.address), _DESTINATION)
            sock.send(_message(_NEW_NEIGHBOUR, _REQUEST, body + each.address))


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.settimeout(_PATIENCE)
    return sock


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) // 4 * 4 :]


def _read(body: bytes) -> Iterator[Neighbour]:
    _, interface, state, _, _ = _NEIGHBOUR.unpack_from(body)
    at = _NEIGHBOUR.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind == _DESTINATION:
            yield Neighbour(interface, body[at + _ATTRIBUTE.size : at + length], state)
            return
        at += max(_ATTRIBUTE.size, (length + 3) // 4 * 4)
