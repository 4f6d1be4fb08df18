"""NATs by RFC 4787: every mapping with every filtering, and the rest of its requirements."""

from itertools import pairwise, product

import pytest

from natkit.address import Address, Family
from tests.simnet import (
    Dependence,
    Endpoint,
    Hairpinning,
    Host,
    Nat,
    NatBehaviour,
    Network,
    Pooling,
    PortAssignment,
    SimulationError,
)

INDEPENDENT = Dependence.ENDPOINT_INDEPENDENT
BY_ADDRESS = Dependence.ADDRESS_DEPENDENT
BY_PORT = Dependence.ADDRESS_AND_PORT_DEPENDENT
CELLS = list(product(Dependence, Dependence))
EXTERNAL = "198.51.100.7"


class Home:
    """Two hosts behind a NAT, and two on the internet."""

    def __init__(self, behaviour: NatBehaviour | None = None, *external: str) -> None:
        self.network = Network(1)
        self.nat: Nat = self.network.nat("home", *(external or (EXTERNAL,)), behaviour=behaviour)
        self.phone = self.network.host("phone", "192.168.1.2", behind=self.nat)
        self.laptop = self.network.host("laptop", "192.168.1.3", behind=self.nat)
        self.one: Host = self.network.host("one", "203.0.113.1")
        self.two: Host = self.network.host("two", "203.0.113.2")

    def seen_at(self, sender: Endpoint, receiver: Endpoint) -> Address:
        """The source that ``receiver`` sees."""
        sender.send(b"out", receiver.address)
        return self.last_source(receiver)

    def last_source(self, receiver: Endpoint) -> Address:
        self.network.run_until_quiet(5.0)
        return receiver.received[-1][1]

    def passes(self, sender: Endpoint, to: Address, receiver: Endpoint) -> bool:
        """Whether a datagram from outside ``to`` an external address gets in."""
        count = len(receiver.received)
        sender.send(b"in", to)
        self.network.run_until_quiet(5.0)
        return len(receiver.received) > count


@pytest.mark.parametrize(("mapping", "filtering"), CELLS)
def test_a_mapping_is_shared_by_the_remotes_of_one_key(
    mapping: Dependence, filtering: Dependence
) -> None:
    """RFC 4787 §4.1."""
    home = Home(NatBehaviour(mapping=mapping, filtering=filtering))
    inner = Endpoint(home.phone)
    first = home.seen_at(inner, Endpoint(home.one))
    same_address = home.seen_at(inner, Endpoint(home.one))
    other_address = home.seen_at(inner, Endpoint(home.two))
    assert first.host == EXTERNAL
    assert (first == same_address) == (mapping in {INDEPENDENT, BY_ADDRESS})
    assert (first == other_address) == (mapping is INDEPENDENT)
    assert len({first, same_address, other_address}) == len(home.nat.mappings)


@pytest.mark.parametrize(("mapping", "filtering"), CELLS)
def test_a_filter_lets_in_the_remotes_of_the_keys_that_were_sent_to(
    mapping: Dependence, filtering: Dependence
) -> None:
    """RFC 4787 §5."""
    home = Home(NatBehaviour(mapping=mapping, filtering=filtering))
    inner, asked = Endpoint(home.phone), Endpoint(home.one)
    outside = home.seen_at(inner, asked)
    assert home.passes(asked, outside, inner)
    assert home.passes(Endpoint(home.one), outside, inner) == (filtering is not BY_PORT)
    assert home.passes(Endpoint(home.two), outside, inner) == (filtering is INDEPENDENT)


@pytest.mark.parametrize(("mapping", "filtering"), CELLS)
def test_what_comes_in_shows_its_real_source_and_the_reply_goes_back_to_it(
    mapping: Dependence, filtering: Dependence
) -> None:
    home = Home(NatBehaviour(mapping=mapping, filtering=filtering))
    inner, echo = Endpoint(home.phone), Endpoint(home.one, echo=True)
    inner.send(b"ping", echo.address)
    home.network.run_until_quiet(5.0)
    assert inner.received == [(b"ping", echo.address)]


@pytest.mark.parametrize("protocol_port", [1, 80])
def test_unasked_packets_stay_outside(protocol_port: int) -> None:
    home = Home()
    inner = Endpoint(home.phone, protocol_port)
    assert not home.passes(Endpoint(home.one), Address(EXTERNAL, protocol_port), inner)
    assert home.network.trace.count("no mapping", "home") == 1


