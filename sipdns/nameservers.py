"""Runs :class:`sipdns.query.Query` on asyncio: UDP from a fresh random port each time, and TCP."""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Final

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Failure
from sipdns.messages import matches
from sipdns.query import Answered, Exchange, Query, QueryLimits
from sipdns.records import Answer, Carrier, Question

__all__ = ["Nameservers"]

MOST_SOCKETS: Final = 128
"""Sockets open at once for one Nameservers: what a server's default of 1,024 descriptors can spare.
More exchanges wait for their turn."""

LONGEST_DATAGRAM: Final = 65535

MOST_STRANGERS: Final = 64
"""Datagrams that come from the nameserver's address and answer something else.  More are an attempt
to guess the id (RFC 5452 §9.1), and the exchange goes over TCP."""


class Nameservers:
    """Asks questions of ``addresses``, in their order.  Belongs to one event loop."""

    def __init__(self, addresses: Sequence[Address], limits: QueryLimits | None = None) -> None:
        if not addresses:
            raise MisuseError("at least one nameserver is needed")
        self._addresses = tuple(addresses)
        self._limits = limits
        self._sockets = asyncio.Semaphore(MOST_SOCKETS)

    async def ask(self, question: Question) -> Answer | Failure:
        """The answer, or a Failure within the limits' ``whole`` seconds; the DNS raises nothing."""
        loop = asyncio.get_running_loop()
        query = Query(
            question, self._addresses, random=os.urandom, now=loop.time(), limits=self._limits
        )
        exchanges: dict[asyncio.Task[bytes | Failure], Exchange] = {}
        try:
            while True:
                while event := query.next_event():
                    if isinstance(event, Answered):
                        return event.result
                    exchanges[loop.create_task(self._exchange(event))] = event
                deadline = query.next_deadline()
                timeout = None if deadline is None else max(0.0, deadline - loop.time())
                done, _ = await asyncio.wait(
                    exchanges, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    query.answer(exchanges.pop(task).request_id, task.result(), loop.time())
                query.handle_timer(loop.time())
        finally:
            for task in exchanges:
                task.cancel()
            await asyncio.gather(*exchanges, return_exceptions=True)

    async def _exchange(self, exchange: Exchange) -> bytes | Failure:
        server = exchange.server
        if not isinstance(server, Address):
            return Failure("a resolver that needs TLS is not asked here")
        async with self._sockets:
            try:
                if exchange.carrier is Carrier.UDP:
                    answer = await _over_udp(server, exchange.query)
                    if answer is not None:
                        return answer
                return await _over_tcp(server, exchange.query)
            except OSError as error:
                return Failure(os.strerror(error.errno).lower() if error.errno else str(error))
            except EOFError:
                return Failure("the connection was closed")


async def _over_udp(server: Address, query: bytes) -> bytes | None:
    """The datagram that answers; None when strangers crowd it out."""
    loop = asyncio.get_running_loop()
    family = server.family.socket_family
    with socket.socket(family, socket.SOCK_DGRAM) as connected:
        connected.setblocking(False)
        # The kernel draws the port, and drops what comes from elsewhere.
        connected.connect(server)
        await loop.sock_sendall(connected, query)
        for _ in range(MOST_STRANGERS + 1):
            data = await loop.sock_recv(connected, LONGEST_DATAGRAM)
            if matches(query, data):
                return data
    return None


async def _over_tcp(server: Address, query: bytes) -> bytes | Failure:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        length = int.from_bytes(await reader.readexactly(2), "big")
        data = await reader.readexactly(length)
    finally:
        writer.close()
    return data if matches(query, data) else Failure("an answer to another question")
