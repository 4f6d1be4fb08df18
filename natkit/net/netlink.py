"""What Linux tells of its addresses beyond the addresses themselves, and that something changed.

What reads it, :mod:`natkit.net.rtnetlink`, is much to load, and is loaded by who asks.  Where
pyroute2 is not installed, or the system is another, nothing is told.
"""

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from natkit.net.interfaces import InterfaceAddress

__all__ = ["PIECE", "AddressDetails", "drain", "open_signal", "read_details"]

PIECE = 65_536
"""Bytes that are read from the kernel at a time."""


@dataclass(frozen=True, slots=True)
class AddressDetails:
    """What the kernel says of an address; the first three are of IPv6.

    ``temporary``: made for privacy, and replaced before long (RFC 8981).  ``deprecated``: not for
    new flows (RFC 4862 §5.5.4).  ``tentative``: not yet known to be nobody else's (§5.4), and of no
    use until then.  ``mtu``: the interface's, in bytes.
    """

    temporary: bool
    deprecated: bool
    tentative: bool
    mtu: int


def read_details() -> Mapping[InterfaceAddress, AddressDetails]:
    """The details of every address; empty where the platform does not tell.  Raises OSError."""
    try:
        from natkit.net.rtnetlink import read_details as read  # noqa: PLC0415
    except ImportError:
        return {}
    return read()


def open_signal() -> socket.socket | None:
    """A non-blocking socket that becomes readable when an address, a link or a route changes.

    To be emptied by :func:`drain`.  None where the platform does not tell.  Raises OSError.
    """
    try:
        from natkit.net.rtnetlink import open_signal as opened  # noqa: PLC0415
    except ImportError:
        return None
    return opened()


def drain(signal: socket.socket) -> None:
    """Take all that waits; what it says is read anew from the kernel.

    That messages were lost (ENOBUFS) is a change like any other.
    """
    while True:
        try:
            signal.recv(PIECE)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return
