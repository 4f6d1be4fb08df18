"""Listening sockets: what ``--listen`` names, expanded to exact addresses and bound all or none."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from natkit.address import Address
from natkit.aio.tcp import bind_tcp
from natkit.aio.udp import bind_udp
from natkit.errors import ConfigError, MisuseError, UnreachableError
from natkit.machine import Transport
from natkit.net import sockaddr
from natkit.net.interfaces import expand_wildcard
from sip_proxy.settings import Listener

__all__ = ["SERVED", "Bound", "ListenAddress", "open_listeners"]

SERVED = (Transport.UDP, Transport.TCP)
"""What ``--listen`` takes."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """``udp:ADDRESS:PORT`` or ``tcp:ADDRESS:PORT``; without a prefix both."""

    transports: tuple[Transport, ...]
    address: Address

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it; MisuseError when it is wrong."""
        prefix, _, rest = text.partition(":")
        if prefix in SERVED:
            return cls((Transport(prefix),), Address.parse(rest))
        if prefix in list(Transport):
            names = " and ".join(SERVED)
            raise MisuseError(f"{text!r}: {prefix} is not served, but {names} are")
        return cls(SERVED, Address.parse(text))


@dataclass(frozen=True, slots=True)
class Bound:
    """A listener with its socket."""

    listener: Listener
    socket: socket.socket


def open_listeners(wanted: Sequence[ListenAddress]) -> tuple[Bound, ...]:
    """Bind everything; ConfigError that names the first address that can't be had.

    A wildcard becomes one socket for each local address, so that answers leave from the address
    that was asked.  Port 0 is one free port for all that it stands for.
    """
    opened: list[Bound] = []
    try:
        for each in wanted:
            port = each.address.port
            for address in expand_wildcard(each.address):
                for transport in each.transports:
                    bound = _bind(transport, Address(address.host, port))
                    opened.append(bound)
                    port = bound.listener.address.port
    except UnreachableError as error:
        for bound in opened:
            bound.socket.close()
        raise ConfigError(str(error)) from error
    return tuple(opened)


def _bind(transport: Transport, address: Address) -> Bound:
    sock = bind_udp(address) if transport is Transport.UDP else bind_tcp(address, listen=True)
    local = sockaddr.unpack(sockaddr.from_python(sock.getsockname()))
    return Bound(Listener(transport, local), sock)
