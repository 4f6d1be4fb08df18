"""The kernel's messages about addresses and links (rtnetlink(7)), as pyroute2 reads them.

From sockets of our own: pyroute2's run on no uvloop, and not within a running loop.  The import
fails where it is not installed, or the system is another.
"""

import errno
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Protocol

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.rtnl import (
    RTM_GETADDR,
    RTM_GETLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import (
    IFA_F_DEPRECATED,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
)
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from natkit.net.interfaces import InterfaceAddress, canonical_host
from natkit.net.netlink import PIECE, AddressDetails

__all__ = ["Message", "dump", "number", "open_signal", "read_details"]

_REQUEST = struct.Struct("=IHHIIB3x")  # netlink(7): struct nlmsghdr; rtnetlink(7): struct rtgenmsg
_PATIENCE = 5.0


class Message(Protocol):
    """What of pyroute2's messages is used."""

    def __getitem__(self, field: str) -> int:
        """A number of the header."""
        ...

    def get_attr(self, name: str) -> "str | int | Message | None":
        """An attribute; some hold others."""
        ...


def number(message: Message, name: str) -> int:
    """An attribute that is a number, 0 where it is missing."""
    value = message.get_attr(name)
    return value if isinstance(value, int) else 0


def read_details() -> Mapping[InterfaceAddress, AddressDetails]:
    """The details of every address.  Raises OSError."""
    links, addresses = dump(RTM_GETLINK), dump(RTM_GETADDR)
    names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in links}
    mtus = {link["index"]: number(link, "IFLA_MTU") for link in links}
    found: dict[InterfaceAddress, AddressDetails] = {}
    for address in addresses:
        index, is_ipv6 = address["index"], address["family"] == socket.AF_INET6
        # An end of a point-to-point link has its own address in "local", the other end's beside it.
        text = address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS") or ""
        host = canonical_host(str(text), names.get(index, ""))
        if host is None or index not in names:
            continue
        # The header has room for the first eight flags, all that is asked for here.
        flags = address["flags"]
        found[InterfaceAddress(names[index], host)] = AddressDetails(
            temporary=is_ipv6 and bool(flags & IFA_F_TEMPORARY),
            deprecated=bool(flags & IFA_F_DEPRECATED),
            tentative=bool(flags & IFA_F_TENTATIVE),
            mtu=mtus[index],
        )
    return found


def open_signal() -> socket.socket:
    """A non-blocking socket that becomes readable when an address, a link or a route changes.

    To be emptied by :func:`natkit.net.netlink.drain`.  Raises OSError.
    """
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    groups = (
        RTMGRP_LINK
        | RTMGRP_IPV4_IFADDR
        | RTMGRP_IPV6_IFADDR
        | RTMGRP_IPV4_ROUTE
        | RTMGRP_IPV6_ROUTE
    )
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def dump(kind: int) -> Sequence[Message]:
    """All messages of a kind, links or addresses.  Raises OSError."""
    marshal = MarshalRtnl()
    found: list[Message] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_PATIENCE)
        flags = NLM_F_REQUEST | NLM_F_DUMP
        sock.send(_REQUEST.pack(_REQUEST.size, kind, flags, 1, 0, socket.AF_UNSPEC))
        while True:
            for message in marshal.parse(sock.recv(PIECE)):
                answer = message["header"]["type"]
                if answer == NLMSG_DONE:
                    return found
                if answer == NLMSG_ERROR:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                found.append(message)
