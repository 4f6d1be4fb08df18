"""Runs an :class:`~sipdns.diagnosis.Examination`: over the network, or over a zone file."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import Failure
from sipdns.diagnosis import AskServer, Diagnosis, Examination, Examined, Inquiry, Reply
from sipdns.diagnosis.reply import LARGEST_MESSAGE, make_inquiry, read_reply
from sipdns.messages import matches
from sipdns.records import Answer, Question
from sipdns.resolution import AskDns
from sipdns.zonefile import ZoneFile

__all__ = ["examine", "examine_zone"]

UDP_WAITS: Final = (1.0, 2.0)
"""Seconds that a server has for its answer, before the query is sent again and in the end."""

TCP_WAIT: Final = 3.0
"""Seconds for the connection and the answer."""

MOST_STRANGERS: Final = 64
"""Datagrams that come from the server and answer something else."""

MOST_INQUIRIES: Final = 32
"""Inquiries of single servers that are open at once, each with a socket."""

Ask = Callable[[Question], Awaitable[Answer | Failure]]


async def examine(examination: Examination, ask: Ask) -> Diagnosis:
    """Run it to its end; ``ask`` asks the resolvers."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(MOST_INQUIRIES)
    tasks: dict[asyncio.Task[Answer | Reply | Failure], int] = {}
    try:
        while True:
            while (event := examination.next_event()) is not None:
                match event:
                    case Examined(diagnosis):
                        return diagnosis
                    case AskDns(request_id, question):
                        tasks[loop.create_task(_question(ask, question))] = request_id
                    case AskServer(request_id, inquiry):
                        tasks[loop.create_task(_inquiry(gate, inquiry))] = request_id
            deadline = examination.next_deadline()
            timeout = None if deadline is None else max(0.0, deadline - loop.time())
            done, _ = await asyncio.wait(
                tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                examination.answer(tasks.pop(task), task.result(), loop.time())
            examination.handle_timer(loop.time())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def examine_zone(examination: Examination, zone: ZoneFile) -> Diagnosis:
    """Run it over a zone file; nothing is sent."""
    while (event := examination.next_event()) is not None:
        match event:
            case Examined(diagnosis):
                return diagnosis
            case AskDns(request_id, question):
                examination.answer(request_id, zone.ask(question), 0.0)
            case AskServer(request_id):
                examination.answer(request_id, Failure("nothing is sent for a zone file"), 0.0)
    raise AssertionError("every question was answered, and the examination did not end")


async def _question(ask: Ask, question: Question) -> Answer | Reply | Failure:
    return await ask(question)


async def _inquiry(gate: asyncio.Semaphore, inquiry: Inquiry) -> Answer | Reply | Failure:
    """One server's reply, over UDP with one retransmission or over TCP."""
    try:
        query = make_inquiry(inquiry, int.from_bytes(os.urandom(2), "big"))
        async with gate:
            if inquiry.over_tcp:
                async with asyncio.timeout(TCP_WAIT):
                    return read_reply(await _over_tcp(inquiry.server, query))
            return read_reply(await _over_udp(inquiry.server, query))
    except TimeoutError:
        waited = TCP_WAIT if inquiry.over_tcp else sum(UDP_WAITS)
        return Failure(f"no answer within {waited:g} s")
    except OSError as error:
        return Failure(os.strerror(error.errno).lower() if error.errno else str(error))
    except EOFError:
        return Failure("the connection was closed")
    except MalformedMessage as error:
        return Failure(str(error))


async def _over_udp(server: Address, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(server.family.socket_family, socket.SOCK_DGRAM) as connected:
        connected.setblocking(False)
        # The kernel draws the port, and drops what comes from elsewhere.
        connected.connect(server)
        for wait in UDP_WAITS:
            await loop.sock_sendall(connected, query)
            try:
                async with asyncio.timeout(wait):
                    for _ in range(MOST_STRANGERS):
                        data = await loop.sock_recv(connected, LARGEST_MESSAGE)
                        if matches(query, data):
                            return data
            except TimeoutError:
                continue
    raise TimeoutError


async def _over_tcp(server: Address, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        length = int.from_bytes(await reader.readexactly(2), "big")
        data = await reader.readexactly(length)
    finally:
        writer.close()
    if not matches(query, data):
        raise MalformedMessage("it answers another question")
    return data
