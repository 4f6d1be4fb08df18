"""Phones behind NATs that keep nothing open themselves are called after long silences all the same.

The NAT forgets a binding after 30 seconds over UDP, as RFC 4787 knows some do, and after 5 minutes
over TCP.
"""

from dataclasses import replace

import pytest

from natkit.machine import Transmit, Transport
from natkit.sip import HeaderField
from natkit.sip.kinds import MAX_FORWARDS, SUPPORTED
from sip_proxy.nat import Ask, NatSettings
from tests.simnet.behaviour import Dependence, NatBehaviour
from tests.simnet.nat import Nat
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, INSTANCE, PROXY, Phone, ProxyHost, Ringing, settings

BOB = f"sip:bob@{DOMAIN}"
FORGETFUL = NatBehaviour(lifetime=30.0, tcp_lifetime=300.0)


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


def kept(**changes: object) -> NatSettings:
    return NatSettings(**changes)  # type: ignore[arg-type]


def forgetful_nat(network: Network, behaviour: NatBehaviour = FORGETFUL) -> Nat:
    return network.nat("nat", "198.51.100.1", behaviour=behaviour)


def bob_behind(network: Network, transport: Transport = Transport.UDP, **how: object) -> Phone:
    nat = forgetful_nat(network)
    bob = Phone(network, "bob", "10.0.0.2", behind=nat, transport=transport, answers=picks_up)
    bob.register(**how)  # type: ignore[arg-type]
    network.run_for(1.0)
    return bob


def call_to_bob(network: Network) -> list[int]:
    call = Phone(network, "alice", "192.0.2.10").invite(BOB)
    network.run_for(40.0)
    return call.statuses


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_after_many_lifetimes_of_silence_the_phone_rings(
    network: Network, transport: Transport
) -> None:
    ProxyHost(network, settings())
    bob_behind(network, transport)
    network.run_for(3000.0)
    assert call_to_bob(network) == [180, 200]


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_without_keep_alive_it_does_not(network: Network, transport: Transport) -> None:
    ProxyHost(network, settings(nat=kept(keep_alive=Ask.NOTHING)))
    bob_behind(network, transport)
    network.run_for(3000.0)
    assert call_to_bob(network) == [408]


