"""What the driver of a network interface can do, as the kernel says (netlink(7), "netdev")."""

import struct
import sys

from natkit.net.netlink import ATTRIBUTE, ask, attributes, open_requests

__all__ = ["runs_xdp"]

# <linux/netlink.h>, <linux/genetlink.h>, <linux/netdev.h>
_NETLINK_GENERIC = 16
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_GET_DEVICE, _INTERFACE, _XDP_FEATURES = 1, 1, 3
_XDP_BASIC, _XDP_REDIRECT = 1 << 0, 1 << 1
_HEADER = struct.Struct("=BB2x")  # struct genlmsghdr
_NUMBER = struct.Struct("=I")


def runs_xdp(interface: int) -> bool | None:
    """Whether the driver of an interface, by number, runs programs of XDP that send elsewhere.

    None where the kernel does not tell, as before Linux 6.3.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open_requests(_NETLINK_GENERIC) as sock:
            name = _request(_GET_FAMILY, _FAMILY_NAME, b"netdev\0")
            family = _answer(ask(sock, _CONTROL, name), _FAMILY_ID)
            device = _request(_GET_DEVICE, _INTERFACE, _NUMBER.pack(interface))
            features = _answer(ask(sock, family, device), _XDP_FEATURES)
    except OSError:
        return None
    needed = _XDP_BASIC | _XDP_REDIRECT
    return features & needed == needed


def _request(command: int, attribute: int, value: bytes) -> bytes:
    header = ATTRIBUTE.pack(ATTRIBUTE.size + len(value), attribute)
    return _HEADER.pack(command, 1) + header + value


def _answer(body: bytes, attribute: int) -> int:
    """An attribute that is a number; 0 where it is missing."""
    found = dict(attributes(body, _HEADER.size)).get(attribute, b"")
    return int.from_bytes(found, sys.byteorder)
