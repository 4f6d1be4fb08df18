"""Our client and our server through NATs and firewalls, over UDP and TCP, IPv4 and IPv6."""

from dataclasses import replace
from itertools import product
from typing import Final

import pytest

from natkit.address import Family
from natkit.errors import AllocationMismatch, TransactionTimeout, UnreachableError
from natkit.machine import Transport
from natkit.turn.events import (
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    ChannelBound,
    PermissionInstalled,
)
from tests.natkit.turn.simulated import (
    PEER_HOSTS,
    SETTINGS,
    Caller,
    Relay,
    caller_on,
    network_of,
)
from tests.simnet import (
    Conditions,
    Dependence,
    Endpoint,
    NatBehaviour,
    PortAssignment,
    Protocol,
    Router,
)

CELLS: Final = list(product(Dependence, Dependence))
TRANSPORTS: Final = [Transport.UDP, Transport.TCP]
EXTERNAL: Final = "198.51.100.7"
ROUGH: Final = Conditions(loss=0.1, jitter=0.03, duplication=0.1, reordering=0.2)


class Street:
    """A relay, an echoing peer, and a caller behind whatever a test puts in between."""

    def __init__(
        self,
        *,
        behaviour: NatBehaviour | None = None,
        transport: Transport = Transport.UDP,
        family: Family = Family.IPV4,
        relayed: Family | None = None,
        link: Conditions | None = None,
        seed: int = 1,
    ) -> None:
        self.network = network_of(seed)
        self.relay = Relay(self.network)
        behind: Router | None = None
        if behaviour is not None:
            behind = self.network.nat("home", EXTERNAL, behaviour=behaviour)
        self.behind = behind
        self.caller: Caller = caller_on(
            self.relay,
            behind=behind,
            transport=transport,
            family=family,
            relayed=relayed,
            link=link,
        )
        host = self.network.host("peer", *PEER_HOSTS)
        self.peer = Endpoint(host, family=relayed or Family.IPV4, echo=True)

    def open(self) -> None:
        """Allocate, and permit the peer."""
        self.caller.allocate()
        self.caller.permit(self.peer.address)
        self.caller.until(lambda: bool(self.caller.shell.take(PermissionInstalled)))

    def bind(self) -> None:
        """Bind a channel to the peer."""
        self.caller.bind_channel(self.peer.address)
        self.caller.until(lambda: bool(self.caller.shell.take(ChannelBound)))

    def echo(self, data: bytes) -> bool:
        """Whether the peer got ``data`` from the relayed address, and its echo came back."""
        self.peer.received.clear()
        self.caller.send(data, self.peer.address)
        self.network.run_for(1.0)
        assert self.peer.received in ([], [(data, self.caller.relayed)])
        return self.caller.received() == [(data, self.peer.address)]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("mapping", "filtering"), CELLS)
def test_the_relay_is_reached_through_every_nat(
    mapping: Dependence, filtering: Dependence, transport: Transport
) -> None:
    behaviour = NatBehaviour(mapping=mapping, filtering=filtering, ports=PortAssignment.RANDOM)
    street = Street(behaviour=behaviour, transport=transport)
    with street.network as network:
        allocated = street.caller.allocate()
        assert allocated.mapped is not None
        assert allocated.mapped.host == EXTERNAL
        street.caller.permit(street.peer.address)
        assert street.echo(b"in indications")
        street.bind()
        assert street.echo(b"on a channel")
        network.run_for(2 * 3600.0)
        assert street.echo(b"two hours later")
        assert street.caller.agrees_with_relay()
        street.caller.close()
        network.run_for(1.0)
        assert street.caller.shell.take(AllocationClosed) == [AllocationClosed(confirmed=True)]
        assert street.relay.relayed == ()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("family", "relayed"), list(product(Family, Family)))
def test_every_family_of_client_gets_every_family_of_relayed_address(
    family: Family, relayed: Family, transport: Transport
) -> None:
    street = Street(family=family, relayed=relayed, transport=transport)
    with street.network:
        allocated = street.caller.allocate()
        assert allocated.relayed.family is relayed
        assert allocated.mapped is not None
        assert allocated.mapped.family is family
        street.caller.permit(street.peer.address)
        assert street.echo(b"in indications")
        street.bind()
        assert street.echo(b"on a channel")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1200, 40_000])
def test_data_of_any_size_comes_back_whole(size: int, transport: Transport) -> None:
    street = Street(transport=transport)
    with street.network:
        street.open()
        data = bytes(number % 251 for number in range(size))
        assert street.echo(data)
        street.bind()
        assert street.echo(data)


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_on_a_rough_link_loses_nothing_between_client_and_relay(seed: int) -> None:
    street = Street(transport=Transport.TCP, link=ROUGH, seed=seed)
    with street.network as network:
        street.open()
        street.bind()
        sent = [number.to_bytes(2, "big") * (number % 50) for number in range(100)]
        for data in sent:
            street.caller.send(data, street.peer.address)
        network.run_for(300.0)
        assert [data for data, _ in street.peer.received] == sent
        assert [data for data, _ in street.caller.received()] == sent


def test_two_nested_nats_are_no_obstacle() -> None:
    network = network_of(1)
    with network:
        relay = Relay(network)
        symmetric = NatBehaviour(
            mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT,
            filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT,
            ports=PortAssignment.RANDOM,
        )
        carrier = network.nat("carrier", EXTERNAL, behaviour=symmetric)
        home = network.nat("home", "100.64.0.1", behaviour=symmetric, behind=carrier)
        caller = caller_on(relay, behind=home)
        peer = Endpoint(network.host("peer", *PEER_HOSTS), echo=True)
        assert caller.allocate().mapped in {m.outside for m in carrier.mappings}
        caller.send(b"through both", peer.address)
        network.run_for(1.0)
        assert caller.received() == [(b"through both", peer.address)]