@pytest.mark.parametrize(("counts_what_enters", "outcome"), [(True, [180, 200]), (False, [408])])
def test_a_crlf_over_udp_is_enough_for_nats_that_count_what_enters(
    network: Network, counts_what_enters: bool, outcome: list[int]
) -> None:
    ProxyHost(network, settings(nat=kept(keep_alive=Ask.CRLF)))
    nat = forgetful_nat(network, replace(FORGETFUL, refresh_inbound=counts_what_enters))
    bob = Phone(network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
    bob.register()
    network.run_for(3000.0)
    assert call_to_bob(network) == outcome


@pytest.mark.parametrize("mapping", list(Dependence))
@pytest.mark.parametrize("filtering", list(Dependence))
def test_it_works_behind_every_kind_of_nat(
    network: Network, mapping: Dependence, filtering: Dependence
) -> None:
    ProxyHost(network, settings())
    behaviour = NatBehaviour(mapping=mapping, filtering=filtering, lifetime=30.0)
    nat = forgetful_nat(network, behaviour)
    bob = Phone(network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
    bob.register()
    network.run_for(600.0)
    assert call_to_bob(network) == [180, 200]


def watched(network: Network, proxy: ProxyHost, seconds: float) -> list[Transmit]:
    """What the proxy sends of itself."""
    sent: list[Transmit] = []
    machine = proxy.machine
    transmits = machine.transmits

    def noted() -> list[Transmit]:
        taken = list(transmits())
        sent.extend(taken)
        return taken

    machine.transmits = noted  # type: ignore[method-assign]
    network.run_for(seconds)
    return sent


def test_a_datagram_of_four_bytes_at_least_every_25_seconds(network: Network) -> None:
    proxy = ProxyHost(network, settings(nat=kept(keep_alive=Ask.CRLF)))
    bob_behind(network)
    sent = watched(network, proxy, 1000.0)
    assert {transmit.data for transmit in sent} == {b"\r\n\r\n"}
    assert 40 <= len(sent) <= 51
    assert sent[0].path.remote.host == "198.51.100.1"
    assert sent[0].path.local == PROXY


def test_an_options_goes_to_the_contact_and_no_further(network: Network) -> None:
    ProxyHost(network, settings(nat=kept(keep_alive=Ask.OPTIONS)))
    bob = bob_behind(network)
    network.run_for(30.0)
    options = bob.received[0]
    assert options.method == "OPTIONS"
    assert options.uri_text == bob.contact
    assert options.headers.get(MAX_FORWARDS) == 1


def test_one_is_asked_again_as_soon_as_the_interval_says(network: Network) -> None:
    ProxyHost(network, settings(nat=kept(interval=2.0)))
    bob = bob_behind(network)
    network.run_for(60.0)
    assert 30 <= len(bob.received) <= 38


@pytest.mark.parametrize("misses", [1, 3])
def test_a_phone_that_answers_no_options_is_gone_after_some(network: Network, misses: int) -> None:
    method = Ask.OPTIONS
    proxy = ProxyHost(network, settings(nat=kept(keep_alive=method, misses=misses)))
    bob = bob_behind(network)
    bob.shell.stop()
    # Each takes 32 seconds until nobody answered, and the next one follows by the wheel.
    network.run_for(50.0 * (misses - 1) + 20.0)
    assert len(proxy.location.get(BOB)) == 1
    network.run_for(60.0)
    assert proxy.location.get(BOB) == ()
    assert len(proxy.machine._far_end) == 0
    assert call_to_bob(network) == [480]


def test_an_answer_of_any_kind_is_a_sign_of_life(network: Network) -> None:
    proxy = ProxyHost(network, settings(nat=kept(keep_alive=Ask.OPTIONS, misses=1)))
    bob = bob_behind(network)
    bob.otherwise = 501
    network.run_for(1000.0)
    assert len(proxy.location.get(BOB)) == 1


def test_who_is_behind_no_nat_is_left_alone(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    Phone(network, "bob", "192.0.2.11").register()
    network.run_for(1.0)
    assert len(proxy.machine._far_end) == 0


def test_or_is_kept_where_that_is_wished(network: Network) -> None:
    proxy = ProxyHost(network, settings(nat=kept(everybody=True)))
    wall = network.firewall("firewall", lifetime=30.0)
    bob = Phone(network, "bob", "192.0.2.11", behind=wall, answers=picks_up)
    bob.register()
    network.run_for(600.0)
    assert len(proxy.machine._far_end) == 1
    assert call_to_bob(network) == [180, 200]


def test_who_keeps_a_flow_by_rfc_5626_is_left_alone(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob_behind(network, parameters=f';reg-id=1;+sip.instance="{INSTANCE}"')
    assert len(proxy.machine._far_end) == 1
    bob = Phone(network, "carol", "10.0.0.3", behind=network.nat("nat2", "198.51.100.2"))
    bob.register(
        HeaderField.of(SUPPORTED, "outbound"), parameters=f';reg-id=1;+sip.instance="{INSTANCE}"'
    )
    network.run_for(1.0)
    assert len(proxy.machine._far_end) == 1


def test_it_ends_with_the_registration(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob = bob_behind(network)
    assert len(proxy.machine._far_end) == 1
    bob.register(expires=0)
    network.run_for(1.0)
    assert len(proxy.machine._far_end) == 0
    assert watched(network, proxy, 100.0) == []


def test_it_ends_when_the_registration_lapses(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob_behind(network, expires=100)
    network.run_for(130.0)
    assert len(proxy.machine._far_end) == 0
    assert proxy.is_idle


def test_it_ends_with_the_connection(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob = bob_behind(network, Transport.TCP)
    bob.shell.stop()
    network.run_for(1.0)
    assert len(proxy.machine._far_end) == 0


def test_phones_beyond_the_bound_are_not_kept_and_take_no_room(network: Network) -> None:
    proxy = ProxyHost(network, settings(nat=kept(largest_count=2)))
    nat = forgetful_nat(network)
    phones = [
        Phone(network, f"user{n}", f"10.0.0.{n}", behind=nat, answers=picks_up) for n in range(2, 6)
    ]
    for phone in phones:
        phone.register()
    network.run_for(1.0)
    assert len(proxy.machine._far_end) == 2
    phones[0].register(expires=0)
    network.run_for(1.0)
    phones[3].register()
    network.run_for(1.0)
    assert len(proxy.machine._far_end) == 2


def test_many_phones_that_come_at_once_are_not_served_all_at_once(network: Network) -> None:
    proxy = ProxyHost(network, settings(nat=kept(keep_alive=Ask.CRLF)))
    nat = forgetful_nat(network)
    for number in range(50):
        Phone(network, f"user{number}", f"10.0.1.{number}", behind=nat).register()
    network.run_for(1.0)
    machine = proxy.machine
    times: list[float] = []
    transmits = machine._far_end.transmits

    def noted() -> list[Transmit]:
        taken = list(transmits())
        times.extend([network.now] * len(taken))
        return taken

    machine._far_end.transmits = noted  # type: ignore[method-assign]
    network.run_for(26.0)
    assert len(times) >= 50
    per_second = [len([at for at in times if int(at) == second]) for second in set(map(int, times))]
    assert max(per_second) < 15


def test_after_a_restart_the_flows_of_before_are_kept(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob_behind(network)
    proxy.shell.stop()
    proxy.start()
    bindings = proxy.location.get(BOB)
    proxy.shell.call(lambda now: proxy.machine.resume(BOB, bindings, now))
    network.run_for(600.0)
    assert call_to_bob(network) == [180, 200]


def test_connections_of_before_a_restart_are_not(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob_behind(network, Transport.TCP)
    bindings = proxy.location.get(BOB)
    proxy.shell.stop()
    proxy.start()
    proxy.shell.call(lambda now: proxy.machine.resume(BOB, bindings, now))
    assert len(proxy.machine._far_end) == 0


def test_it_ends_when_the_configuration_says_so(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob_behind(network, Transport.TCP)
    assert len(proxy.machine._far_end) == 1
    without = settings(nat=kept(keep_alive=Ask.NOTHING))
    proxy.shell.call(lambda now: proxy.machine.configure(without, now))
    network.run_for(200.0)
    assert len(proxy.machine._far_end) == 0
    assert proxy.is_idle