def test_private_addresses_are_not_reached_from_outside() -> None:
    home = Home()
    inner = Endpoint(home.phone)
    assert not home.passes(Endpoint(home.one), inner.address, inner)
    assert home.network.trace.count("no route", "internet") == 1


def test_hosts_behind_one_nat_reach_each_other_without_it() -> None:
    home = Home()
    phone, laptop = Endpoint(home.phone), Endpoint(home.laptop)
    assert home.seen_at(phone, laptop) == phone.address
    assert home.nat.mappings == ()


# ── lifetime, RFC 4787 §4.3 ─────────────────────────────────────────────────────────────────────


def test_a_mapping_dies_at_the_end_of_its_lifetime_and_a_new_one_is_made() -> None:
    home = Home(NatBehaviour(lifetime=120.0, ports=PortAssignment.SEQUENTIAL))
    inner, asked = Endpoint(home.phone), Endpoint(home.one)
    outside = home.seen_at(inner, asked)
    home.network.run_for(119.0)
    assert home.passes(asked, outside, inner)
    home.network.run_for(1.0)
    assert not home.passes(asked, outside, inner)
    assert home.nat.mappings == ()
    assert home.seen_at(inner, asked) != outside


def test_outbound_packets_renew_a_mapping() -> None:
    home = Home(NatBehaviour(lifetime=120.0))
    inner, asked = Endpoint(home.phone), Endpoint(home.one)
    outside = home.seen_at(inner, asked)
    for _ in range(10):
        home.network.run_for(100.0)
        assert home.seen_at(inner, asked) == outside
    assert home.passes(asked, outside, inner)


@pytest.mark.parametrize("refresh", [False, True])
def test_inbound_packets_renew_a_mapping_only_where_asked(*, refresh: bool) -> None:
    home = Home(NatBehaviour(lifetime=120.0, refresh_inbound=refresh))
    inner, asked = Endpoint(home.phone), Endpoint(home.one)
    outside = home.seen_at(inner, asked)
    home.network.run_for(100.0)
    assert home.passes(asked, outside, inner)
    home.network.run_for(100.0)
    assert home.passes(asked, outside, inner) == refresh


def test_a_remote_that_is_no_longer_sent_to_is_filtered_while_the_mapping_lives() -> None:
    home = Home(NatBehaviour(lifetime=120.0, filtering=BY_ADDRESS))
    inner, left, kept = Endpoint(home.phone), Endpoint(home.one), Endpoint(home.two)
    outside = home.seen_at(inner, left)
    home.network.run_for(100.0)
    assert home.seen_at(inner, kept) == outside
    home.network.run_for(100.0)
    assert not home.passes(left, outside, inner)
    assert home.passes(kept, outside, inner)


def test_a_rebooted_nat_has_forgotten_everything() -> None:
    home = Home(NatBehaviour(filtering=INDEPENDENT))
    inner, asked = Endpoint(home.phone), Endpoint(home.one)
    outside = home.seen_at(inner, asked)
    home.nat.reboot()
    assert not home.passes(asked, outside, inner)


# ── ports, RFC 4787 §4.2 ────────────────────────────────────────────────────────────────────────


def test_ports_are_preserved_until_two_hosts_want_the_same() -> None:
    home = Home(NatBehaviour(ports=PortAssignment.PRESERVED))
    asked = Endpoint(home.one)
    first = home.seen_at(Endpoint(home.phone, 5060), asked)
    second = home.seen_at(Endpoint(home.laptop, 5060), asked)
    assert first.port == 5060
    assert second.port != 5060


def test_a_port_is_free_again_when_its_mapping_has_died() -> None:
    home = Home(NatBehaviour(lifetime=60.0))
    asked = Endpoint(home.one)
    home.seen_at(Endpoint(home.phone, 5060), asked)
    home.network.run_for(60.0)
    assert home.seen_at(Endpoint(home.laptop, 5060), asked).port == 5060


def test_well_known_ports_are_not_preserved() -> None:
    home = Home()
    assert home.seen_at(Endpoint(home.phone, 53), Endpoint(home.one)).port >= 1024


