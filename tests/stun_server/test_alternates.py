"""ALTERNATE-SERVER: who is sent to another server, and how that is told (RFC 8489 §10)."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.attributes import (
    AlternateDomain,
    AlternateServer,
    MessageIntegrity,
    RequestedTransport,
)
from natkit.stun.credentials import verify
from natkit.stun.message import Message
from natkit.stun.registry import Method, PasswordAlgorithmNumber
from stun_server.events import RequestRefused
from stun_server.settings import Alternate, AlternateWhen
from tests.stun_server.world import LISTENER, SETTINGS, Client, World, code

OTHER = Address("198.51.100.99", 3478)
OTHER6 = Address("2001:db8::99", 3478)


def world(*rules: Alternate) -> World:
    return World(replace(SETTINGS, alternates=rules))


def ask(client: Client) -> Message:
    return client.request(Method.ALLOCATE, RequestedTransport(17))


def servers(response: Message) -> list[Address]:
    return [each.address for each in response.get_all(AlternateServer)]


def test_a_user_is_told_the_other_server_under_integrity() -> None:
    sender = world(Alternate((OTHER,)))
    client = sender.client()
    response = ask(client)
    assert code(response) == 300
    assert servers(response) == [OTHER]
    assert response.get(MessageIntegrity) is not None
    assert verify(response, client.key().key) is not None
    (refused,) = sender.take_events(RequestRefused)
    assert refused.reason == f"sent to {OTHER}"


def test_a_stranger_is_challenged_and_told_nothing() -> None:
    client = world(Alternate((OTHER,))).client()
    assert code(client.challenge()) == 401
    client.password = "wrong"
    assert code(ask(client)) == 401


def test_the_clients_own_family_comes_first_and_is_there_or_nobody_is_sent() -> None:
    both = world(Alternate((OTHER6, OTHER)))
    assert servers(ask(both.client())) == [OTHER, OTHER6]
    assert servers(ask(both.client("2001:db8::7"))) == [OTHER6, OTHER]
    assert code(ask(world(Alternate((OTHER6,))).client())) is None


@pytest.mark.parametrize(
    ("transport", "algorithm", "told"),
    [
        (Transport.TLS, PasswordAlgorithmNumber.SHA_256, True),
        (Transport.DTLS, PasswordAlgorithmNumber.SHA_256, True),
        (Transport.TLS, None, False),
        (Transport.UDP, PasswordAlgorithmNumber.SHA_256, False),
    ],
)
def test_another_certificate_is_named_where_the_rfc_has_it(
    transport: Transport, algorithm: PasswordAlgorithmNumber | None, told: bool
) -> None:
    sender = world(Alternate((OTHER,), domain="turn2.example.org"))
    response = ask(sender.client(transport=transport, algorithm=algorithm))
    assert code(response) == 300
    domain = response.get(AlternateDomain)
    assert (domain == AlternateDomain("turn2.example.org")) is told


def test_a_rule_holds_for_its_networks() -> None:
    sender = world(Alternate((OTHER,), clients=(ip_network("192.0.2.0/25"),)))
    assert code(ask(sender.client("192.0.2.7"))) == 300
    assert code(ask(sender.client("192.0.2.200"))) is None


def test_a_rule_holds_for_its_listeners() -> None:
    sender = world(Alternate((OTHER,), listeners=frozenset({(Transport.TCP, LISTENER)})))
    assert code(ask(sender.client(transport=Transport.TCP))) == 300
    assert code(ask(sender.client())) is None


def test_a_rule_holds_from_a_number_of_allocations_on() -> None:
    sender = world(Alternate((OTHER,), above=2))
    for port in (1, 2):
        sender.client(port=port).allocate()
    assert code(ask(sender.client(port=3))) == 300


def test_a_share_of_the_clients_goes_and_each_of_them_always() -> None:
    sender = world(Alternate((OTHER,), share=30))
    hosts = [f"192.0.2.{number}" for number in range(256)]
    sent = {host for host in hosts if code(ask(sender.client(host))) == 300}
    # 30 % of 256 is 77; 5 standard deviations are 37.
    assert 40 <= len(sent) <= 114
    again = {host for host in hosts if code(ask(sender.client(host, 50000))) == 300}
    assert again == sent


def test_while_it_drains_everybody_goes_who_has_somewhere_to_go() -> None:
    sender = world(
        Alternate((OTHER,), when=AlternateWhen.DRAINING, clients=(ip_network("192.0.2.0/24"),))
    )
    here = sender.client("192.0.2.1")
    here.allocate()
    sender.server.is_draining = True
    assert servers(ask(sender.client("192.0.2.2"))) == [OTHER]
    assert code(ask(sender.client("203.0.113.2"))) == 508
    assert code(here.request(Method.REFRESH)) is None


def test_the_first_rule_that_suits_decides() -> None:
    second = Address("198.51.100.98", 3478)
    sender = world(Alternate((OTHER,), clients=(ip_network("192.0.2.1/32"),)), Alternate((second,)))
    assert servers(ask(sender.client("192.0.2.1"))) == [OTHER]
    assert servers(ask(sender.client("192.0.2.2"))) == [second]
