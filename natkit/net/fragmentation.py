"""Datagrams that must not be fragmented on their way."""

import contextlib
import socket
import sys
from collections.abc import Iterator

__all__ = ["CAN_FORBID", "allow", "forbidden"]

# <linux/in.h>; the socket module does not have them in every version.
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DO = 2
_IP_PMTUDISC_OMIT = 5

CAN_FORBID = sys.platform == "linux" and hasattr(socket, "IPV6_DONTFRAG")
"""Whether :func:`forbidden` works on this platform."""


def allow(sock: socket.socket) -> None:
    """Clear Don't Fragment on what ``sock`` sends over IPv4, where the system can.

    Errors of ICMP about what was sent otherwise, by :func:`forbidden`, are still reported.  IPv6
    has no such bit: the system sends fragments where it knows that the path needs them.
    """
    if CAN_FORBID and sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_OMIT)


@contextlib.contextmanager
def forbidden(sock: socket.socket) -> Iterator[None]:
    """Set Don't Fragment on what ``sock`` sends meanwhile; OSError where the system can't.

    A datagram that is longer than the path allows is then refused with EMSGSIZE.
    """
    if not CAN_FORBID:
        raise OSError("this platform does not let a program set Don't Fragment")
    if sock.family == socket.AF_INET6:
        level, option, value = socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, 1
    else:
        level, option, value = socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO
    before = sock.getsockopt(level, option)
    sock.setsockopt(level, option, value)
    try:
        yield
    finally:
        sock.setsockopt(level, option, before)
