"""The path between two agents: each sees the other behind an address of the forwarder."""

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from natkit.stun.demux import is_stun

__all__ = ["Conditions", "Forwarder"]

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What becomes of a datagram, either way: ``loss`` from 0 to 1, ``delay`` in seconds."""

    loss: float = 0.0
    delay: float = 0.0


class _Port(asyncio.DatagramProtocol):
    """One end: what comes to it goes out at the other end, to the agent there."""

    def __init__(self, forwarder: "Forwarder", agent: int) -> None:
        self.forwarder = forwarder
        self.agent = agent
        self.transport: asyncio.DatagramTransport
        self.other: _Port
        self.target: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # It came from the other agent, which from now on is reached through the other end.
        self.other.target = addr
        self.forwarder.carry(data, self)

    def error_received(self, exc: Exception) -> None:
        """A socket of an agent that is gone."""


class Forwarder:
    """Carries datagrams between two agents of one candidate each, and counts them."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self._conditions = conditions
        self._random = random.Random(seed)
        self.carried = 0
        """Messages of STUN that came from the agents, those that were lost among them."""
        self._ports: list[_Port] = []

    async def open(self) -> None:
        """Open both ends: number 0 is where the second agent finds the first, and 1 the reverse."""
        loop = asyncio.get_running_loop()
        for agent in range(2):
            port = _Port(self, agent)
            await loop.create_datagram_endpoint(partial(_itself, port), local_addr=(LOOPBACK, 0))
            self._ports.append(port)
        one, other = self._ports
        one.other, other.other = other, one

    def place_of(self, agent: int, address: tuple[str, int]) -> tuple[str, int]:
        """Where the other agent finds this one, whose own candidate has ``address``."""
        port = self._ports[agent]
        port.target = address
        name: tuple[str, int] = port.transport.get_extra_info("sockname")
        return name

    def carry(self, data: bytes, port: _Port) -> None:
        """A datagram for the agent behind ``port``."""
        self.carried += is_stun(data)
        if self._random.random() < self._conditions.loss:
            return
        if self._conditions.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(self._conditions.delay, self._deliver, data, port)
        else:
            self._deliver(data, port)

    def _deliver(self, data: bytes, port: _Port) -> None:
        # The other end is what the agent sees it come from.
        if port.target is not None and not port.other.transport.is_closing():
            port.other.transport.sendto(data, port.target)

    def close(self) -> None:
        """Close both ends."""
        for port in self._ports:
            port.transport.close()


def _itself(port: _Port) -> _Port:
    return port
