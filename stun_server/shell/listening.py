"""Listening sockets: what ``--listen`` names, expanded to exact addresses and bound all or none."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from natkit.address import Address
from natkit.aio.system_errors import is_address_in_use
from natkit.aio.tcp import bind_tcp
from natkit.aio.udp import bind_udp
from natkit.errors import ConfigError, MisuseError, UnreachableError
from natkit.machine import Transport
from natkit.net.interfaces import expand_wildcard
from natkit.stun.registry import DEFAULT_PORT
from stun_server.shell.port_holder import port_holder

__all__ = ["ListenAddress", "Listener", "everywhere", "open_listeners"]

_TRANSPORTS = (Transport.UDP, Transport.TCP)

# A port that the system chose for UDP may be taken for TCP; that 16 in a row are is no accident.
_PORT_ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """``[udp:|tcp:]ADDRESS:PORT``; without a prefix both transports."""

    transports: tuple[Transport, ...]
    address: Address

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it; MisuseError when it is wrong."""
        prefix, _, rest = text.partition(":")
        if prefix in _TRANSPORTS:
            return cls((Transport(prefix),), Address.parse(rest))
        if prefix in ("tls", "dtls"):
            raise MisuseError(f"{text!r}: this server listens on udp and tcp")
        return cls(_TRANSPORTS, Address.parse(text))

    def __str__(self) -> str:
        prefix = f"{self.transports[0]}:" if len(self.transports) == 1 else ""
        return f"{prefix}{self.address}"


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, which listens if its transport has connections."""

    transport: Transport
    address: Address
    socket: socket.socket


def everywhere() -> tuple[ListenAddress, ...]:
    """The default port on every local address, of the families that the machine has."""
    wildcards = (Address("0.0.0.0", DEFAULT_PORT), Address("::", DEFAULT_PORT))  # noqa: S104 - meant so
    return tuple(ListenAddress(_TRANSPORTS, each) for each in wildcards if expand_wildcard(each))


def open_listeners(wanted: Sequence[ListenAddress]) -> tuple[Listener, ...]:
    """Bind everything; ConfigError that names the first address that can't be had.

    A wildcard address becomes one socket for each local address.  Port 0 becomes one free port,
    the same for all transports and addresses that it stands for.
    """
    listeners: list[Listener] = []
    try:
        for each in wanted:
            listeners += _open(each, {(held.transport, held.address) for held in listeners})
    except BaseException:
        _close(listeners)
        raise
    return tuple(listeners)


def _open(wanted: ListenAddress, held: set[tuple[Transport, Address]]) -> list[Listener]:
    addresses = expand_wildcard(wanted.address)
    if not addresses:
        raise ConfigError(f"cannot listen on {wanted}: this machine has no such local address")
    attempts = 1 if wanted.address.port else _PORT_ATTEMPTS
    while True:
        attempts -= 1
        listeners: list[Listener] = []
        port = wanted.address.port
        try:
            for host, _ in addresses:
                for transport in wanted.transports:
                    # What two options name twice, 0.0.0.0:3478 and 127.0.0.1:3478, is one listener.
                    if (transport, Address(host, port)) not in held:
                        listeners.append(_bind(transport, Address(host, port)))
                        port = listeners[-1].address.port
            return listeners
        except UnreachableError as error:
            _close(listeners)
            if is_address_in_use(error) and attempts:
                continue
            raise _refusal(error, transport, Address(host, port)) from error
        except BaseException:
            _close(listeners)
            raise


def _bind(transport: Transport, address: Address) -> Listener:
    sock = bind_udp(address) if transport is Transport.UDP else bind_tcp(address, listen=True)
    return Listener(transport, address._replace(port=sock.getsockname()[1]), sock)


def _refusal(error: UnreachableError, transport: Transport, address: Address) -> ConfigError:
    if not is_address_in_use(error):
        return ConfigError(str(error))
    holder = port_holder(transport, address)
    by = f" by {holder}" if holder else ""
    return ConfigError(
        f"{transport.upper()} {address} is in use{by}; stop that program or choose another port"
    )


def _close(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.socket.close()
