"""Requests have their share of a plane's time while more waits, whatever they cost."""

import socket
from collections.abc import Iterator

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net import sockaddr
from natkit.net.batch import CAPACITY
from natkit.relay.patience import (
    LONGEST,
    OF_ONE_NETWORK,
    OF_STRANGERS,
    WINDOW,
    NetworksPatience,
    Patience,
)
from natkit.relay.plane import BindingPolicy
from natkit.relay.userspace import UserspacePlane
from tests.natkit.relay.rig import HandReactor, Rig, address_of, received

REQUEST = bytes.fromhex("00030000 2112a442") + bytes(12)


@pytest.mark.parametrize("cost", [0.000_01, 0.001, 0.02])
def test_they_have_their_share_and_no_more(cost: float) -> None:
    patience, now, heard = Patience(OF_STRANGERS), 1_000.0, 0.0
    end = now + 60.0
    while now < end:
        if patience.has_time(now):
            patience.spend(cost)
            heard += cost
            now += cost
        # Each is followed by another as soon as it is done with.
        now += 0.000_5
    assert heard <= OF_STRANGERS * 60.0 + LONGEST + cost
    assert heard >= min(OF_STRANGERS, cost / (cost + 0.000_6)) * 60.0 * 0.9


@pytest.mark.parametrize(
    ("host", "neighbour", "other"),
    [
        ("11.1.1.1", "11.1.1.200", "11.1.2.1"),
        ("2001:db8:0:100::1", "2001:db8:0:1ff::2", "2001:db8:0:200::1"),
    ],
)
def test_a_network_is_a_24_or_a_56(host: str, neighbour: str, other: str) -> None:
    first, second, third = (
        name[sockaddr.NETWORK[len(name)]]
        for name in (sockaddr.pack(Address(each, 5)) for each in (host, neighbour, other))
    )
    assert first == second != third


def test_a_network_has_its_share_of_each_window_and_takes_none_of_others() -> None:
    patience, now, heard = NetworksPatience(), 1_000.0, 0.0
    for _ in range(10_000):
        if patience.has_time(b"one", now):
            patience.spend(b"one", 0.001)
            heard += 0.001
        assert patience.has_time(b"other", now)
        now += 0.001
    assert heard == pytest.approx(10.0 * OF_ONE_NETWORK, rel=0.1)


def test_networks_that_were_heard_are_forgotten_with_their_window() -> None:
    patience, now, most = NetworksPatience(), 1_000.0, 0
    for number in range(100_000):
        network = number.to_bytes(3, "big")
        assert patience.has_time(network, now)
        patience.spend(network, 0.000_1)
        now += 0.000_1
        most = max(most, len(patience._spent))
    assert most <= WINDOW / 0.000_1 + 1


class Crowd:
    """A plane whose machine takes a millisecond for each message, by a stopwatch."""

    def __init__(self, *, challenges: bool = False) -> None:
        self.rig = Rig()
        self.elapsed = 0.0
        self.challenged = 0
        self.heard: list[Address] = []
        self.reactor = HandReactor()
        self.plane = UserspacePlane(
            self.reactor,
            self._on_unhandled,
            random=bytes,
            clock=lambda: 1_000.0,
            stopwatch=lambda: self.elapsed,
        )
        self._sock = self.rig.new_socket()
        self.listener = address_of(self._sock)
        self.plane.listen(self._sock, BindingPolicy(greeter=self if challenges else None))

    def greet(self, data: bytes, client: bytes, now: float) -> bytes | None:
        """As a greeter: it takes as long, and there is never an answer."""
        assert (data, len(client), now) == (REQUEST, 6, 1_000.0)
        self.challenged += 1
        self.elapsed += 0.001
        return b""

    def _on_unhandled(self, data: bytes, path: Path, now: float) -> None:
        assert (data, now) == (REQUEST, 1_000.0)
        self.heard.append(path.remote)
        self.elapsed += 0.001

    def strangers(self, count: int) -> list[socket.socket]:
        """So many clients without an allocation, each in a network of its own."""
        return [self.rig.new_socket(host=f"127.{100 + number}.0.7") for number in range(count)]

    def client(self, number: int) -> socket.socket:
        """A client with an allocation, in a network of its own."""
        client = self.rig.new_socket(host=f"127.{number}.0.7")
        path = Path(Transport.UDP, self.listener, address_of(client))
        self.plane.open(number, path, self.rig.new_socket(), 2_000.0)
        return client

    def send(self, *senders: socket.socket) -> None:
        """All these send one after the other, before the plane has a turn."""
        for each in senders:
            each.sendto(REQUEST, self.listener)
        self.reactor.turn()

    def close(self) -> None:
        self.plane.stop()
        self.reactor.close()
        self.rig.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.close()


