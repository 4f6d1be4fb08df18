"""The Differentiated Services Code Point of what a socket sends (RFC 2474)."""

import socket

__all__ = ["LARGEST_CODE_POINT", "mark"]

LARGEST_CODE_POINT = 63
"""A code point has six bits; the two beside it are for congestion (RFC 3168)."""


def mark(sock: socket.socket, code_point: int) -> None:
    """Have ``sock`` send with this code point, and as one that does not do ECN; OSError if not."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, code_point << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, code_point << 2)
