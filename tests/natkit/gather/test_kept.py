"""What was gathered is kept: relays, the bindings of NATs, and all of it until it is given back."""

from functools import partial

from natkit.gather import (
    BaseLost,
    GatherClosed,
    GatherSettings,
    RelayedDataReceived,
    Slot,
    StunServer,
)
from tests.natkit.gather.test_gatherer import DEAD, HOST, REFLEXIVE, RELAYED, STUN, at_home, turn
from tests.natkit.gather.world import (
    Gathering,
    RelayServer,
)
from tests.simnet import Endpoint, NatBehaviour, Network
from tests.simnet.behaviour import Dependence


def test_data_passes_through_the_relay_both_ways_for_as_long_as_it_is_kept() -> None:
    with Network(seed=19) as network:
        RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        peer = Endpoint(network.host("peer", "198.51.100.20"), 4000, echo=True)
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(),)))
        gathering.run()
        (relayed,) = gathering.of_type(RELAYED)
        gatherer, shell = gathering.gatherer, gathering.shell
        shell.call(lambda now: gatherer.permit(Slot(0, 1), peer.address, now))
        for second in (0.0, 3600.0, 36000.0):
            network.run_for(second)
            payload = f"at {second}".encode()
            shell.call(partial(gatherer.send, payload, relayed.base, peer.address))
            network.run_until(lambda: bool(gathering.told(RelayedDataReceived)), limit=5.0)
            (received,) = shell.take(RelayedDataReceived)
            assert (received.data, received.path.local) == (payload, relayed.base)
            assert peer.received[-1] == (payload, relayed.address)
            shell.call(lambda now: gatherer.prefer(relayed.base, peer.address, now))


def test_a_relay_that_is_lost_is_told() -> None:
    with Network(seed=20) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(),)))
        gathering.run()
        (relayed,) = gathering.of_type(RELAYED)
        server.shell.stop()
        network.run_until(lambda: bool(gathering.told(BaseLost)), limit=1200.0)
        (lost,) = gathering.told(BaseLost)
        assert (lost.slot, lost.base) == (Slot(0, 1), relayed.base)
        assert not gathering.gatherer.relays(relayed.base)


def test_the_nats_binding_is_kept_until_the_checks_do_that() -> None:
    with Network(seed=21) as network:
        RelayServer(network, "server", "203.0.113.1")
        behaviour = NatBehaviour(lifetime=30.0, filtering=Dependence.ENDPOINT_INDEPENDENT)
        home = network.nat("home", "198.51.100.7", behaviour=behaviour)
        phone = network.host("phone", "192.168.1.2", behind=home)
        gathering = Gathering(network, phone, GatherSettings(servers=(StunServer(STUN),)))
        gathering.run()
        (reflexive,) = gathering.of_type(REFLEXIVE)
        network.run_for(600.0)
        assert [each.outside for each in home.mappings] == [reflexive.address]
        gathering.gatherer.rest()
        network.run_for(600.0)
        assert home.mappings == ()


def test_closing_gives_back_allocations_and_sockets() -> None:
    with Network(seed=22) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(), StunServer(STUN))))
        gathering.run()
        gathering.shell.call(gathering.gatherer.close)
        network.run_until(lambda: bool(gathering.told(GatherClosed)), limit=10.0)
        assert server.allocations == 0
        assert phone.sockets == ()


def test_closing_while_everything_is_under_way_leaves_nothing_open() -> None:
    with Network(seed=23) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        servers = (
            turn(),
            turn("turn:203.0.113.1?transport=tcp"),
            turn("turn:203.0.113.99?transport=tcp"),
            StunServer(DEAD),
        )
        for delay in (0.0, 0.02, 0.045, 0.08, 0.11, 0.2):
            gathering = Gathering(network, phone, GatherSettings(servers=servers))
            gathering.start()
            network.run_for(delay)
            gathering.shell.call(gathering.gatherer.close)
            network.run_for(120.0)
            assert len(gathering.told(GatherClosed)) == 1
            assert (phone.sockets, phone.streams) == ((), ())
        network.run_for(700.0)
        assert server.allocations == 0


def test_what_no_pair_needs_is_given_back() -> None:
    with Network(seed=24) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(),)))
        gathering.run()
        for candidate in (*gathering.of_type(HOST), *gathering.of_type(RELAYED)):
            gathering.shell.call(partial(gathering.gatherer.release, candidate.base))
        network.run_until(lambda: server.allocations == 0, limit=5.0)
        network.run_until(lambda: phone.sockets == (), limit=5.0)
