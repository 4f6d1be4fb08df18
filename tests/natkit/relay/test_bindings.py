"""Plain Binding requests that come many at a time are answered like each by itself."""

import mmap
import socket

import pytest

from natkit.net import sockaddr
from natkit.net.batch import CAPACITY
from natkit.relay.packets import BINDING_ANSWER_LENGTH, answer_binding
from natkit.relay.plane import BindingPolicy
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.relay.relayed import FAMILIES, Relayed, channel_data
from tests.natkit.relay.rig import Rig, address_of, received
from tests.natkit.relay.test_gate import Gate

LARGEST_ANSWER = max(BINDING_ANSWER_LENGTH.values())


def request(number: int) -> bytes:
    return Message.request(Method.BINDING, number.to_bytes(12, "big")).encode()


def answer(data: bytes, client: socket.socket) -> bytes:
    """What the plane's way for a single request makes of it."""
    with mmap.mmap(-1, LARGEST_ANSWER) as buffer:
        buffer[: len(data)] = data
        return buffer[: answer_binding(buffer, 0, sockaddr.pack(address_of(client)))]


@pytest.mark.parametrize("count", [1, 2, 3, CAPACITY, CAPACITY + 5])
@pytest.mark.parametrize("clients", [1, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_requests(
    rig: Rig, family: socket.AddressFamily, clients: int, count: int
) -> None:
    listener = rig.listen(family)
    senders = [rig.new_socket(family) for _ in range(clients)]
    expected: dict[socket.socket, list[bytes]] = {sender: [] for sender in senders}
    for number in range(count):
        sender = senders[number % clients]
        sender.sendto(request(number), listener)
        expected[sender].append(answer(request(number), sender))
    rig.turn()
    for sender in senders:
        assert [data for data, _ in received(sender)] == expected[sender]
    assert rig.plane.totals().bindings_answered == count
    assert rig.unhandled == []


def test_requests_among_other_packets(rig: Rig) -> None:
    relayed = Relayed(rig)
    other = request(1)[:4] + bytes(4) + request(1)[8:]
    for data in (request(1), channel_data(b"x" * 16), other, request(2), b"\x02" * 20):
        relayed.client.sendto(data, relayed.listener)
    assert relayed.up(channel_data(b"z")) == [
        (b"x" * 16, relayed.address),
        (b"z", relayed.address),
    ]
    assert [data for data, _ in received(relayed.client)] == [
        answer(request(number), relayed.client) for number in (1, 2)
    ]
    assert [data for data, _, _ in rig.unhandled] == [other, b"\x02" * 20]


def test_where_the_gate_looks_at_each_those_it_refuses_get_nothing(rig: Rig) -> None:
    sock = rig.new_socket()
    welcome, refused = rig.new_socket(), rig.new_socket(host="127.0.0.2")
    gate = Gate(0, socket.inet_aton("127.0.0.1"))
    rig.plane.listen(sock, BindingPolicy(gate=gate))
    for number in range(8):
        (welcome, refused)[number % 2].sendto(request(number), address_of(sock))
    rig.turn()
    assert [data for data, _ in received(welcome)] == [
        answer(request(number), welcome) for number in range(0, 8, 2)
    ]
    assert received(refused) == []
    assert rig.plane.totals().bindings_answered == 4
