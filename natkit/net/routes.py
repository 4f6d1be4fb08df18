"""Which way the system would send."""

import socket
import struct
import sys
from collections.abc import Iterator
from itertools import islice

from natkit.address import Address
from natkit.net import sockaddr
from natkit.net.netlink import attributes, dump

__all__ = ["default_interfaces", "source_for"]

# <linux/rtnetlink.h>
_GET_ROUTE = 26
_ROUTE = struct.Struct("=BB5xBI")
_NEXT_HOP = struct.Struct("=HBBi")
_UNICAST = 1
_OUT, _SEVERAL = 4, 9
_MOST = 10_000
"""Of the routes of a family, so many are looked at: a table may hold those of the whole Internet,
and a default route stands among the first ones."""


def source_for(remote: Address) -> Address:
    """The local address, with port 0, from which the system would send to ``remote``.

    Sends nothing.  Raises OSError when there is no route.
    """
    with socket.socket(remote.family.socket_family, socket.SOCK_DGRAM) as sock:
        sock.connect(sockaddr.python_address(remote))
        return sockaddr.unpack(sockaddr.from_python(sock.getsockname()))._replace(port=0)


def default_interfaces() -> frozenset[int]:
    """The interfaces that default routes lead out by, by number.  Raises OSError.

    There are none where the platform does not tell.
    """
    if not sys.platform.startswith("linux"):
        return frozenset()
    return frozenset(
        interface
        for family in (socket.AF_INET, socket.AF_INET6)
        for body in islice(dump(_GET_ROUTE, _ROUTE.pack(family, 0, 0, 0)), _MOST)
        for interface in _out_by(body)
    )


def _out_by(body: bytes) -> Iterator[int]:
    """Where a route leads out, if it is a default route."""
    _, length, kind, _ = _ROUTE.unpack_from(body)
    if length or kind != _UNICAST:
        return
    for attribute, value in attributes(body, _ROUTE.size):
        if attribute == _OUT:
            yield int.from_bytes(value, sys.byteorder)
        elif attribute == _SEVERAL:
            while len(value) >= _NEXT_HOP.size:
                size, _, _, interface = _NEXT_HOP.unpack_from(value)
                yield interface
                value = value[max(_NEXT_HOP.size, (size + 3) // 4 * 4) :]  # noqa: PLW2901
