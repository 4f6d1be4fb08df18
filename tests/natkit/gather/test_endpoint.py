"""Two endpoints, each an agent with its gatherer, meet through NATs of the simulated network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import pytest

from natkit.address import Family
from natkit.gather import GatherSettings, HostAddress, Policy, StunServer, TurnServer
from natkit.gather.endpoint import (
    CandidateFound,
    EndpointEvent,
    EndpointResult,
    IceEndpoint,
)
from natkit.gather.events import BaseLost, ConnectServer, GatherClosed, GatheringEnded
from natkit.ice.candidate import Candidate, CandidateType
from natkit.ice.events import DataReceived, IceState, PairSelected
from natkit.ice.settings import IceSettings
from natkit.machine import Connect
from natkit.stun.framing import StunFraming
from tests.natkit.gather.world import PASSWORD, USERNAME, RelayServer
from tests.simnet import Conditions, Host, NatBehaviour, Network, Shell
from tests.simnet.behaviour import Dependence, PortAssignment

INDEPENDENT = NatBehaviour(filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT)
SYMMETRIC = NatBehaviour(
    mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT,
    filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT,
    ports=PortAssignment.RANDOM,
)

STUN = StunServer("stun:203.0.113.1")
TURN = TurnServer("turn:203.0.113.1", USERNAME, PASSWORD)
TURN_TCP = TurnServer("turn:203.0.113.1?transport=tcp", USERNAME, PASSWORD)
DEAD = StunServer("stun:203.0.113.99")


@dataclass
class End:
    """One side: what it finds is told to ``peer`` as it comes."""

    network: Network
    host: Host
    controlling: bool
    settings: GatherSettings
    peer: "End | None" = None
    received: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.endpoint = IceEndpoint(
            (1,),
            self.settings,
            IceSettings(controlling=self.controlling),
            random=self.network.random_bytes(f"endpoint {self.host.name}"),
        )
        self.shell: Shell[EndpointEvent, EndpointResult] = Shell(
            self.host, self.endpoint, on_event=self._on_event, framing=StunFraming
        )

    @property
    def is_completed(self) -> bool:
        return self.endpoint.agent.state is IceState.COMPLETED

    def start(self) -> None:
        addresses = [
            HostAddress(interface="eth0", host=host, is_default=True)
            for host in self.host.addresses
        ]
        self.shell.call(partial(self.endpoint.gather, addresses))

    def send(self, data: bytes) -> bool:
        return self.shell.call(partial(self.endpoint.send, 0, 1, data))

    def told(self, kind: type[CandidateFound]) -> list[CandidateFound]:
        return [event for event in self.shell.events if isinstance(event, kind)]

    @property
    def path_types(self) -> tuple[CandidateType, CandidateType]:
        pair = self.endpoint.agent.selected_pair(0, 1)
        assert pair is not None
        return pair.local.type, pair.remote.type

    def _on_event(self, event: EndpointEvent) -> None:
        match event:
            case CandidateFound() if self.peer is not None:
                self._signal(self.peer, (event.candidate,), complete=False)
            case GatheringEnded() if self.peer is not None:
                self._signal(self.peer, (), complete=True)
            case DataReceived(_, _, data):
                self.received.append(data)
            case ConnectServer(request_id, local, target):
                self.shell.connect(Connect(request_id, target.transport, local, target.address))
            case _:
                pass

    def _signal(self, peer: "End", candidates: Sequence[Candidate], *, complete: bool) -> None:
        """Signalling takes a tenth of a second."""
        parameters = self.endpoint.agent.local_parameters
        deliver = partial(peer.endpoint.set_remote, 0, parameters, candidates, complete=complete)
        self.network.after(0.1, lambda: peer.shell.call(deliver))


def meet(
    network: Network,
    behaviours: tuple[NatBehaviour, NatBehaviour],
    settings: tuple[GatherSettings, GatherSettings],
    link: Conditions | None = None,
    limit: float = 60.0,
) -> tuple[End, End]:
    ends = []
    for number, behaviour in enumerate(behaviours):
        home = network.nat(f"home {number}", f"198.51.100.{7 + number}", behaviour=behaviour)
        host = network.host(f"phone {number}", "192.168.1.2", behind=home, link=link)
        ends.append(End(network, host, number == 0, settings[number]))
    one, other = ends
    one.peer, other.peer = other, one
    one.start()
    other.start()
    network.run_until(lambda: one.is_completed and other.is_completed, limit=limit)
    return one, other


def speak(network: Network, one: End, other: End) -> None:
    for sender, receiver in pairwise((one, other, one)):
        payload = f"from {sender.host.name} at {network.now}".encode()
        assert sender.send(payload)
        network.run_until(partial(receiver.received.__contains__, payload), limit=5.0)


def test_behind_two_ordinary_nats_the_path_is_direct() -> None:
    with Network(seed=1) as network:
        RelayServer(network, "server", "203.0.113.1")
        servers = GatherSettings(servers=(DEAD, TURN))
        one, other = meet(network, (INDEPENDENT, INDEPENDENT), (servers, servers))
        assert CandidateType.RELAYED not in one.path_types
        speak(network, one, other)


@pytest.mark.parametrize("server", [TURN, TURN_TCP], ids=["udp", "tcp"])
def test_behind_two_symmetric_nats_the_path_is_relayed(server: TurnServer) -> None:
    with Network(seed=2) as network:
        RelayServer(network, "server", "203.0.113.1")
        settings = GatherSettings(servers=(server,)), GatherSettings(servers=(STUN,))
        one, other = meet(network, (SYMMETRIC, SYMMETRIC), settings)
        assert CandidateType.RELAYED in one.path_types
        speak(network, one, other)
        # Much later it still stands: allocation, permission and channel are refreshed.
        for _ in range(2):
            network.run_for(1800.0)
            speak(network, one, other)


def test_with_relays_alone_no_address_of_a_host_is_told_and_data_passes() -> None:
    with Network(seed=3) as network:
        RelayServer(network, "server", "203.0.113.1")
        settings = GatherSettings(
            servers=(TURN,), policy=Policy.RELAY, families=frozenset({Family.IPV4})
        )
        one, other = meet(network, (INDEPENDENT, SYMMETRIC), (settings, settings))
        assert one.path_types == (CandidateType.RELAYED, CandidateType.RELAYED)
        told = str([event.candidate for event in one.told(CandidateFound)])
        assert "192.168" not in told
        assert "198.51.100" not in told
        speak(network, one, other)


def test_an_allocation_that_dies_is_told_and_its_pairs_are_gone() -> None:
    with Network(seed=4) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        settings = GatherSettings(servers=(TURN,)), GatherSettings(servers=(STUN,))
        one, other = meet(network, (SYMMETRIC, SYMMETRIC), settings)
        server.shell.stop()
        network.run_until(lambda: not one.is_completed, limit=120.0)
        assert not one.send(b"into the void") or not one.received
        network.run_until(
            lambda: any(isinstance(event, BaseLost) for event in one.shell.events), limit=1300.0
        )
        assert not other.is_completed


def test_a_restart_uses_what_was_gathered_again() -> None:
    with Network(seed=5) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        settings = GatherSettings(servers=(TURN,)), GatherSettings(servers=(STUN,))
        one, other = meet(network, (SYMMETRIC, SYMMETRIC), settings)
        allocations = server.allocations
        one.shell.call(one.endpoint.restart)
        one._signal(other, one.endpoint.agent.local_candidates(0), complete=True)
        network.run_for(0.2)
        other._signal(one, other.endpoint.agent.local_candidates(0), complete=True)
        network.run_until(
            lambda: (
                one.is_completed
                and other.is_completed
                and len([each for each in one.shell.events if isinstance(each, PairSelected)]) > 1
            ),
            limit=30.0,
        )
        assert server.allocations == allocations
        speak(network, one, other)


def test_closing_gives_everything_back_on_both_sides() -> None:
    with Network(seed=6) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        settings = GatherSettings(servers=(TURN, STUN))
        ends = meet(network, (SYMMETRIC, INDEPENDENT), (settings, settings))
        for end in ends:
            end.shell.call(end.endpoint.close)
        network.run_for(10.0)
        for end in ends:
            assert any(isinstance(event, GatherClosed) for event in end.shell.events)
            assert end.host.sockets == ()
        assert server.allocations == 0


@pytest.mark.parametrize("release", [True, False])
def test_what_no_pair_needs_is_kept_for_a_restart_unless_that_is_not_wanted(release: bool) -> None:
    with Network(seed=7) as network:
        server = RelayServer(network, "server", "203.0.113.1")
        settings = GatherSettings(servers=(TURN,), release_unused=release)
        one, other = meet(network, (INDEPENDENT, INDEPENDENT), (settings, settings))
        network.run_for(30.0)
        assert server.allocations == (0 if release else 2)
        speak(network, one, other)


@pytest.mark.parametrize("seed", range(12))
def test_over_rough_lines_they_meet_behind_any_of_these_nats(seed: int) -> None:
    rough = Conditions(loss=0.1, delay=0.03, jitter=0.1, reordering=0.1, duplication=0.05)
    kinds = (INDEPENDENT, SYMMETRIC, NatBehaviour())
    with Network(seed=seed) as network:
        RelayServer(network, "server", "203.0.113.1", "2001:db8::1")
        settings = GatherSettings(servers=(TURN, DEAD)), GatherSettings(servers=(STUN, TURN_TCP))
        behaviours = kinds[seed % 3], kinds[seed // 3 % 3]
        one, other = meet(network, behaviours, settings, rough, limit=90.0)
        ours, theirs = (end.endpoint.agent.selected_pair(0, 1) for end in (one, other))
        assert ours is not None
        assert theirs is not None
        assert ours.local.address == theirs.remote.address
        assert ours.remote.address == theirs.local.address
