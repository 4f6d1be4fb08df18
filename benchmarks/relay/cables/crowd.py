"""Clients of a server that share a socket: as many allocations, and little that is not relayed."""

import socket
import struct
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from benchmarks.relay.cables.hosts import Hosts, client_host
from benchmarks.relay.cables.loads import Ends, Flow, Load
from benchmarks.relay.servers import PASSWORD, USERNAME
from benchmarks.relay.turn_client import Asker, BenchmarkError, relayed_address
from natkit.address import Address
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass

__all__ = ["Crowd"]

_TOGETHER: Final = 32
_AGAIN: Final = 0.5
_PATIENCE: Final = 10.0
_LARGEST: Final = 2048
_IP_PKTINFO: Final = 8  # <linux/in.h>
_PKTINFO: Final = struct.Struct("=i4s4s")
_TRANSACTION: Final = slice(8, 20)


class Crowd:
    """Each has an allocation, and its first channel bound to the one peer."""

    def __init__(self, hosts: Hosts, server: Address) -> None:
        self.socket = hosts.client_socket()
        self.peer = hosts.peer_socket()
        self._server = server
        self._peer_address = Address(*self.peer.getsockname())
        self._clients: list[Asker] = []
        self._relayed: list[Address] = []
        self.socket.settimeout(_AGAIN)

    def grow(self, count: int) -> None:
        """Have ``count`` of them in all."""
        while len(self._clients) < count:
            first = len(self._clients)
            some = [Asker(USERNAME, PASSWORD) for _ in range(min(_TOGETHER, count - first))]
            self._clients += some
            challenges = self._exchange(first, [each.allocate_request() for each in some])
            for client, challenge in zip(some, challenges, strict=True):
                client.challenged(challenge)
            answers = self._exchange(first, [each.allocate_request() for each in some])
            self._relayed += [relayed_address(_success(answer)) for answer in answers]
            requests = [each.channel_request(self._peer_address) for each in some]
            for answer in self._exchange(first, requests):
                _success(answer)

    def ends(self, load: Load) -> Ends:
        """Those of a load, with no more clients than there are."""
        if load.kind == "down":
            peer = self._peer_address.host
            flows = [Flow(peer, relayed) for relayed in self._relayed[: load.clients]]
            return Ends(flows, self.peer, self.socket)
        flows = [Flow(client_host(number), self._server) for number in range(load.clients)]
        return Ends(flows, self.socket, self.socket if load.kind == "binding" else self.peer)

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close()
        self.peer.close()

    def _exchange(self, first: int, requests: Sequence[bytes]) -> list[bytes]:
        """The answer to each request, of which the first is that of client ``first``."""
        waiting = {request[_TRANSACTION]: number for number, request in enumerate(requests)}
        answers: dict[int, bytes] = {}
        deadline = monotonic() + _PATIENCE

        def send(number: int) -> None:
            info = _PKTINFO.pack(0, socket.inet_aton(client_host(first + number)), bytes(4))
            control = [(socket.IPPROTO_IP, _IP_PKTINFO, info)]
            self.socket.sendmsg([requests[number]], control, 0, self._server)

        _each(send, range(len(requests)))
        while waiting:
            try:
                answer = self.socket.recv(_LARGEST)
            except TimeoutError:
                if monotonic() > deadline:
                    raise BenchmarkError("requests found no answer") from None
                _each(send, tuple(waiting.values()))
                continue
            number = waiting.pop(answer[_TRANSACTION], None)
            if number is not None:
                answers[number] = answer
        return [answers[number] for number in range(len(requests))]


def _each(do: Callable[[int], None], numbers: Sequence[int]) -> None:
    for number in numbers:
        do(number)


def _success(answer: bytes) -> Message:
    message = Message.parse(answer)
    if message.message_class is not MessageClass.SUCCESS_RESPONSE:
        raise BenchmarkError(f"no success but {message}")
    return message
