"""What clients without an allocation are heard and answered."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import Nonce, RequestedTransport, UserHash, XorMappedAddress
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from stun_server.events import RequestRefused
from stun_server.settings import Settings
from stun_server.strangers import ClientPolicy
from tests.stun_server.world import LISTENER, SETTINGS, World, code

BINDING = Message.request(Method.BINDING, bytes(12)).encode()
ALLOCATE = Message.request(Method.ALLOCATE, bytes(12), RequestedTransport(UDP_PROTOCOL)).encode()
STRANGER = Path(Transport.UDP, LISTENER, Address("203.0.113.9", 41000))
GARBAGE = b"\0\1garbage"
BURST = 1_000


def world(**settings: int) -> World:
    return World(
        replace(
            SETTINGS,
            packets_per_source=settings.get("packets", SETTINGS.packets_per_source),
            answer_burst=settings.get("burst", BURST),
        )
    )


def test_bytes_sent_to_unproven_sources_stay_within_twice_what_came_and_the_burst() -> None:
    there = world()
    sent = received = 0
    for number in range(3_000):
        # Forged addresses of one prefix, and whatever it is that they ask.
        path = STRANGER._replace(remote=Address(f"203.0.113.{number % 250}", 1024 + number))
        data = ALLOCATE if number % 3 else BINDING
        received += len(data)
        sent += sum(len(each.data) for each in there.receive(data, path))
        assert sent <= 2 * received + BURST
    assert sent > 2 * received * 0.9
    assert there.server.strangers.limits.answers_dropped > 500


def test_an_answer_that_is_not_sent_is_no_event_and_leaves_no_state() -> None:
    there = world(burst=1_000)
    forged = Message.request(Method.BINDING, bytes(12), UserHash(bytes(32))).encode()
    there.receive(forged, STRANGER)
    while there.receive(ALLOCATE, STRANGER):
        pass
    events = there.take_events(RequestRefused)
    assert there.receive(ALLOCATE, STRANGER) == [] or events == []
    assert len(there.server.allocations) == 0
    assert len(there.server.allocations.answers) == 0
    assert there.server.next_deadline() is None


def test_clients_that_go_on_after_their_challenge_are_never_limited() -> None:
    """A thousand clients of one prefix, with the least burst that may be configured."""
    there = world(burst=1_000)
    for number in range(1_000):
        client = there.client("203.0.113.9", 1_024 + number)
        client.allocate()
    assert there.server.strangers.limits.answers_dropped == 0


def test_packets_of_one_source_beyond_its_rate_are_not_looked_at() -> None:
    there = world(packets=100)
    heard = sum(bool(there.receive(BINDING, STRANGER)) for _ in range(500))
    assert heard == 100
    assert there.server.strangers.limits.packets_dropped == 400
    assert there.server.malformed == 0
    there.receive(GARBAGE, STRANGER)
    assert there.server.malformed == 0
    other = STRANGER._replace(remote=Address("198.51.100.9", 1))
    assert there.receive(BINDING, other)
    there.now += 1
    assert there.receive(BINDING, STRANGER)


def test_a_client_with_an_allocation_is_not_limited_by_its_neighbours() -> None:
    there = world(packets=100)
    client = there.client(STRANGER.remote.host, 5)
    client.allocate()
    while there.receive(BINDING, STRANGER):
        pass
    assert code(client.request(Method.REFRESH)) is None
    assert client.exchange(BINDING).get(XorMappedAddress) == XorMappedAddress(client.address)


def test_connections_cannot_be_forged_and_are_not_limited() -> None:
    there = world(packets=10, burst=1_000)
    path = STRANGER._replace(transport=Transport.TCP)
    for _ in range(100):
        (sent,) = there.receive(ALLOCATE, path)
        assert Message.parse(sent.data).get(Nonce) is not None


def denied(*allow: str, deny: tuple[str, ...] = ()) -> Settings:
    return replace(
        SETTINGS,
        allowed_clients=tuple(map(ip_network, allow)),
        denied_clients=tuple(map(ip_network, deny)),
    )


@pytest.mark.parametrize(
    ("allow", "deny", "served", "not_served"),
    [
        ((), ("203.0.113.0/24",), ["203.0.114.1", "2001:db8::1"], ["203.0.113.1"]),
        (("10.0.0.0/8",), (), ["10.1.2.3"], ["11.0.0.1", "2001:db8::1"]),
        (("10.1.0.0/16",), ("10.0.0.0/8",), ["10.1.2.3"], ["10.2.0.1", "192.0.2.1"]),
        (("10.0.0.0/8", "::/0"), ("10.1.0.0/16",), ["10.2.0.1", "::5"], ["10.1.2.3", "1.1.1.1"]),
        (("10.0.0.0/8",), ("10.0.0.0/8",), [], ["10.2.0.1"]),
        ((), (), ["10.1.2.3", "::1"], []),
    ],
)
def test_the_narrowest_network_decides_which_clients_are_served(
    allow: tuple[str, ...], deny: tuple[str, ...], served: list[str], not_served: list[str]
) -> None:
    policy = ClientPolicy(tuple(map(ip_network, allow)), tuple(map(ip_network, deny)))
    assert all(policy.admits(ip_address(each).packed) for each in served)
    assert not any(policy.admits(ip_address(each).packed) for each in not_served)
    assert bool(policy) == bool(allow or deny)


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP, Transport.TLS, Transport.DTLS])
def test_a_client_of_a_denied_network_gets_no_answer_to_anything(transport: Transport) -> None:
    there = World(denied(deny=("203.0.113.0/24",)))
    path = STRANGER._replace(transport=transport)
    for data in (BINDING, ALLOCATE, GARBAGE):
        assert there.receive(data, path) == []
    assert there.server.strangers.denied == 3
    assert there.server.malformed == 0
    assert there.events == []
    assert there.receive(BINDING, path._replace(remote=Address("203.0.114.1", 1)))