def test_sequential_ports_follow_each_other_and_wrap_around() -> None:
    home = Home(NatBehaviour(ports=PortAssignment.SEQUENTIAL, first_port=4000, last_port=4003))
    asked = Endpoint(home.one)
    ports = [home.seen_at(Endpoint(home.phone), asked).port for _ in range(3)]
    home.network.run_for(300.0)
    ports += [home.seen_at(Endpoint(home.phone), asked).port for _ in range(2)]
    assert ports == [4000, 4001, 4002, 4003, 4000]


def test_random_ports_do_not_follow_each_other() -> None:
    home = Home(NatBehaviour(ports=PortAssignment.RANDOM))
    asked = Endpoint(home.one)
    ports = [home.seen_at(Endpoint(home.phone), asked).port for _ in range(20)]
    assert len(set(ports)) == 20
    assert not any(later - port == 1 for port, later in pairwise(ports))


def test_parity_is_kept() -> None:
    home = Home(NatBehaviour(ports=PortAssignment.RANDOM, parity=True))
    asked = Endpoint(home.one)
    for port in range(6000, 6020):
        assert home.seen_at(Endpoint(home.phone, port), asked).port % 2 == port % 2


def test_contiguity_keeps_an_rtp_pair_together() -> None:
    home = Home(NatBehaviour(ports=PortAssignment.RANDOM, contiguity=True))
    asked = Endpoint(home.one)
    rtp = home.seen_at(Endpoint(home.phone, 6000), asked)
    rtcp = home.seen_at(Endpoint(home.phone, 6001), asked)
    stranger = home.seen_at(Endpoint(home.laptop, 6001), asked)
    assert rtcp.port == rtp.port + 1
    assert stranger.port != rtp.port + 1


def test_a_nat_without_a_free_port_drops() -> None:
    home = Home(NatBehaviour(first_port=4000, last_port=4001))
    asked = Endpoint(home.one)
    for _ in range(3):
        Endpoint(home.phone).send(b"", asked.address)
    home.network.run_until_quiet(5.0)
    assert len(asked.received) == 2
    assert home.network.trace.count("no port left", "home") == 1


# ── address pools, RFC 4787 §4.1 ────────────────────────────────────────────────────────────────

POOL = [f"198.51.100.{last}" for last in range(1, 9)]


def test_paired_pooling_gives_a_host_one_external_address() -> None:
    home = Home(NatBehaviour(mapping=BY_PORT, pooling=Pooling.PAIRED), *POOL)
    asked = Endpoint(home.one)
    of_phone = {home.seen_at(Endpoint(home.phone), asked).host for _ in range(20)}
    of_laptop = {home.seen_at(Endpoint(home.laptop), asked).host for _ in range(20)}
    assert len(of_phone) == len(of_laptop) == len(of_phone & of_laptop) + 1 == 1


def test_arbitrary_pooling_does_not() -> None:
    home = Home(NatBehaviour(pooling=Pooling.ARBITRARY), *POOL)
    asked = Endpoint(home.one)
    assert len({home.seen_at(Endpoint(home.phone), asked).host for _ in range(20)}) > 1


# ── hairpinning, RFC 4787 §6 ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hairpinning", Hairpinning)
@pytest.mark.parametrize("filtering", Dependence)
def test_hairpinning(hairpinning: Hairpinning, filtering: Dependence) -> None:
    home = Home(NatBehaviour(hairpinning=hairpinning, filtering=filtering))
    asked, phone, laptop = Endpoint(home.one), Endpoint(home.phone), Endpoint(home.laptop)
    phone_outside = home.seen_at(phone, asked)
    laptop_outside = home.seen_at(laptop, asked)
    # Each sends to the other's mapping, as ICE agents do; that opens the filters.
    home.passes(phone, laptop_outside, laptop)
    passes = home.passes(laptop, phone_outside, phone)
    assert passes == (hairpinning is not Hairpinning.OFF)
    if passes:
        expected = {
            Hairpinning.EXTERNAL_SOURCE: laptop_outside,
            Hairpinning.INTERNAL_SOURCE: laptop.address,
        }
        assert phone.received[-1] == (b"in", expected[hairpinning])


def test_hairpinning_obeys_the_filter() -> None:
    home = Home(NatBehaviour(filtering=BY_ADDRESS))
    asked, phone, laptop = Endpoint(home.one), Endpoint(home.phone), Endpoint(home.laptop)
    phone_outside = home.seen_at(phone, asked)
    assert not home.passes(laptop, phone_outside, phone)


