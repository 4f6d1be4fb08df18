"""The far end of the flows, in a process of its own: answers keep-alives on many sockets."""

import asyncio
import contextlib
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.udp import DatagramSockets
from natkit.keepalive import FlowSilent, FlowWatch

__all__ = ["edge"]


@contextlib.contextmanager
def edge(sockets: int) -> Iterator[list[Address]]:
    """Run it; the addresses of its sockets, on loopback."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, sockets), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join(30)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(parent: "Connection[list[Address], object]", sockets: int) -> None:
    asyncio.run(_answer(parent, sockets))


async def _answer(parent: "Connection[list[Address], object]", sockets: int) -> None:
    datagrams = DatagramSockets()
    addresses = [datagrams.open(Address("127.0.0.1", 0)) for _ in range(sockets)]
    driver: Driver[FlowSilent, object] = Driver(FlowWatch(), lambda _: None, datagrams=datagrams)
    parent.send(addresses)
    # The parent closes its end when it is done.
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(parent.fileno(), gone.set)
    await gone.wait()
    await driver.aclose()
