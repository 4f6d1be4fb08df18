"""What changes in the network that this machine is on.

::

    async with watch_network() as changes:          # Linux
        async for change in changes:                # AddressAdded, AddressRemoved, ...
            ...

A flow whose local address was removed is dead, and one that is kept alive finds that out in its own
time only: who hears of the change opens another at once.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from natkit.aio.system_errors import unreachable
from natkit.errors import UnreachableError
from natkit.net.gateways import Gateway, default_gateways
from natkit.net.interfaces import InterfaceAddress
from natkit.net.local_addresses import LocalAddress, local_addresses
from natkit.net.netlink import drain, open_signal

__all__ = [
    "AddressAdded",
    "AddressChanged",
    "AddressRemoved",
    "GatewaysChanged",
    "NetworkChange",
    "NetworkChanges",
    "watch_network",
]


@dataclass(frozen=True, slots=True)
class AddressAdded:
    """It can be used from now on."""

    address: LocalAddress


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    """It is gone, and the flows from it with it."""

    address: LocalAddress


@dataclass(frozen=True, slots=True)
class AddressChanged:
    """The details of an address are others now: it was deprecated, or the MTU is another."""

    before: LocalAddress
    after: LocalAddress


@dataclass(frozen=True, slots=True)
class GatewaysChanged:
    """The default gateways are others now, the preferred ones first."""

    before: tuple[Gateway, ...]
    after: tuple[Gateway, ...]


NetworkChange = AddressAdded | AddressRemoved | AddressChanged | GatewaysChanged


class NetworkChanges:
    """What changes in the network, as it does; made by :func:`watch_network`.

    Nothing is kept for who does not iterate: the next change then is the sum of what happened.
    """

    def __init__(self, signal: socket.socket) -> None:
        self._signal = signal
        self._loop = asyncio.get_running_loop()
        self._stirred = asyncio.Event()
        self._known, self._gateways = _usable(), default_gateways()
        self._changes: deque[NetworkChange] = deque()
        self._loop.add_reader(signal.fileno(), self._on_signal)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NetworkChange:
        while not self._changes:
            await self._stirred.wait()
            self._stirred.clear()
            self._compare()
        return self._changes.popleft()

    def close(self) -> None:
        """Hear no more; the socket is its opener's to close."""
        self._loop.remove_reader(self._signal.fileno())

    def _on_signal(self) -> None:
        drain(self._signal)
        self._stirred.set()

    def _compare(self) -> None:
        before, after = self._known, _usable()
        self._changes += [
            AddressRemoved(found) for each, found in before.items() if each not in after
        ]
        for each, found in after.items():
            earlier = before.get(each)
            if earlier is None:
                self._changes.append(AddressAdded(found))
            elif earlier != found:
                self._changes.append(AddressChanged(earlier, found))
        gateways = default_gateways()
        if gateways != self._gateways:
            self._changes.append(GatewaysChanged(self._gateways, gateways))
        self._known, self._gateways = after, gateways


@asynccontextmanager
async def watch_network() -> AsyncIterator[NetworkChanges]:
    """Tell of changes from now on, until the context ends.

    Raises UnreachableError where the platform does not tell of them, and the iteration when the
    addresses can no longer be read.
    """
    try:
        signal = open_signal()
    except OSError as error:
        raise unreachable("hear of changes in the network", error) from error
    if signal is None:
        raise UnreachableError("this system does not tell of changes in the network")
    with signal:
        changes = NetworkChanges(signal)
        try:
            yield changes
        finally:
            changes.close()


def _usable() -> Mapping[InterfaceAddress, LocalAddress]:
    try:
        return {each.address: each for each in local_addresses() if not each.tentative}
    except OSError as error:
        raise unreachable("read the addresses of this host", error) from error