def test_a_host_can_hairpin_to_itself() -> None:
    home = Home(NatBehaviour(filtering=INDEPENDENT))
    asked, phone = Endpoint(home.one), Endpoint(home.phone)
    outside = home.seen_at(phone, asked)
    phone.send(b"to myself", outside)
    home.network.run_until_quiet(5.0)
    assert phone.received == [(b"to myself", outside)]


# ── nested NATs, other families ─────────────────────────────────────────────────────────────────


class Carrier:
    """Two homes behind one carrier-grade NAT."""

    def __init__(self, carrier: NatBehaviour, home: NatBehaviour) -> None:
        self.network = Network(1)
        self.carrier = self.network.nat("carrier", EXTERNAL, behaviour=carrier)
        self.hosts = []
        for number in (1, 2):
            nat = self.network.nat(
                f"home{number}", f"100.64.0.{number}", behaviour=home, behind=self.carrier
            )
            # Both homes use the same private address.
            self.hosts.append(self.network.host(f"phone{number}", "192.168.1.2", behind=nat))
        self.echo = Endpoint(self.network.host("one", "203.0.113.1"), echo=True)


@pytest.mark.parametrize(("outer", "inner"), CELLS)
def test_nested_nats_translate_twice_and_replies_find_back(
    outer: Dependence, inner: Dependence
) -> None:
    both = Carrier(NatBehaviour(mapping=outer), NatBehaviour(mapping=inner))
    phones = [Endpoint(host) for host in both.hosts]
    for number, phone in enumerate(phones):
        phone.send(bytes([number]), both.echo.address)
    both.network.run_until_quiet(5.0)
    assert [phone.received for phone in phones] == [
        [(b"\x00", both.echo.address)],
        [(b"\x01", both.echo.address)],
    ]
    sources = {source for _, source in both.echo.received}
    assert {source.host for source in sources} == {EXTERNAL}
    assert len(sources) == 2


def test_nested_nats_punch_by_hairpinning_at_the_carrier() -> None:
    both = Carrier(NatBehaviour(), NatBehaviour())
    phones = [Endpoint(host) for host in both.hosts]
    for phone in phones:
        phone.send(b"who am I", both.echo.address)
    both.network.run_until_quiet(5.0)
    outside = [source for _, source in both.echo.received]
    for _ in range(2):
        phones[0].send(b"hello", outside[1])
        phones[1].send(b"hello", outside[0])
        both.network.run_until_quiet(5.0)
    assert (b"hello", outside[1]) in phones[0].received
    assert (b"hello", outside[0]) in phones[1].received


def test_a_nat_without_an_ipv6_address_routes_ipv6() -> None:
    network = Network(1)
    nat = network.nat("home", EXTERNAL)
    inner = Endpoint(
        network.host("phone", "192.168.1.2", "2001:db8:1::2", behind=nat), family=Family.IPV6
    )
    outer = Endpoint(network.host("one", "2001:db8::1"), family=Family.IPV6)
    inner.send(b"out", outer.address)
    outer.send(b"in", inner.address)
    network.run_until_quiet(5.0)
    assert outer.received == [(b"out", inner.address)]
    assert inner.received == [(b"in", outer.address)]
    assert nat.mappings == ()


def test_a_nat_with_an_ipv6_address_translates_ipv6() -> None:
    network = Network(1)
    nat = network.nat("home", "2001:db8::7")
    inner = Endpoint(network.host("phone", "fd00::2", behind=nat), family=Family.IPV6)
    outer = Endpoint(network.host("one", "2001:db8::1"), family=Family.IPV6, echo=True)
    inner.send(b"ping", outer.address)
    network.run_until_quiet(5.0)
    assert outer.received == [(b"ping", Address("2001:db8::7", inner.address.port))]
    assert inner.received == [(b"ping", outer.address)]


def test_one_address_twice_in_a_realm_is_an_error() -> None:
    network = Network(1)
    network.host("one", "203.0.113.1")
    network.host("two", "203.0.113.1")
    sender = Endpoint(network.host("three", "203.0.113.3"))
    sender.send(b"", Address("203.0.113.1", 9))
    with pytest.raises(SimulationError, match="more than once"):
        network.run_until_quiet(1.0)
