"""Sockets of host candidates: one for each address, component and stream (RFC 8445 §5.1.1.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from natkit.address import Address
from natkit.errors import UnreachableError
from natkit.gather.desk import Desk
from natkit.gather.events import GatherResult, ListenForPeers, Slot, StopListening
from natkit.gather.settings import HostAddress, PortRange
from natkit.machine import CloseSocket, Failure, OpenSocket, RandomBytes, Transport

__all__ = ["Base", "HostSockets"]

MOST_PORTS: Final = 128
"""Ports of a range that are tried: with half of them free, one in 2^128 gatherers finds none."""


@dataclass(frozen=True, slots=True)
class Base:
    """A bound datagram socket or, for TCP, a listener."""

    slot: Slot
    local: Address
    host: HostAddress
    transport: Transport = Transport.UDP


class HostSockets:
    """Opens sockets; ``opened`` and ``refused`` are told what came of each."""

    def __init__(
        self,
        desk: Desk,
        ports: PortRange | None,
        *,
        random: RandomBytes,
        opened: Callable[[Base, float], None],
        refused: Callable[[Slot, HostAddress, UnreachableError, float], None],
    ) -> None:
        self._desk = desk
        self._ports = ports
        self._random = random
        self._opened = opened
        self._refused = refused
        self._bases: dict[tuple[Transport, Address], Base] = {}
        self._waiting = 0
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being opened."""
        return self._waiting == 0

    @property
    def bases(self) -> tuple[Base, ...]:
        """What is open."""
        return tuple(self._bases.values())

    def base(self, local: Address, transport: Transport = Transport.UDP) -> Base | None:
        """What is bound to ``local``."""
        return self._bases.get((transport, local))

    def open(self, host: HostAddress, slot: Slot, transport: Transport) -> None:
        """Open a socket, or for TCP a listener, at one of the ports that may be used."""
        self._waiting += 1
        self._try(host, slot, transport, self._choose(), 0)

    def close(self, local: Address, transport: Transport) -> None:
        """Close what is bound to ``local``, if it is there."""
        base = self._bases.pop((transport, local), None)
        if base is not None:
            self._desk.tell(_closing(local, transport))

    def close_all(self) -> None:
        """Close everything, and what is still to come."""
        self._closed = True
        for base in self.bases:
            self.close(base.local, base.transport)

    def _choose(self) -> int:
        """Where in the range to begin: not where every other gatherer begins."""
        if self._ports is None:
            return 0
        return int.from_bytes(self._random(4)) % len(self._ports)

    def _try(
        self, host: HostAddress, slot: Slot, transport: Transport, start: int, tried: int
    ) -> None:
        port = 0
        if self._ports is not None:
            port = self._ports.first + (start + tried) % len(self._ports)
        local = Address(host.host, port)
        answered = partial(self._answered, host, slot, transport, start, tried)
        if transport is Transport.UDP:
            self._desk.ask(lambda number: OpenSocket(number, local), answered)
        else:
            self._desk.ask(lambda number: ListenForPeers(number, local), answered)

    def _answered(
        self,
        host: HostAddress,
        slot: Slot,
        transport: Transport,
        start: int,
        tried: int,
        result: GatherResult | Failure,
        now: float,
    ) -> None:
        if isinstance(result, Address):
            self._waiting -= 1
            if self._closed:
                self._desk.tell(_closing(result, transport))
                return
            base = Base(slot, result, host, transport)
            self._bases[transport, result] = base
            self._opened(base, now)
            return
        taken = isinstance(result, Failure) and result.address_in_use
        if taken and self._ports is not None and not self._closed:
            if tried + 1 < min(len(self._ports), MOST_PORTS):
                self._try(host, slot, transport, start, tried + 1)
                return
            reason = f"no free port from {self._ports.first} to {self._ports.last}"
        else:
            reason = result.reason if isinstance(result, Failure) else "no socket"
        self._waiting -= 1
        self._refused(slot, host, UnreachableError(reason), now)


def _closing(local: Address, transport: Transport) -> CloseSocket | StopListening:
    return CloseSocket(local) if transport is Transport.UDP else StopListening(local)
