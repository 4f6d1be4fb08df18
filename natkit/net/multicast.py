"""Datagram sockets that belong to a group on one interface, and hear nothing else."""

import socket
import struct
import sys

from natkit.address import Address, Family
from natkit.net import sockaddr

__all__ = ["group_socket"]

# <linux/in.h>, <linux/in6.h>; the socket module does not have them.
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29


def group_socket(group: Address, interface: str, host: str, *, hop_limit: int) -> socket.socket:
    """A non-blocking socket on ``group``, which sends to it from ``interface`` alone.

    ``host`` is the interface's address, which IPv4 knows it by.  Others on this machine may have
    the same group and port, and hear the same.  What is sent to the group comes back to this
    machine too.  Raises OSError.
    """
    family = group.family
    sock = socket.socket(family.socket_family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is Family.IPV6:
            _join_ipv6(sock, group, interface, hop_limit)
        else:
            _join_ipv4(sock, group, host, hop_limit)
        # Bound to the group: what is sent to this machine alone is not for it, except on Windows,
        # which binds to addresses of its own only.
        to = group if sys.platform != "win32" else Address(_wildcard(family), group.port)
        sock.bind(sockaddr.python_address(to))
    except OSError:
        sock.close()
        raise
    return sock


def _join_ipv4(sock: socket.socket, group: Address, host: str, hop_limit: int) -> None:
    interface = socket.inet_aton(host)
    level = socket.IPPROTO_IP
    if sys.platform == "linux":
        sock.setsockopt(level, _IP_MULTICAST_ALL, 0)
    sock.setsockopt(level, socket.IP_ADD_MEMBERSHIP, group.packed + interface)
    sock.setsockopt(level, socket.IP_MULTICAST_IF, interface)
    sock.setsockopt(level, socket.IP_MULTICAST_TTL, hop_limit)
    sock.setsockopt(level, socket.IP_MULTICAST_LOOP, 1)


def _join_ipv6(sock: socket.socket, group: Address, interface: str, hop_limit: int) -> None:
    number = socket.if_nametoindex(interface)
    level = socket.IPPROTO_IPV6
    sock.setsockopt(level, socket.IPV6_V6ONLY, 1)
    if sys.platform == "linux":
        sock.setsockopt(level, _IPV6_MULTICAST_ALL, 0)
    sock.setsockopt(level, socket.IPV6_JOIN_GROUP, group.packed + struct.pack("@I", number))
    sock.setsockopt(level, socket.IPV6_MULTICAST_IF, number)
    sock.setsockopt(level, socket.IPV6_MULTICAST_HOPS, hop_limit)
    sock.setsockopt(level, socket.IPV6_MULTICAST_LOOP, 1)


def _wildcard(family: Family) -> str:
    return "::" if family is Family.IPV6 else "0.0.0.0"  # noqa: S104 - the group is what is heard
