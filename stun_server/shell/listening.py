"""Listening sockets: what ``--listen`` names, expanded to exact addresses and bound all or none."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from natkit.address import Address, IPNetwork
from natkit.aio.system_errors import is_address_in_use
from natkit.aio.tcp import bind_tcp
from natkit.aio.udp import bind_udp
from natkit.errors import ConfigError, UnreachableError
from natkit.machine import Transport
from natkit.net.interfaces import expand_wildcard
from natkit.stun.registry import DEFAULT_PORT
from stun_server.shell.port_holder import port_holder

__all__ = ["ListenAddress", "Listener", "everywhere", "open_listeners", "share"]

_DEFAULT = (Transport.UDP, Transport.TCP)
_PREFIXES = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.DTLS)
_ON_DATAGRAMS = (Transport.UDP, Transport.DTLS)
# TLS and plain TCP are told apart by the first byte (RFC 8489 §8.1), so they can share a socket.
_SHARES_WITH = {Transport.TCP: Transport.TLS, Transport.TLS: Transport.TCP}
_EXCLUDES = {Transport.UDP: Transport.DTLS, Transport.DTLS: Transport.UDP}

# A port that the system chose for UDP may be taken for TCP; that 16 in a row are is no accident.
_PORT_ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """``[udp:|tcp:|tls:|dtls:]ADDRESS:PORT``; without a prefix UDP and TCP."""

    transports: tuple[Transport, ...]
    address: Address

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it; MisuseError when it is wrong."""
        prefix, _, rest = text.partition(":")
        if prefix in _PREFIXES:
            return cls((Transport(prefix),), Address.parse(rest))
        return cls(_DEFAULT, Address.parse(text))

    @property
    def is_secure(self) -> bool:
        """Whether it takes a certificate."""
        return any(each.is_secure for each in self.transports)

    @property
    def has_connections(self) -> bool:
        """Whether a proxy can stand before it."""
        return not set(_SHARES_WITH).isdisjoint(self.transports)

    def stands_for(self, transport: Transport, address: Address) -> bool:
        """Whether a listener on this exact address was opened because of it."""
        own = self.address
        return (
            transport in self.transports
            and own.family is address.family
            and (own.host == address.host or own.ip.is_unspecified)
            and own.port in (0, address.port)
        )

    def __str__(self) -> str:
        prefix = f"{self.transports[0]}:" if len(self.transports) == 1 else ""
        return f"{prefix}{self.address}"


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, which listens if its transport has connections.

    One for TCP and one for TLS on the same address have the same socket.  ``proxies`` are the
    networks of those who connect for clients and say so by the PROXY protocol; None without.
    ``other`` is where the server answers from when it is asked for another address and another port
    (RFC 5780 §6); None where it does not.
    """

    transport: Transport
    address: Address
    socket: socket.socket
    proxies: tuple[IPNetwork, ...] | None = None
    other: Address | None = None


def everywhere() -> tuple[ListenAddress, ...]:
    """The default port on every local address, of the families that the machine has."""
    wildcards = (Address("0.0.0.0", DEFAULT_PORT), Address("::", DEFAULT_PORT))  # noqa: S104 - meant so
    return tuple(ListenAddress(_DEFAULT, each) for each in wildcards if expand_wildcard(each))


def open_listeners(
    wanted: Sequence[ListenAddress],
    proxied: Mapping[ListenAddress, tuple[IPNetwork, ...]] | None = None,
    alternates: Mapping[ListenAddress, Address] | None = None,
) -> tuple[Listener, ...]:
    """Bind everything; ConfigError that names the first address that can't be had.

    ``proxied`` has the networks of the proxies before some of them.  Each of ``alternates`` makes
    four listeners that answer for each other: both hosts with both ports (RFC 5780 §6).

    A wildcard address becomes one socket for each local address.  Port 0 becomes one free port,
    the same for all transports and addresses that it stands for.
    """
    listeners: list[Listener] = []
    try:
        for each in wanted:
            hosts = [address.host for address in expand_wildcard(each.address)]
            listeners += _open(each, hosts, listeners, (proxied or {}).get(each))
        for each, other in (alternates or {}).items():
            _open_crosswise(each, other, listeners)
    except BaseException:
        _close(listeners)
        raise
    return tuple(listeners)


def share(probed: Sequence[Listener], workers: int) -> tuple[tuple[Listener, ...], ...]:
    """The same listeners for each of several processes, in place of ``probed``, which are closed.

    Those were bound alone: sockets that share a port would not notice another program's there.
    The sockets of one address are made one after the other, each worker's in its turn, and as long
    as all stay open a flow stays with its own.
    """
    _close(probed)
    opened: list[Listener] = []
    shared: list[tuple[Listener, ...]] = []
    try:
        for _ in range(workers):
            sockets: dict[socket.socket, socket.socket] = {}
            for each in probed:
                if each.socket not in sockets:
                    sockets[each.socket] = _bind_shared(each)
                opened.append(replace(each, socket=sockets[each.socket]))
            shared.append(tuple(opened[-len(probed) :]))
    except UnreachableError as error:
        _close(opened)
        raise ConfigError(str(error)) from error
    return tuple(shared)


def _bind_shared(listener: Listener) -> socket.socket:
    if listener.transport in _ON_DATAGRAMS:
        return bind_udp(listener.address, reuse_port=True)
    return bind_tcp(listener.address, listen=True, reuse_port=True)


_Held = Mapping[tuple[Transport, Address], Listener]


def _open_crosswise(wanted: ListenAddress, other: Address, listeners: list[Listener]) -> None:
    """Add what is missing of the four listeners, and tell each which one is its other."""
    hosts = (wanted.address.host, other.host)
    ports = []
    for port in (wanted.address.port, other.port):
        at = replace(wanted, address=Address(hosts[0], port))
        opened = _open(at, hosts, listeners, None)
        listeners += opened
        ports.append(opened[0].address.port if opened else port)
    others = {
        Address(host, port): Address(hosts[1 - row], ports[1 - column])
        for row, host in enumerate(hosts)
        for column, port in enumerate(ports)
    }
    for place, each in enumerate(listeners):
        if each.transport in wanted.transports and each.address in others:
            listeners[place] = replace(each, other=others[each.address])


def _open(
    wanted: ListenAddress,
    hosts: Sequence[str],
    listeners: Sequence[Listener],
    proxies: tuple[IPNetwork, ...] | None,
) -> list[Listener]:
    """Bind the port of ``wanted`` on each of ``hosts``, except for what ``listeners`` have."""
    if not hosts:
        raise ConfigError(f"cannot listen on {wanted}: this machine has no such local address")
    held = {(one.transport, one.address): one for one in listeners}
    attempts = 1 if wanted.address.port else _PORT_ATTEMPTS
    while True:
        attempts -= 1
        opened: list[Listener] = []
        port = wanted.address.port
        try:
            for host in hosts:
                for transport in wanted.transports:
                    # What two options name twice, 0.0.0.0:3478 and 127.0.0.1:3478, is one listener.
                    if (transport, Address(host, port)) not in held:
                        listener = _bind(transport, Address(host, port), held)
                        opened.append(replace(listener, proxies=proxies))
                        port = listener.address.port
            return opened
        except UnreachableError as error:
            _close(opened)
            if is_address_in_use(error) and attempts:
                continue
            raise _refusal(error, transport, Address(host, port)) from error
        except BaseException:
            _close(opened)
            raise


def _bind(transport: Transport, address: Address, held: _Held) -> Listener:
    if transport in _EXCLUDES and (_EXCLUDES[transport], address) in held:
        raise ConfigError(f"udp and dtls cannot share {address}; give them ports of their own")
    if transport in _SHARES_WITH and (_SHARES_WITH[transport], address) in held:
        return replace(held[_SHARES_WITH[transport], address], transport=transport)
    sock = bind_udp(address) if transport in _ON_DATAGRAMS else bind_tcp(address, listen=True)
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
