"""Names of candidates on asyncio: resolved and published by multicast DNS.

::

    async with Mdns() as mdns:
        host = await mdns.resolve("1f4712db-ea17-4bcf-a596-105139dfd8bf.local")
        name = mdns.publish("192.0.2.1")      # answered for as long as the context lasts
"""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from typing import Final, assert_never

from natkit.address import Address, Family
from natkit.aio.driver import Driver, Inputs
from natkit.aio.scoped import Scoped
from natkit.aio.system_errors import reason, unreachable
from natkit.errors import MisuseError, NoService
from natkit.ice.mdns import Link, MulticastDns, NameResolved, NameUnresolved
from natkit.ice.mdns.names import normalized
from natkit.ice.mdns.naming import MdnsEvent
from natkit.ice.mdns.registry import (
    GROUP_IPV4,
    GROUP_IPV6,
    HOP_LIMIT,
    LONGEST_MESSAGE,
    PORT,
)
from natkit.machine import Failure, Path, Transmit, Transport
from natkit.net import sockaddr
from natkit.net.interfaces import InterfaceAddress, addresses
from natkit.net.multicast import group_socket

__all__ = ["Mdns"]

_log = logging.getLogger(__name__)

_GROUPS: Final = {Family.IPV4: GROUP_IPV4, Family.IPV6: GROUP_IPV6}

MOST_AT_ONCE: Final = 32
"""Messages that one wake-up reads of a link, so that a flooder keeps nobody waiting."""


class Mdns(Scoped):
    """Multicast DNS on the links of this machine; made and closed as an async context.

    ``interfaces`` are the addresses whose links are used: by default all but loopback's.  A link
    that carries no multicast is passed over.  Nothing is opened before it is needed.
    """

    def __init__(self, interfaces: Iterable[InterfaceAddress] | None = None) -> None:
        self._interfaces = None if interfaces is None else tuple(interfaces)
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}
        self._closed = False
        self._opened: tuple[MulticastDns, Driver[MdnsEvent, Failure]] | None = None

    @property
    def _running(self) -> tuple[MulticastDns, Driver[MdnsEvent, Failure]]:
        """The machine and its driver; MisuseError after the end."""
        if self._closed:
            raise MisuseError("multicast DNS was closed")
        if self._opened is None:
            chosen = self._interfaces
            if chosen is None:
                chosen = tuple(each for each in addresses() if not each.is_loopback)
            sockets = _GroupSockets()
            links = [link for link in _links(chosen) if sockets.join(link)]
            machine = MulticastDns(links, random=os.urandom)
            self._opened = machine, Driver(machine, self._on_event, datagrams=sockets)
        return self._opened

    async def resolve(self, name: str) -> str:
        """The address behind ``name``, with its zone where it is link-local; 5 seconds at most.

        Raises NoService when nobody on the links has the name.
        """
        machine, driver = self._running
        key = normalized(name)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        try:
            driver.run(lambda now: machine.resolve(key, now))
            return await future
        finally:
            waiting = self._waiting.get(key, [])
            if future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._waiting[key]
                    machine.forget(key)

    def can_publish(self, host: str) -> bool:
        """Whether ``host`` is on one of the links."""
        return self._running[0].can_publish(host)

    def publish(self, host: str) -> str:
        """A new name for an address of this machine, answered for from now on.

        Raises MisuseError when it is on none of the links.
        """
        machine, driver = self._running
        return driver.run(lambda now: machine.publish(host, now))

    def withdraw(self, name: str) -> None:
        """Stop answering for a name, and tell the link."""
        machine, driver = self._running
        driver.run(lambda _: machine.withdraw(name))

    async def aclose(self) -> None:
        """Withdraw all names and close the sockets; who still waits gets NoService."""
        if self._closed:
            return
        self._closed = True
        if self._opened is not None:
            machine, driver = self._opened
            driver.run(lambda _: machine.withdraw_all())
            await driver.aclose()
        for name in tuple(self._waiting):
            self._on_event(NameUnresolved(name, "closed meanwhile"))

    def _on_event(self, event: MdnsEvent) -> None:
        waiting = self._waiting.pop(event.name, [])
        for future in waiting:
            if future.done():
                continue
            match event:
                case NameResolved(_, host):
                    future.set_result(host)
                case NameUnresolved(name, why):
                    future.set_exception(NoService(f"{name}: {why}"))
                case _:
                    assert_never(event)


class _GroupSockets:
    """One socket a link; a :class:`natkit.aio.driver.DatagramCarrier`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inputs: Inputs | None = None
        self._sockets: dict[Address, socket.socket] = {}

    def join(self, link: Link) -> bool:
        """Open the socket of a link; False where the system refuses, or it is open."""
        if link.local in self._sockets:
            return False
        zone = link.group.host.partition("%")[2]
        try:
            sock = group_socket(link.group, zone, link.local.host, hop_limit=HOP_LIMIT)
        except (OSError, MisuseError) as error:
            why = reason(error) if isinstance(error, OSError) else error
            _log.info("no multicast on the link of %s: %s", link.local.host, why)
            return False
        self._sockets[link.local] = sock
        return True

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        self._inputs = inputs
        for local, sock in self._sockets.items():
            self._loop.add_reader(sock.fileno(), self._read, local, sock)

    def open(self, local: Address) -> Address:
        """The machine asks for none."""
        raise unreachable(f"open {local}", OSError("links are joined, not opened"))

    def close_socket(self, local: Address) -> None:
        """Close the socket of a link."""
        sock = self._sockets.pop(local, None)
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def send(self, transmit: Transmit) -> None:
        """Send at once; what the system refuses is lost, as the link might have lost it."""
        sock = self._sockets.get(transmit.path.local)
        if sock is None:
            return
        try:
            sock.sendto(transmit.data, sockaddr.python_address(transmit.path.remote))
        except (OSError, MisuseError) as error:
            _log.debug("cannot send on the link of %s: %s", transmit.path.local, error)

    def flush(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Close every socket."""
        for local in tuple(self._sockets):
            self.close_socket(local)

    def _read(self, local: Address, sock: socket.socket) -> None:
        inputs = self._inputs
        if inputs is None:
            return
        with inputs.many():
            for _ in range(MOST_AT_ONCE):
                if self._sockets.get(local) is not sock:
                    return
                try:
                    data, source = sock.recvfrom(LONGEST_MESSAGE + 1)
                except OSError:
                    return
                remote = sockaddr.unpack(sockaddr.from_python(source))
                inputs.receive(data, Path(Transport.UDP, local, remote))


def _links(interfaces: Iterable[InterfaceAddress]) -> list[Link]:
    by_name: dict[str, list[InterfaceAddress]] = {}
    for each in interfaces:
        by_name.setdefault(each.interface, []).append(each)
    links: list[Link] = []
    for name, members in by_name.items():
        hosts = frozenset(each.host for each in members)
        for family in Family:
            # A link-local address as the socket's, where there is one: it is on no other link.
            own = sorted(
                (each for each in members if each.family is family),
                key=lambda each: not each.is_link_local,
            )
            if not own:
                continue
            # The zone names the interface to join, and for IPv6 the link that is meant.
            zone = f"%{name}" if family is Family.IPV6 else ""
            group = Address(_GROUPS[family] + zone, PORT)
            links.append(Link(Address(own[0].host, PORT), group, hosts, zone=name))
    return links
