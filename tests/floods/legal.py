"""Legal load beside a flood: data through an allocation that lives, and new allocations.

Run as a program in a network namespace, or called on loopback; it prints, or gives, what came of
it.  ::

    python -m tests.floods.legal URI USERNAME PASSWORD HOST SECONDS
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from typing import cast

from natkit.address import Address
from natkit.aio.turn import Allocation, allocate
from natkit.errors import NatkitError

__all__ = ["Outcome", "legal_load"]

INTERVAL = 0.02
"""Seconds between two datagrams, as in a telephone call."""

NEW_EVERY = 0.25
"""Seconds between two new clients."""

SETTLED = 2.0
"""Seconds that the last datagrams are waited for, at most."""


@dataclass(slots=True)
class Outcome:
    """What was tried, and how much of it succeeded."""

    sent: int = 0
    received: int = 0
    tried: int = 0
    allocated: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether 95 % of the data and of the new clients came through."""
        return (
            min(self.sent, self.tried) > 0
            and self.received >= 0.95 * self.sent
            and self.allocated >= 0.95 * self.tried
        )


class _Peer(asyncio.DatagramProtocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own is no subclass of what it is meant to be.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def legal_load(
    uri: str, username: str, password: str, host: str, seconds: float, *, ready: asyncio.Event
) -> Outcome:
    """Relay to an echoing peer at ``host`` and back; ``ready`` is set once that has begun."""
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Peer, local_addr=(host, 0))
    peer = Address(*transport.get_extra_info("sockname")[:2])
    try:
        async with allocate(uri, username=username, password=password) as relay:
            await relay.bind_channel(peer)
            ready.set()
            end = loop.time() + seconds
            receiving = asyncio.create_task(_receive(relay, outcome))
            newcomers = asyncio.create_task(_newcomers(uri, username, password, end, outcome))
            while loop.time() < end:
                await relay.send(outcome.sent.to_bytes(4, "big") * 40, peer)
                outcome.sent += 1
                await asyncio.sleep(INTERVAL)
            await newcomers
            for _ in range(int(SETTLED / INTERVAL)):
                if outcome.received < outcome.sent:
                    await asyncio.sleep(INTERVAL)
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
    finally:
        transport.close()
    return outcome


async def _receive(relay: Allocation, outcome: Outcome) -> None:
    while True:
        await relay.receive()
        outcome.received += 1


async def _newcomers(uri: str, username: str, password: str, end: float, outcome: Outcome) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        outcome.tried += 1
        try:
            async with allocate(uri, username=username, password=password):
                outcome.allocated += 1
        except NatkitError:
            pass
        await asyncio.sleep(NEW_EVERY)


async def _main(uri: str, username: str, password: str, host: str, seconds: str) -> None:
    ready = asyncio.Event()
    load = asyncio.create_task(
        legal_load(uri, username, password, host, float(seconds), ready=ready)
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait((load, waiting), return_when=asyncio.FIRST_COMPLETED)
    print("ready", flush=True)
    waiting.cancel()
    print(json.dumps(asdict(await load)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
