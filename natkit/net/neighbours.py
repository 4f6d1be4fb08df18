"""The hardware addresses of hosts next to this one, as Linux keeps them (rtnetlink(7))."""

import socket
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

from natkit.net.netlink import ATTRIBUTE, attributes, dump, message, open_requests

__all__ = ["Neighbour", "read_neighbours", "refresh_neighbours"]

# <linux/rtnetlink.h>, <linux/neighbour.h>
_NEIGHBOUR = struct.Struct("=B3xiHBB")
_NEW_NEIGHBOUR, _GET_NEIGHBOUR = 28, 30
_DESTINATION = 1
_USE = 1
_STALE = 0x04


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
    request = _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return tuple(each for body in dump(_GET_NEIGHBOUR, request) for each in _read(body))


def refresh_neighbours(interfaces: Collection[int]) -> None:
    """Have the system ask whether those that it has not heard of for a while are still there.

    As it does by itself before it sends to them; for senders that are not the system.  Needs
    CAP_NET_ADMIN.  Raises OSError.
    """
    stale = [each for each in read_neighbours() if each.is_stale and each.interface in interfaces]
    if not stale:
        return
    with open_requests() as sock:
        for each in stale:
            family = socket.AF_INET if len(each.address) == 4 else socket.AF_INET6
            body = _NEIGHBOUR.pack(family, each.interface, 0, _USE, 0)
            body += ATTRIBUTE.pack(ATTRIBUTE.size + len(each.address), _DESTINATION)
            sock.send(message(_NEW_NEIGHBOUR, body + each.address))


def _read(body: bytes) -> Iterator[Neighbour]:
    _, interface, state, _, _ = _NEIGHBOUR.unpack_from(body)
    for kind, value in attributes(body, _NEIGHBOUR.size):
        if kind == _DESTINATION:
            yield Neighbour(interface, value, state)
            return
