"""Runs :class:`sipdns.query.Query` on asyncio.

A UDP query leaves from a fresh random port each time (RFC 5452 §9.2).  However much is asked at
once, the sockets are bounded, and a question that is under way is not asked again.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from natkit.address import Address
from natkit.aio.scoped import Scoped
from natkit.aio.system_errors import reason
from natkit.errors import MisuseError
from natkit.machine import Failure
from sipdns.dot import TlsConnections, tls_reason
from sipdns.messages import DEFAULT_ASKING, Asking, matches
from sipdns.query import Answered, Exchange, Query, QueryLimits
from sipdns.records import Answer, Carrier, Question, Unanswered
from sipdns.servers import HttpsServer, Server, TlsServer
from sipdns.under_way import UnderWay

if TYPE_CHECKING:
    from sipdns.doh import HttpsClient

__all__ = ["Nameservers"]

MOST_SOCKETS: Final = 240
"""Sockets for UDP and TCP open at once for one Nameservers, so that with the few of TLS and HTTPS
they stay below 256: a quarter of the descriptors that a process has by default (1,024)."""

MOST_QUESTIONS: Final = 192
"""Questions under way at once; more wait for their turn, and their time does not begin before.
Fewer than MOST_SOCKETS, so that a retransmission finds a socket even when many are lost."""

LONGEST_DATAGRAM: Final = 65535

MOST_STRANGERS: Final = 64
"""Datagrams that come from the nameserver's address and answer something else.  More are an attempt
to guess the id (RFC 5452 §9.1), and the exchange goes over TCP."""


class Nameservers(Scoped):
    """Asks questions of ``servers``, in their order.  Belongs to one event loop.

    ``tls`` says whose certificates count for TLS and HTTPS; by default what the system trusts.
    Connections stay open for further questions until :meth:`aclose`, or some idle seconds.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        limits: QueryLimits | None = None,
        *,
        asking: Asking = DEFAULT_ASKING,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not servers:
            raise MisuseError("at least one nameserver is needed")
        self._servers = tuple(servers)
        self._limits = limits
        self._asking = asking
        self._context = tls
        self._sockets = asyncio.Semaphore(MOST_SOCKETS)
        self._turns = asyncio.Semaphore(MOST_QUESTIONS)
        self._under_way: UnderWay[tuple[Question, Asking], Answered] = UnderWay()
        self._tls: TlsConnections | None = None
        self._https: HttpsClient | None = None

    async def aclose(self) -> None:
        """Close the connections of TLS and HTTPS; what is needed later is made anew."""
        connections, client = self._tls, self._https
        self._tls = self._https = None
        if connections is not None:
            await connections.aclose()
        if client is not None:
            await client.aclose()

    async def ask(self, question: Question) -> Answer | Unanswered:
        """The answer, or why there is none, ``whole`` seconds of the limits after its turn came.

        The DNS raises nothing.
        """
        return (await self.fetch(question, self._asking)).result

    async def fetch(self, question: Question, asking: Asking) -> Answered:
        """The same with the messages that the answer was read from."""
        return await self._under_way.join((question, asking), lambda: self._run(question, asking))

    async def _run(self, question: Question, asking: Asking) -> Answered:
        async with self._turns:
            loop = asyncio.get_running_loop()
            query = Query(
                question,
                self._servers,
                random=os.urandom,
                now=loop.time(),
                limits=self._limits,
                asking=asking,
            )
            exchanges: dict[asyncio.Task[bytes | Failure], Exchange] = {}
            try:
                while True:
                    while event := query.next_event():
                        if isinstance(event, Answered):
                            return event
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
        try:
            match exchange.server:
                case Address() as address:
                    async with self._sockets:
                        return await _over_udp_or_tcp(address, exchange.carrier, exchange.query)
                case TlsServer() as server:
                    if self._tls is None:
                        self._tls = TlsConnections(self._trust())
                    return await self._tls.ask(server, exchange.query)
                case HttpsServer() as server:
                    if self._https is None:
                        # Here, so that who asks by other ways loads no HTTP client.
                        from sipdns.doh import HttpsClient  # noqa: PLC0415

                        self._https = HttpsClient(self._trust())
                    return await self._https.ask(server, exchange.query)
        except ssl.SSLError as error:
            return Failure(tls_reason(error))
        except OSError as error:
            return Failure(reason(error))
        except EOFError:
            return Failure("the connection was closed")

    def _trust(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


async def _over_udp_or_tcp(server: Address, carrier: Carrier, query: bytes) -> bytes | Failure:
    if carrier is Carrier.UDP:
        answer = await _over_udp(server, query)
        if answer is not None:
            return answer
    return await _over_tcp(server, query)


async def _over_udp(server: Address, query: bytes) -> bytes | None:
    """The datagram that answers; None when strangers crowd it out."""
    loop = asyncio.get_running_loop()
    with socket.socket(server.family.socket_family, socket.SOCK_DGRAM) as connected:
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
        return await reader.readexactly(length)
    finally:
        writer.close()