def test_where_udp_is_blocked_the_client_is_told_and_tcp_gets_through() -> None:
    network = network_of(1)
    with network:
        relay = Relay(network)
        wall = network.firewall("wall", blocked=frozenset({Protocol.UDP}))
        host = network.host("client", "192.0.2.1", behind=wall)
        over_udp = Caller(relay, host)
        over_udp.shell.call(over_udp.allocation.allocate)
        over_udp.until(lambda: over_udp.events != [])
        [failed] = over_udp.shell.take(AllocateFailed)
        assert isinstance(failed.error, TransactionTimeout)
        assert Caller(relay, host, transport=Transport.TCP).allocate().relayed in relay.relayed


# ── two clients of one server ───────────────────────────────────────────────────────────────────


class Pair:
    """Two callers behind symmetric NATs; the server allows no special-purpose peer."""

    def __init__(self) -> None:
        self.network = network_of(1)
        self.relay = Relay(self.network, settings=replace(SETTINGS, allowed_peers=()))
        behaviour = NatBehaviour(
            mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT,
            filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT,
        )
        self.callers: list[Caller] = []
        for number in (1, 2):
            nat = self.network.nat(f"home{number}", f"198.51.100.{number}", behaviour=behaviour)
            host = self.network.host(f"client{number}", "192.168.1.2", behind=nat)
            caller = Caller(self.relay, host)
            caller.allocate()
            self.callers.append(caller)

    def talk(self) -> None:
        """Each sends to the other's relayed address, and hears the other."""
        one, two = self.callers
        for number in range(3):
            data = bytes([number])
            one.send(b"from one" + data, two.relayed)
            two.send(b"from two" + data, one.relayed)
            self.network.run_for(1.0)
        assert one.received()[-1] == (b"from two\x02", two.relayed)
        assert two.received()[-1] == (b"from one\x02", one.relayed)


def test_two_clients_of_one_server_reach_each_other_by_permissions() -> None:
    pair = Pair()
    with pair.network as network:
        one, two = pair.callers
        one.permit(two.relayed)
        two.permit(one.relayed)
        network.run_for(1.0)
        pair.talk()
        network.run_for(3600.0)
        pair.talk()


def test_two_clients_of_one_server_reach_each_other_by_channels() -> None:
    pair = Pair()
    with pair.network as network:
        one, two = pair.callers
        one.bind_channel(two.relayed)
        two.bind_channel(one.relayed)
        network.run_for(1.0)
        pair.talk()
        network.run_for(3600.0)
        pair.talk()


# ── paths that change or end ────────────────────────────────────────────────────────────────────


def test_a_mapping_that_comes_back_elsewhere_loses_the_allocation_and_says_so() -> None:
    # Nothing but the refresh after 520 s crosses this NAT, which forgets after 120 s.
    behaviour = NatBehaviour(lifetime=120.0, ports=PortAssignment.SEQUENTIAL)
    street = Street(behaviour=behaviour)
    with street.network as network:
        street.caller.allocate()
        network.run_for(530.0)
        [lost] = street.caller.shell.take(AllocationLost)
        assert isinstance(lost.error, AllocationMismatch)
        network.run_for(100.0)
        assert street.relay.relayed == ()


def test_a_permission_keeps_a_mapping_of_five_minutes_alive() -> None:
    street = Street(behaviour=NatBehaviour(lifetime=300.0, ports=PortAssignment.SEQUENTIAL))
    with street.network as network:
        street.open()
        network.run_for(24 * 3600.0)
        assert street.echo(b"the next day")
        assert street.caller.agrees_with_relay()


def test_a_broken_stream_ends_the_allocation_at_both_ends() -> None:
    street = Street(transport=Transport.TCP)
    with street.network as network:
        street.open()
        link = street.caller.host.link
        link.black_out(network.now, network.now + 3600.0)
        street.caller.send(b"into the void", street.peer.address)
        network.run_for(70.0)
        [lost] = street.caller.shell.take(AllocationLost)
        assert isinstance(lost.error, UnreachableError)
        street.peer.send(b"anybody there?", street.relay.relayed[0])
        network.run_for(600.0)
        assert street.relay.relayed == ()


def test_a_client_that_vanishes_is_forgotten_with_its_stream() -> None:
    street = Street(transport=Transport.TCP)
    with street.network as network:
        street.open()
        street.caller.shell.stop()
        network.run_for(1.0)
        assert street.relay.relayed == ()


def test_a_client_that_vanishes_over_udp_is_forgotten_within_its_lifetime() -> None:
    street = Street()
    with street.network as network:
        allocated = street.caller.allocate()
        street.caller.shell.stop()
        open_addresses = []
        for seconds in (allocated.lifetime - 1.0, 1.0):
            network.run_for(seconds)
            open_addresses.append(street.relay.relayed)
        assert open_addresses == [(allocated.relayed,), ()]


def test_an_address_that_a_peer_uses_is_not_enough_without_a_permission() -> None:
    street = Street()
    with street.network as network:
        allocated = street.caller.allocate()
        street.peer.send(b"unasked", allocated.relayed)
        network.run_for(1.0)
        assert street.caller.received() == []
        street.caller.permit(street.peer.address)
        network.run_for(1.0)
        other = Endpoint(network.host("other", "203.0.113.21"))
        other.send(b"unasked", allocated.relayed)
        street.peer.send(b"asked", allocated.relayed)
        network.run_for(1.0)
        assert street.caller.received() == [(b"asked", street.peer.address)]
