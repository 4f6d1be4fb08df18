"""Listening sockets: what ``--listen`` names, expanded to exact addresses and bound all or none."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from natkit.address import Address
from natkit.aio.system_errors import is_address_in_use
from natkit.aio.tcp import bind_tcp
from natkit.aio.udp import bind_udp
from natkit.errors import ConfigError, MisuseError, UnreachableError
from natkit.machine import Transport
from natkit.net.interfaces import expand_wildcard
from natkit.sip.registry import DEFAULT_PORTS
from sip_proxy.settings import Listener

__all__ = ["SERVED", "Bound", "ListenAddress", "everywhere", "open_listeners"]

SERVED: Final = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS)
"""What ``--listen`` takes."""

_DEFAULT: Final = (Transport.UDP, Transport.TCP)

# A port that the system chose for UDP may be taken for TCP; that 16 in a row are is no accident.
_PORT_ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """``[udp:|tcp:|tls:|ws:|wss:]ADDRESS:PORT``; without a prefix UDP and TCP."""

    transports: tuple[Transport, ...]
    address: Address

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it; MisuseError when it is wrong."""
        prefix, _, rest = text.partition(":")
        if prefix in SERVED:
            return cls((Transport(prefix),), Address.parse(rest))
        if prefix.isalpha():
            names = ", ".join(SERVED[:-1])
            raise MisuseError(f"{text!r}: {prefix} is not served, but {names} and {SERVED[-1]} are")
        return cls(_DEFAULT, Address.parse(text))

    @property
    def is_secure(self) -> bool:
        """Whether it takes a certificate."""
        return any(each.is_secure for each in self.transports)

    def __str__(self) -> str:
        prefix = f"{self.transports[0]}:" if len(self.transports) == 1 else ""
        return f"{prefix}{self.address}"


@dataclass(frozen=True, slots=True)
class Bound:
    """A listener with its socket."""

    listener: Listener
    socket: socket.socket


def everywhere() -> tuple[ListenAddress, ...]:
    """The default port on every local address, of the families that the machine has."""
    port = DEFAULT_PORTS[Transport.UDP]
    wildcards = (Address("0.0.0.0", port), Address("::", port))  # noqa: S104 - meant so
    return tuple(ListenAddress(SERVED, each) for each in wildcards if expand_wildcard(each))


def open_listeners(wanted: Sequence[ListenAddress]) -> tuple[Bound, ...]:
    """Bind everything; ConfigError that names the first address that can't be had.

    A wildcard becomes one socket for each local address, so that answers leave from the address
    that was asked.  Port 0 is one free port for all that it stands for.
    """
    opened: list[Bound] = []
    try:
        for each in wanted:
            opened += _open(each)
    except UnreachableError as error:
        _close(opened)
        raise ConfigError(str(error)) from error
    return tuple(opened)


def _open(wanted: ListenAddress) -> list[Bound]:
    attempts = 1 if wanted.address.port else _PORT_ATTEMPTS
    while True:
        attempts -= 1
        opened: list[Bound] = []
        port = wanted.address.port
        try:
            for address in expand_wildcard(wanted.address):
                for transport in wanted.transports:
                    bound = _bind(transport, Address(address.host, port))
                    opened.append(bound)
                    port = bound.listener.address.port
            return opened
        except UnreachableError as error:
            _close(opened)
            if not (attempts and is_address_in_use(error)):
                raise


def _bind(transport: Transport, address: Address) -> Bound:
    sock = bind_udp(address) if transport is Transport.UDP else bind_tcp(address, listen=True)
    return Bound(Listener(transport, address._replace(port=sock.getsockname()[1])), sock)


def _close(opened: Sequence[Bound]) -> None:
    for each in opened:
        each.socket.close()
