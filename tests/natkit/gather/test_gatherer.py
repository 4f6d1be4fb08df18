"""What a gatherer finds, when it tells, and what silent or unwilling servers cost."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from natkit.address import Address, Family
from natkit.errors import MisuseError
from natkit.gather import (
    CandidateRedundant,
    GatherClosed,
    Gathered,
    Gatherer,
    GatherSettings,
    Policy,
    PortRange,
    Rewrite,
    RewriteMode,
    RouteToGateway,
    ServerFailed,
    Slot,
    StunServer,
    TurnServer,
)
from natkit.ice.candidate import CandidateType
from natkit.machine import Failure, Transport
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from stun_server.settings import Alternate, Settings
from stun_server.settings import PortRange as RelayPorts
from tests.natkit.gather.world import (
    PASSWORD,
    SETTINGS,
    USERNAME,
    Gathering,
    RelayServer,
    target,
)
from tests.natkit.portmap.fake_gateway import EXTERNAL, FakeGateway
from tests.simnet import Conditions, Endpoint, Host, Nat, Network

HOST = CandidateType.HOST
REFLEXIVE = CandidateType.SERVER_REFLEXIVE
RELAYED = CandidateType.RELAYED

STUN = "stun:203.0.113.1"
TURN = "turn:203.0.113.1"
DEAD = "stun:203.0.113.99"


def turn(uri: str = TURN, password: str = PASSWORD) -> TurnServer:
    return TurnServer(uri, USERNAME, password)


def sending_to(host: str) -> Settings:
    """Of a server that sends all its clients to another one."""
    return replace(SETTINGS, alternates=(Alternate((Address(host, 3478),)),))


def at_home(network: Network) -> Nat:
    return network.nat("home", "198.51.100.7")


def test_a_host_behind_a_nat_has_a_candidate_of_each_kind() -> None:
    with Network(seed=1) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        settings = GatherSettings(servers=(turn(),), families=frozenset({Family.IPV4}))
        gathering = Gathering(network, phone, settings)
        gathering.run()

        (host,) = gathering.of_type(HOST)
        (reflexive,) = gathering.of_type(REFLEXIVE)
        (relayed,) = gathering.of_type(RELAYED)
        assert host.address == host.base == Address("192.168.1.2", host.address.port)
        assert reflexive.address.host == "198.51.100.7"
        assert (reflexive.base, reflexive.server) == (host.base, Address("203.0.113.1", 3478))
        assert relayed.address.host == "203.0.113.1"
        assert relayed.base == relayed.address
        assert relayed.related is not None
        assert relayed.related.host == "198.51.100.7"
        assert server.allocations == 1
        assert gathering.told(ServerFailed) == []


def test_without_a_nat_the_reflexive_candidate_is_redundant() -> None:
    with Network(seed=2) as network:
        RelayServer(network, "server", "203.0.113.1")
        host = network.host("host", "198.51.100.2")
        gathering = Gathering(network, host, GatherSettings(servers=(StunServer(STUN),)))
        gathering.run()
        assert [each.type for each in gathering.candidates] == [HOST]
        (redundant,) = gathering.told(CandidateRedundant)
        assert redundant.source.name == STUN


def test_a_silent_server_delays_no_candidate_and_the_end_by_a_moment_only() -> None:
    with Network(seed=3) as network:
        RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        servers = (StunServer(DEAD), StunServer(STUN))
        gathering = Gathering(network, phone, GatherSettings(servers=servers))
        gathering.run()
        elapsed = {event.candidate.type: event.elapsed for event in gathering.told(Gathered)}
        assert elapsed[HOST] == 0.0
        # Its turn is the second, one Ta after the first; there and back it is six links.
        assert elapsed[REFLEXIVE] == pytest.approx(0.05 + 6 * 0.01)
        assert gathering.duration == pytest.approx(elapsed[REFLEXIVE] + 0.5)
        assert "no answer" in gathering.failures[DEAD]


def test_when_every_server_is_silent_the_limit_ends_it() -> None:
    with Network(seed=4) as network:
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        servers = (StunServer(DEAD), turn("turn:203.0.113.99"), turn("turns:nowhere.example.org"))
        gathering = Gathering(network, phone, GatherSettings(servers=servers, limit=4.0))
        gathering.run()
        assert gathering.duration == pytest.approx(4.0)
        assert set(gathering.failures) == {each.uri for each in servers}
        assert [each.type for each in gathering.candidates] == [HOST]


def test_without_grace_every_server_is_waited_for_and_all_are_reported() -> None:
    with Network(seed=5) as network:
        RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        servers = (StunServer(DEAD), StunServer(STUN))
        settings = GatherSettings(servers=servers, grace=None, limit=3.0)
        gathering = Gathering(network, phone, settings)
        gathering.run()
        assert gathering.duration == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("settings", "password", "reason"),
    [
        (SETTINGS, "wrong", "401"),
        (replace(SETTINGS, allocations_per_user=0), PASSWORD, "486"),
        (replace(SETTINGS, relay_ports=RelayPorts(60000, 60000)), PASSWORD, "508"),
    ],
    ids=["wrong password", "quota", "full"],
)
def test_a_refusal_is_told_by_server_and_another_server_is_used(
    settings: Settings, password: str, reason: str
) -> None:
    with Network(seed=6) as network:
        unwilling = RelayServer(network, "unwilling", "203.0.113.1", settings=settings)
        unwilling.host.bind(Address("203.0.113.1", 60000), Endpoint(unwilling.host))
        RelayServer(network, "willing", "203.0.113.2")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        servers = (turn(TURN, password), turn("turn:203.0.113.2"))
        wishes = GatherSettings(servers=servers, families=frozenset({Family.IPV4}))
        gathering = Gathering(network, phone, wishes)
        gathering.run()
        assert [each.address.host for each in gathering.of_type(RELAYED)] == ["203.0.113.2"]
        assert set(gathering.failures) == {TURN}
        assert reason in gathering.failures[TURN]


def test_a_silent_address_of_a_server_gets_company_and_one_that_refuses_a_successor() -> None:
    with Network(seed=7) as network:
        RelayServer(
            network, "unwilling", "203.0.113.1", settings=replace(SETTINGS, allocations_per_user=0)
        )
        willing = RelayServer(network, "willing", "203.0.113.2")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        uri = "turn:turn.example.org"
        gathering = Gathering(
            network,
            phone,
            GatherSettings(servers=(turn(uri),), head_start=1.0),
            names={
                uri: (
                    target("udp 203.0.113.99:3478"),
                    target("udp 203.0.113.1:3478"),
                    target("udp 203.0.113.2:3478"),
                )
            },
        )
        gathering.run()
        (relayed,) = (each for each in gathering.told(Gathered) if each.candidate.type is RELAYED)
        assert relayed.candidate.address.host == "203.0.113.2"
        assert 1.0 < relayed.elapsed < 1.5
        assert willing.allocations == 1


def test_try_alternate_is_followed_and_not_in_circles() -> None:
    with Network(seed=8) as network:
        RelayServer(network, "first", "203.0.113.1", settings=sending_to("203.0.113.2"))
        RelayServer(network, "second", "203.0.113.2", settings=sending_to("203.0.113.1"))
        third = RelayServer(network, "third", "203.0.113.3")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(),)))
        gathering.run()
        assert gathering.of_type(RELAYED) == []
        assert "300" in gathering.failures[TURN]

        RelayServer(network, "fourth", "203.0.113.4", settings=sending_to("203.0.113.3"))
        other = network.host("other", "192.168.1.3", behind=network.nat("other", "198.51.100.8"))
        gathering = Gathering(network, other, GatherSettings(servers=(turn("turn:203.0.113.4"),)))
        gathering.run()
        assert [each.address.host for each in gathering.of_type(RELAYED)] == ["203.0.113.3"]
        assert third.allocations == 1


def test_turn_over_tcp_gives_a_relayed_udp_candidate() -> None:
    with Network(seed=9) as network:
        RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        servers = (turn("turn:203.0.113.1?transport=tcp"),)
        gathering = Gathering(network, phone, GatherSettings(servers=servers))
        gathering.run()
        (relayed,) = gathering.of_type(RELAYED)
        assert (relayed.transport, relayed.via) == (Transport.UDP, Transport.TCP)
        # It tells no reflexive address of UDP.
        assert gathering.of_type(REFLEXIVE) == []


def test_relays_are_asked_from_the_address_that_is_named() -> None:
    with Network(seed=28) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        host = network.host("host", "198.51.100.2", "198.51.100.3")
        settings = GatherSettings(servers=(turn(),), relay_from=Address("198.51.100.3", 0))
        gathering = Gathering(network, host, settings)
        gathering.run()
        (relayed,) = gathering.of_type(RELAYED)
        allocation = server.machine.allocations.of_relayed(relayed.address)
        assert allocation is not None
        assert allocation.client.remote.host == "198.51.100.3"


def test_a_dual_stack_server_relays_both_families_in_one_allocation() -> None:
    with Network(seed=10) as network:
        server = RelayServer(network, "server", "203.0.113.1", "2001:db8::1")
        phone = network.host("phone", "198.51.100.2", "2001:db8::2")
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(),)))
        gathering.run()
        families = {each.address.family for each in gathering.of_type(RELAYED)}
        assert families == set(Family)
        assert server.allocations == 1


def test_a_family_that_the_server_lacks_is_told_beside_the_one_that_it_has() -> None:
    with Network(seed=11) as network:
        RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "198.51.100.2", "2001:db8::2")
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(),)))
        gathering.run()
        assert [each.address.family for each in gathering.of_type(RELAYED)] == [Family.IPV4]
        assert "440" in gathering.failures[TURN]


def test_reflexive_addresses_are_found_in_both_families() -> None:
    with Network(seed=12) as network:
        RelayServer(network, "server", "203.0.113.1", "2001:db8::1")
        home = network.nat("home", "198.51.100.7", "2001:db8:7::1")
        phone = network.host("phone", "192.168.1.2", "fd00::2", behind=home)
        uri = "stun:stun.example.org"
        gathering = Gathering(
            network,
            phone,
            GatherSettings(servers=(StunServer(uri),)),
            names={uri: (target("udp [2001:db8::1]:3478"), target("udp 203.0.113.1:3478"))},
        )
        gathering.run()
        found = {each.address.host for each in gathering.of_type(REFLEXIVE)}
        assert found == {"198.51.100.7", "2001:db8:7::1"}


def test_a_link_local_address_is_a_candidate_and_asks_no_server_beyond_its_link() -> None:
    with Network(seed=12) as network:
        RelayServer(network, "server", "203.0.113.1", "2001:db8::1")
        phone = network.host("phone", "2001:db8:7::2", "fe80::2")
        uri = "stun:stun.example.org"
        gathering = Gathering(
            network,
            phone,
            GatherSettings(servers=(StunServer(uri),), grace=None),
            names={uri: (target("udp [2001:db8::1]:3478"),)},
        )
        gathering.run()
        hosts = {each.address.host for each in gathering.of_type(HOST)}
        assert hosts == {"2001:db8:7::2", "fe80::2"}
        assert gathering.failures == {}
        assert gathering.duration < 1.0


def test_the_policy_relay_opens_no_socket_of_its_own_and_tells_no_own_address() -> None:
    with Network(seed=13) as network:
        RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        settings = GatherSettings(servers=(turn(), StunServer(STUN)), policy=Policy.RELAY)
        gathering = Gathering(network, phone, settings)
        gathering.run()
        (relayed,) = gathering.candidates
        assert relayed.type is RELAYED
        assert relayed.related is None
        assert len(phone.sockets) == 1


def test_each_component_of_each_stream_has_candidates_of_its_own() -> None:
    with Network(seed=14) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        slots = (Slot(0, 1), Slot(0, 2), Slot(1, 1))
        gathering = Gathering(network, phone, GatherSettings(servers=(turn(),)), slots=slots)
        gathering.run()
        for slot in slots:
            kinds = {
                event.candidate.type
                for event in gathering.told(Gathered)
                if (event.stream, event.candidate.component) == slot
            }
            assert kinds == {HOST, REFLEXIVE, RELAYED}
        assert len({each.base for each in gathering.candidates}) == 6
        assert server.allocations == 3


def test_a_dns_name_that_leads_nowhere_is_told_with_its_reason() -> None:
    with Network(seed=15) as network:
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        uri = "stun:nowhere.example.org"
        gathering = Gathering(
            network,
            phone,
            GatherSettings(servers=(StunServer(uri),)),
            names={uri: Failure("there is no host 'nowhere.example.org'")},
        )
        gathering.run()
        assert gathering.failures == {uri: "there is no host 'nowhere.example.org'"}
        assert gathering.duration == 0.0


def test_ports_come_from_the_range_and_a_full_range_is_told() -> None:
    with Network(seed=16) as network:
        phone = network.host("phone", "192.168.1.2")
        phone.bind(Address("192.168.1.2", 5001), Endpoint(phone))
        settings = GatherSettings(ports=PortRange(5000, 5002))
        slots = (Slot(0, 1), Slot(0, 2), Slot(1, 1))
        gathering = Gathering(network, phone, settings, slots=slots)
        gathering.run()
        assert sorted(each.address.port for each in gathering.candidates) == [5000, 5002]
        assert gathering.failures == {"eth0": "no free port from 5000 to 5002"}


@pytest.mark.parametrize("mode", RewriteMode)
def test_a_one_to_one_nat_is_told_in_place_of_the_host_or_beside_it(mode: RewriteMode) -> None:
    with Network(seed=17) as network:
        host = network.host("host", "10.0.0.5")
        rewrite = Rewrite("203.0.113.80", mode=mode)
        gathering = Gathering(network, host, GatherSettings(rewrites=(rewrite,)))
        gathering.run()
        (base,) = {each.base for each in gathering.candidates}
        outside = Address("203.0.113.80", base.port)
        told = {(each.type, each.address) for each in gathering.candidates}
        if mode is RewriteMode.REPLACE:
            assert told == {(HOST, outside)}
        else:
            assert told == {(HOST, base), (REFLEXIVE, outside)}


def test_tcp_candidates_are_gathered_when_they_are_wanted() -> None:
    with Network(seed=18) as network:
        host = network.host("host", "198.51.100.2")
        gathering = Gathering(network, host, GatherSettings(tcp=True))
        gathering.run()
        told = {(each.transport, each.tcp_type) for each in gathering.candidates}
        assert {f"{transport} {kind}" for transport, kind in told} == {
            "udp None",
            "tcp active",
            "tcp passive",
        }


@pytest.mark.parametrize("seed", range(20))
def test_under_loss_and_reordering_it_ends_in_time_and_leaves_nothing(seed: int) -> None:
    rough = Conditions(loss=0.15, jitter=0.2, duplication=0.1, reordering=0.2)
    with Network(seed=seed) as network:
        server = RelayServer(network, "server", "203.0.113.1", "2001:db8::1")
        phone = network.host("phone", "192.168.1.2", behind=at_home(network), link=rough)
        servers = (turn(), turn("turn:203.0.113.1?transport=tcp"), StunServer(STUN))
        gathering = Gathering(
            network, phone, GatherSettings(servers=servers), slots=(Slot(0, 1), Slot(0, 2))
        )
        gathering.run()
        assert gathering.duration <= 10.0
        assert len(gathering.of_type(HOST)) == 2
        gathering.shell.call(gathering.gatherer.close)
        network.run_until(lambda: bool(gathering.told(GatherClosed)), limit=10.0)
        network.run_for(1300.0)
        assert phone.sockets == ()
        assert server.allocations == 0


class Gateway:
    """A host that answers on the port of PCP and NAT-PMP."""

    def __init__(self, host: Host, speaks_pcp: bool) -> None:
        self.fake = FakeGateway(speaks_pcp=speaks_pcp)
        self._host = host
        host.bind(host.address(5351), self)

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        self._host.send_datagram(self.fake.answer(data), local, remote)


@pytest.mark.parametrize("speaks_pcp", [True, False])
def test_a_gateway_maps_a_port_for_each_host_candidate(speaks_pcp: bool) -> None:
    with Network(seed=25) as network:
        home = at_home(network)
        gateway = Gateway(network.host("gateway", "192.168.1.1", behind=home), speaks_pcp)
        phone = network.host("phone", "192.168.1.2", behind=home)
        gathering = Gathering(
            network,
            phone,
            GatherSettings(port_mapping=True),
            slots=(Slot(0, 1), Slot(0, 2)),
            routes=(RouteToGateway("192.168.1.1", "192.168.1.2"),),
        )
        gathering.run()
        mapped = gathering.of_type(REFLEXIVE)
        assert {(each.address.host, each.address.port, each.base) for each in mapped} == {
            (EXTERNAL, each.base.port, each.base) for each in gathering.of_type(HOST)
        }
        assert {event.source.name for event in gathering.told(Gathered)} == {
            "eth0",
            "pcp" if speaks_pcp else "nat-pmp",
        }
        before = len(gateway.fake.requests)
        gathering.shell.call(gathering.gatherer.close)
        network.run_until(lambda: bool(gathering.told(GatherClosed)), limit=10.0)
        assert len(gateway.fake.requests) == before + 2
        assert phone.sockets == ()


def test_a_gateway_that_maps_nothing_is_told_and_not_waited_for_long() -> None:
    with Network(seed=26) as network:
        home = at_home(network)
        phone = network.host("phone", "192.168.1.2", behind=home)
        gathering = Gathering(
            network,
            phone,
            GatherSettings(port_mapping=True, mapping_patience=3.0),
            routes=(RouteToGateway("192.168.1.1", "192.168.1.2"),),
        )
        gathering.run()
        assert gathering.duration == pytest.approx(3.0)
        assert "no answer within 3 s" in gathering.failures["gateway"]


class Liar:
    """A STUN server that tells everybody the same wrong address."""

    def __init__(self, host: Host, mapped: Address) -> None:
        self._host = host
        self._mapped = mapped
        host.bind(host.address(3478), self)

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        request = Message.parse(data)
        response = request.success(XorMappedAddress(self._mapped))
        self._host.send_datagram(response.encode(), local, remote)


@pytest.mark.parametrize("wrong", ["[2001:db8::7]:7000", "0.0.0.0:7000", "198.51.100.7:0"])
def test_an_address_at_which_nobody_can_be_is_no_candidate(wrong: str) -> None:
    with Network(seed=27) as network:
        Liar(network.host("server", "203.0.113.1"), Address.parse(wrong))
        phone = network.host("phone", "192.168.1.2", behind=at_home(network))
        gathering = Gathering(network, phone, GatherSettings(servers=(StunServer(STUN),)))
        gathering.run()
        assert [each.type for each in gathering.candidates] == [HOST]
        assert wrong in gathering.failures[STUN]


def test_settings_that_cannot_be_are_refused() -> None:
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: Gatherer(GatherSettings(policy=Policy.RELAY), random=bytes),
        lambda: GatherSettings(families=frozenset()),
        lambda: GatherSettings(limit=0.0),
        lambda: GatherSettings(servers=(StunServer(STUN),) * 33),
        lambda: StunServer("stuns:stun.example.org"),
        lambda: StunServer("turn:turn.example.org"),
        lambda: TurnServer("stun:stun.example.org", "alice", "secret"),
        lambda: TurnServer("turn:turn.example.org"),
        lambda: PortRange(2000, 1000),
        lambda: Rewrite("example.org"),
    )
    for wrong in wrongs:
        with pytest.raises(MisuseError):
            wrong()


def test_a_gatherer_gathers_once() -> None:
    gatherer = Gatherer(GatherSettings(), random=bytes)
    gatherer.gather((Slot(0, 1),), (), 0.0)
    with pytest.raises(MisuseError):
        gatherer.gather((Slot(0, 1),), (), 0.0)
