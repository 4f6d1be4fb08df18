"""ICMP errors that met what a UDP socket sent, as the system keeps them for the socket.

A socket that asked for them has a queue of its own for them (``IP_RECVERR``, Linux).  Besides, the
next call on it fails with the error, which says nothing about the datagram of that call.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from natkit.net import sockaddr
from natkit.net.registry import FRAGMENTATION_NEEDED, Icmp6Type, IcmpType

__all__ = ["CAN_REPORT", "IcmpError", "report", "send_to", "take"]

CAN_REPORT = sys.platform == "linux"
"""Whether :func:`report` works on this platform."""

# <linux/in.h>, <linux/in6.h>; the socket module does not have them in every version.
_IP_RECVERR = 11
_IPV6_RECVERR = 25

# <linux/errqueue.h>: struct sock_extended_err, and who found the error.
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_FROM_THIS_SYSTEM = 1
_FROM_ICMP = (2, 3)

_ANCILLARY_SPACE = 512


class IcmpError(NamedTuple):
    """What met a datagram for ``peer``, a socket address.

    ``error_data`` is the MTU of the next hop where the datagram was too big, else 0;
    ``is_of_this_host``: it was too big for this system's own link already.
    """

    peer: bytes
    icmp_type: int
    icmp_code: int
    error_data: int
    is_of_this_host: bool = False


def report(sock: socket.socket) -> None:
    """Have the system keep ICMP errors for :func:`take`; no more of them than its buffers hold.

    While some are kept, the socket polls as one with an error (``EPOLLERR``).
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def take(sock: socket.socket, limit: int) -> Iterator[IcmpError]:
    """The errors that are kept, up to ``limit`` of them; they are kept no longer.

    A datagram that was too big for this system's own link, with Don't Fragment set, is told as the
    next router would tell it.
    """
    for _ in range(limit):
        try:
            _, ancillary, _, address = sock.recvmsg(
                1, _ANCILLARY_SPACE, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except OSError:
            return
        for level, kind, data in ancillary:
            if (level, kind) in (
                (socket.IPPROTO_IP, _IP_RECVERR),
                (socket.IPPROTO_IPV6, _IPV6_RECVERR),
            ):
                error = _read(data, sockaddr.from_python(address))
                if error is not None:
                    yield error


def send_to(sock: socket.socket, data: bytes, address: sockaddr.PythonAddress) -> None:
    """``sendto``, and once more if the error may be that of an earlier datagram."""
    try:
        sock.sendto(data, address)
    except (BlockingIOError, InterruptedError):
        raise
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            raise
        sock.sendto(data, address)


def _read(data: bytes, peer: bytes) -> IcmpError | None:
    """A ``struct sock_extended_err``, if it tells of what ICMP can tell of."""
    number, origin, icmp_type, icmp_code, information, _ = _EXTENDED_ERROR.unpack_from(data)
    if origin == _FROM_THIS_SYSTEM and number == errno.EMSGSIZE:
        if len(peer) == sockaddr.IPV4_SIZE:
            icmp_type, icmp_code = IcmpType.DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED
        else:
            icmp_type, icmp_code = Icmp6Type.PACKET_TOO_BIG, 0
    elif origin not in _FROM_ICMP:
        return None
    if len(peer) == sockaddr.IPV4_SIZE:
        has_mtu = (icmp_type, icmp_code) == (IcmpType.DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED)
    else:
        has_mtu = icmp_type == Icmp6Type.PACKET_TOO_BIG
    return IcmpError(
        peer, icmp_type, icmp_code, information if has_mtu else 0, origin == _FROM_THIS_SYSTEM
    )
