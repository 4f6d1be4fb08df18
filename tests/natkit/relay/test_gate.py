"""A gate decides which plain Binding requests the plane answers."""

import socket
from collections.abc import Iterator

import pytest

from natkit.net import sockaddr
from natkit.relay.plane import BindingPolicy
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.relay.rig import Rig, address_of, received

BINDING = Message.request(Method.BINDING, b"0123456789ab").encode()
FAMILIES = [
    pytest.param(socket.AF_INET, id="ipv4"),
    pytest.param(socket.AF_INET6, id="ipv6"),
]


class Gate:
    """Lets so many pass unseen, then only who is welcome."""

    def __init__(self, unseen: int, *welcome: bytes) -> None:
        self.unseen = unseen
        self.welcome = welcome
        self.seen: list[tuple[bytes, int, int]] = []
        self.fit: set[bool] = set()

    def pass_all(self, count: int, now: float, *, answers_fit: bool) -> bool:
        assert now == 1_000.0
        self.fit.add(answers_fit)
        self.unseen -= count
        return self.unseen >= 0

    def passes(self, host: bytes, received: int, sent: int, now: float) -> bool:
        assert now == 1_000.0
        self.seen.append((host, received, sent))
        return host in self.welcome


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_who_does_not_pass_is_dropped(rig: Rig, family: socket.AddressFamily) -> None:
    ipv4 = family == socket.AF_INET
    client = rig.new_socket(family)
    host = sockaddr.host_bytes(sockaddr.pack(address_of(client)))
    sock = rig.new_socket(family)
    gate = Gate(2)
    rig.plane.listen(sock, BindingPolicy(gate=gate))

    def ask(times: int) -> int:
        for _ in range(times):
            client.sendto(BINDING, address_of(sock))
        rig.turn()
        return len(received(client))

    assert ask(2) == 2
    assert gate.seen == []
    assert ask(3) == 0
    assert gate.seen == [(host, 20, 32 if ipv4 else 44)] * 3
    gate.welcome = (host,)
    assert ask(1) == 1
    # An IPv6 answer is more than twice its request: it has to be paid for.
    assert gate.fit == {ipv4}
    assert rig.plane.totals().bindings_answered == 3
    assert rig.unhandled == []


def test_one_batch_has_answers_for_those_alone_who_pass(rig: Rig) -> None:
    sock = rig.new_socket()
    welcome, other = rig.new_socket(host="127.0.0.2"), rig.new_socket(host="127.0.0.3")
    rig.plane.listen(sock, BindingPolicy(gate=Gate(0, socket.inet_aton("127.0.0.2"))))
    for _ in range(3):
        welcome.sendto(BINDING, address_of(sock))
        other.sendto(BINDING, address_of(sock))
    rig.turn()
    assert len(received(welcome)) == 3
    assert received(other) == []
