"""A recursive resolver for measuring who asks it: ``python -m benchmarks.locate.stub ZONE DELAY``.

It answers over UDP from records in the form of master files, and can lose what it is sent.  Each
answer is made once; a further one costs a copy.  The command answers after DELAY seconds, prints
its port, and ends with its standard input.
"""

import asyncio
import select
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import Final

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset

from natkit.address import Address

__all__ = ["Stub", "start"]

TTL: Final = 300
_SOA: Final = dns.rdata.from_text("IN", "SOA", "ns. hostmaster. 1 3600 600 86400 60")
_LONGEST_CHAIN: Final = 8
_HEADER: Final = 12
_LONGEST: Final = 4096


def _never(_question: bytes, _attempt: int) -> bool:
    return False


class Stub(asyncio.DatagramProtocol):
    """The server's side of one socket.

    ``is_lost(question, attempt)`` says whether a query gets no answer: its question section, and
    how often the question was asked before.
    """

    def __init__(
        self,
        zone: Iterable[str],
        *,
        is_lost: Callable[[bytes, int], bool] = _never,
    ) -> None:
        self._sets: dict[tuple[dns.name.Name, str], dns.rrset.RRset] = {}
        self._names: set[dns.name.Name] = set()
        self._is_lost = is_lost
        self._answers: dict[bytes, bytes] = {}
        self._attempts: dict[bytes, int] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self.received = 0
        self.lost = 0
        for line in zone:
            self._add(*line.split(None, 2))

    def _add(self, owner: str, kind: str, data: str) -> None:
        name = dns.name.from_text(owner)
        rdata = dns.rdata.from_text("IN", kind, data, origin=dns.name.root, relativize=False)
        known = self._sets.get((name, kind))
        if known is None:
            self._sets[name, kind] = dns.rrset.from_rdata(name, TTL, rdata)
        else:
            known.add(rdata)
        while name != dns.name.root and name not in self._names:
            self._names.add(name)
            name = name.parent()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """The socket is open."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A query."""
        reply = self.reply(data)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)

    def reply(self, data: bytes) -> bytes | None:
        """The answer to a query, or None when it is lost."""
        self.received += 1
        end = _question_end(data)
        question = data[_HEADER:end].lower()
        attempt = self._attempts.get(question, 0)
        self._attempts[question] = attempt + 1
        if self._is_lost(question, attempt):
            self.lost += 1
            return None
        answer = self._answers.get(question)
        if answer is None:
            answer = self._answers[question] = self.answer(dns.message.from_wire(data))
        # The id and the spelling of the name are the asker's.
        return data[:2] + answer[2:_HEADER] + data[_HEADER:end] + answer[end:]

    def answer(self, query: dns.message.Message) -> bytes:
        """What is sent for ``query``."""
        response = dns.message.make_response(query, recursion_available=True)
        name = query.question[0].name
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        for _ in range(_LONGEST_CHAIN):
            alias = self._sets.get((name, "CNAME"))
            if alias is None or (name, kind) in self._sets:
                break
            response.answer.append(alias)
            name = dns.name.from_text(alias[0].to_text())
        found = self._sets.get((name, kind))
        if found is not None:
            response.answer.append(found)
        else:
            response.authority.append(dns.rrset.from_rdata(dns.name.root, TTL, _SOA))
            if name not in self._names:
                response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


def _question_end(data: bytes) -> int:
    end = _HEADER
    while data[end]:
        end += 1 + data[end]
    return end + 5


async def start(stub: Stub) -> tuple[Address, asyncio.DatagramTransport]:
    """Listen on a free port of loopback; close the transport to end it."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: stub, local_addr=("127.0.0.1", 0)
    )
    return Address(*transport.get_extra_info("sockname")[:2]), transport


def _serve(stub: Stub, delay: float) -> None:
    """Answer until standard input ends.

    This waits by select(2), whose limit is in microseconds; epoll's, and so asyncio's, is in whole
    milliseconds, which would be counted to whoever is measured.
    """
    received: deque[tuple[float, bytes, tuple[str, int]]] = deque()
    waiting: deque[tuple[float, bytes, tuple[str, int]]] = deque()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        print(server.getsockname()[1], flush=True)
        while True:
            limit = max(0.0, waiting[0][0] - monotonic()) if waiting else None
            limit = 0.0 if received else limit
            readable, _, _ = select.select([server, sys.stdin], [], [], limit)
            if server in readable:
                data, client = server.recvfrom(_LONGEST)
                received.append((monotonic() + delay, data, client))
            elif received:
                # While nothing comes in: making an answer must not delay the next query's.
                due, data, client = received.popleft()
                reply = stub.reply(data)
                if reply is not None:
                    waiting.append((due, reply, client))
            if sys.stdin in readable:
                return
            while waiting and waiting[0][0] <= monotonic():
                _, reply, client = waiting.popleft()
                server.sendto(reply, client)


if __name__ == "__main__":
    _zone = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    _serve(Stub(_zone), float(sys.argv[2]))
