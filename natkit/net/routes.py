"""Which way the system would send."""

import socket

from natkit.address import Address
from natkit.net import sockaddr

__all__ = ["source_for"]


def source_for(remote: Address) -> Address:
    """The local address, with port 0, from which the system would send to ``remote``.

    Sends nothing.  Raises OSError when there is no route.
    """
    with socket.socket(remote.family.socket_family, socket.SOCK_DGRAM) as sock:
        sock.connect(sockaddr.python_address(remote))
        return sockaddr.unpack(sockaddr.from_python(sock.getsockname()))._replace(port=0)
