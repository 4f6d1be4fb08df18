"""A proxy that is to stop begins nothing, and finishes what goes on."""

from collections.abc import Iterator

import pytest

from natkit.sip.kinds import RETRY_AFTER
from tests.simnet.network import Network
from tests.sip_proxy.world import Phone, ProxyHost, Ringing, settings


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(7) as made:
        yield made


def rings(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)


def test_what_is_new_is_refused_and_told_when_to_come_back(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    proxy.machine.drain()
    for call in (alice.register(), alice.invite("sip:bob@example.org")):
        network.run_for(1.0)
        assert call.statuses == [503]
        assert call.responses[-1].headers.has(RETRY_AFTER)


def test_a_call_that_rings_is_answered_and_ended(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11", answers=rings)
    bob.register()
    network.run_for(1.0)
    call = alice.invite(bob.uri)
    network.run_for(1.0)
    proxy.machine.drain()
    bob.respond(bob.ringing[-1], 200)
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    dialog = alice.acknowledge(call)
    again, bye = alice.within(dialog, "OPTIONS"), alice.within(dialog, "BYE")
    network.run_for(1.0)
    assert len(bob.acks) == 1
    assert 503 not in again.statuses
    assert bye.statuses == [200]


def test_a_call_that_rings_can_be_given_up(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11", answers=rings)
    bob.register()
    network.run_for(1.0)
    call = alice.invite(bob.uri)
    network.run_for(1.0)
    proxy.machine.drain()
    alice.cancel(call)
    network.run_for(1.0)
    assert call.statuses[-1] == 487


def test_it_is_over_once_the_last_transaction_has_died_out(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    alice.register()
    network.run_for(1.0)
    proxy.machine.drain()
    assert proxy.machine.load().transactions == 1
    network.run_for(40.0)
    assert proxy.machine.load().transactions == 0