def test_whoever_comes_when_nothing_else_waits_is_heard(crowd: Crowd) -> None:
    stranger, client = crowd.rig.new_socket(), crowd.client(1)
    for _ in range(10):
        crowd.send(*[stranger, client] * (CAPACITY // 2 - 1))
    assert crowd.heard.count(address_of(stranger)) == 10 * (CAPACITY // 2 - 1)
    assert crowd.heard.count(address_of(client)) == 10 * (CAPACITY // 2 - 1)


def test_strangers_who_crowd_in_leave_the_clients_their_turn(crowd: Crowd) -> None:
    strangers, client = crowd.strangers(CAPACITY - 1), crowd.client(1)
    rounds = 20
    for _ in range(rounds):
        crowd.send(*strangers, client)
        # What is relayed takes time, too.
        crowd.elapsed += 0.02
    assert crowd.heard.count(address_of(client)) == rounds
    heard = len(crowd.heard) - rounds
    assert CAPACITY - 1 <= heard < rounds * (CAPACITY - 1) // 2
    assert crowd.plane.totals().dropped_strangers == rounds * (CAPACITY - 1) - heard
    # Time that passes is time in which they earn theirs.
    crowd.elapsed += 1.0
    crowd.send(*strangers, strangers[0])
    assert len(crowd.heard) == rounds + heard + CAPACITY


@pytest.mark.parametrize("useless", ["0016", "0011", "0101", "0113", "00", ""])
def test_strangers_who_crowd_in_with_what_has_no_answer_leave_requests_their_turn(
    crowd: Crowd, useless: str
) -> None:
    """Indications, responses, and less than a message."""
    *strangers, one = crowd.strangers(CAPACITY)
    data = (bytes.fromhex(useless) + REQUEST[2:]) if len(useless) == 4 else bytes.fromhex(useless)
    rounds = 20
    for _ in range(rounds):
        for each in strangers:
            each.sendto(data, crowd.listener)
        crowd.send(one)
        crowd.elapsed += 0.02
    assert crowd.heard == [address_of(one)] * rounds
    assert crowd.plane.totals().dropped_strangers == rounds * len(strangers)


def test_strangers_of_one_network_leave_the_others_their_turn(crowd: Crowd) -> None:
    greedy, other = crowd.strangers(2)
    rounds = 5
    for _ in range(rounds):
        crowd.send(*[greedy] * (CAPACITY - 2), other, other)
        crowd.elapsed += WINDOW
    assert crowd.heard.count(address_of(other)) == 2 * rounds
    assert 0 < crowd.heard.count(address_of(greedy)) < rounds * (CAPACITY - 2) // 2


def test_challenges_have_a_share_of_their_own() -> None:
    crowd = Crowd(challenges=True)
    try:
        strangers, client = crowd.strangers(CAPACITY - 1), crowd.client(1)
        rounds = 20
        for _ in range(rounds):
            crowd.send(*strangers, client)
            crowd.elapsed += 0.02
        assert crowd.heard == [address_of(client)] * rounds
        assert CAPACITY - 1 <= crowd.challenged < rounds * (CAPACITY - 1) // 2
        dropped = crowd.plane.totals().dropped_strangers
        assert dropped == rounds * (CAPACITY - 1) - crowd.challenged
    finally:
        crowd.close()


def test_a_network_that_crowds_in_leaves_the_others_their_turn(crowd: Crowd) -> None:
    greedy, other = crowd.client(1), crowd.client(2)
    rounds = 5
    for _ in range(rounds):
        crowd.send(*[greedy] * (CAPACITY - 2), other, other)
        crowd.elapsed += WINDOW
    assert crowd.heard.count(address_of(other)) == 2 * rounds
    heard = crowd.heard.count(address_of(greedy))
    assert 0 < heard < rounds * (CAPACITY - 2) // 2
    assert crowd.plane.counters(1).dropped_requests == rounds * (CAPACITY - 2) - heard
    assert crowd.plane.totals().dropped_requests == rounds * (CAPACITY - 2) - heard


def test_requests_of_all_clients_together_leave_time_to_relay(crowd: Crowd) -> None:
    clients = [crowd.client(number) for number in range(1, 1 + CAPACITY)]
    for _ in range(100):
        crowd.send(*clients)
    # By the stopwatch only requests take time, so all that is left is what they may have at once.
    assert LONGEST <= 0.001 * len(crowd.heard) < 2 * LONGEST


class Greeter:
    """Answers A, has nothing to say to B, and leaves the rest."""

    def __init__(self) -> None:
        self.clients: list[bytes] = []

    def greet(self, data: bytes, client: bytes, now: float) -> bytes | None:
        assert now == 1_000.0
        self.clients.append(client)
        return {b"A": b"answer", b"B": b""}.get(data[:1])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("portable", [False, True])
def test_strangers_are_shown_to_the_greeter_and_clients_are_not(
    family: socket.AddressFamily, *, portable: bool
) -> None:
    rig = Rig(portable=portable)
    try:
        sock, stranger, client = (rig.new_socket(family) for _ in range(3))
        greeter = Greeter()
        rig.plane.listen(sock, BindingPolicy(greeter=greeter))
        path = Path(Transport.UDP, address_of(sock), address_of(client))
        rig.plane.open(1, path, rig.new_socket(family), 2_000.0)
        for data in (b"A1", b"B1", b"C1", b"A2"):
            stranger.sendto(data, address_of(sock))
            client.sendto(data, address_of(sock))
        rig.turn()
        assert received(stranger) == [(b"answer", address_of(sock))] * 2
        assert received(client) == []
        place = address_of(stranger)
        assert set(greeter.clients) == {place.port.to_bytes(2, "big") + place.packed}
        unhandled = [(data, path.remote) for data, path, _ in rig.unhandled]
        assert sorted(unhandled) == sorted(
            [
                *((data, address_of(client)) for data in (b"A1", b"B1", b"C1", b"A2")),
                (b"C1", place),
            ]
        )
    finally:
        rig.close()
