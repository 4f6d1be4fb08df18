"""Datagrams that must not be fragmented on their way."""

import contextlib
import socket
import sys
from collections.abc import Iterator

__all__ = ["CAN_FORBID", "allow", "forbidden", "probe"]

# <linux/in.h>, <linux/in6.h>; the socket module does not have them in every version.
_IPV6_MTU_DISCOVER = 23
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DO = 2
_IP_PMTUDISC_PROBE = 3
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


def probe(sock: socket.socket) -> None:
    """Set Don't Fragment on all that ``sock`` sends from now on; OSError where the system can't.

    A datagram is refused with EMSGSIZE where it is longer than the interface's MTU; what routers
    said before about the path does not count (RFC 4821 wants it tried).
    """
    if not CAN_FORBID:
        raise OSError("this platform does not let a program set Don't Fragment")
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)


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
