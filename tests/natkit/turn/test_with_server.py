"""Our client and our server, through a simulated network."""

from ipaddress import ip_network
from typing import TypeVar

import pytest

from natkit.address import Address, Family
from natkit.errors import (
    AddressFamilyNotSupported,
    AllocationMismatch,
    Forbidden,
    MisuseError,
    NatkitError,
    QuotaReached,
    TransactionTimeout,
    Unauthenticated,
    UnreachableError,
)
from natkit.machine import Path, Transport
from natkit.stun.attributes import Icmp
from natkit.stun.credentials import long_term_key
from natkit.stun.framing import StunFraming
from natkit.stun.registry import PasswordAlgorithmNumber
from natkit.turn import Allocation, AllocationState, TurnEvent
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    ChannelBound,
    ChannelFailed,
    DataReceived,
    IcmpReceived,
    PermissionFailed,
    PermissionInstalled,
    Refreshed,
)
from stun_server.authentication import Credential
from stun_server.events import AllocationClosed as ServerClosed
from stun_server.events import AllocationOpened, FindCredential, ServerEvent
from stun_server.service import Server, ServerResult
from stun_server.settings import PortRange, Settings
from tests.simnet import Endpoint, Network, Shell

SEED = 20260
REALM = "example.org"
SERVER = Address("203.0.113.1", 3478)
FORBIDDEN = Address("10.0.0.1", 5000)
SOON = 5.0
"""Seconds in which everything happens that needs no retransmission."""

E = TypeVar("E")

both_transports = pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])


def credential(username: str, password: str) -> Credential:
    return Credential(
        username,
        long_term_key(username, REALM, password),
        long_term_key(username, REALM, password, PasswordAlgorithmNumber.SHA_256),
    )


class World:
    """A server, a peer that echoes, and clients behind NATs of their own."""

    def __init__(
        self,
        network: Network,
        *,
        algorithms: tuple[PasswordAlgorithmNumber, ...] = (
            PasswordAlgorithmNumber.SHA_256,
            PasswordAlgorithmNumber.MD5,
        ),
        nonce_lifetime: float = 3600.0,
        allocations_per_user: int = 100,
    ) -> None:
        self.network = network
        self.peer = Endpoint(network.host("peer", "192.0.2.9"), echo=True)
        self.server_host = network.host("server", SERVER.host)
        self.server = Server(
            Settings(
                realm=REALM,
                nonce_key=bytes(32),
                listeners=(SERVER,),
                relay_ports=PortRange(50000, 51000),
                allowed_peers=(ip_network("192.0.2.0/24"),),
                password_algorithms=algorithms,
                nonce_lifetime=nonce_lifetime,
                allocations_per_user=allocations_per_user,
            ),
            random=network.random_bytes("server"),
            unix_offset=1e9,
        )
        self.server_shell: Shell[ServerEvent, ServerResult] = Shell(
            self.server_host, self.server, on_event=self._find_credential, framing=StunFraming
        )
        self.server_shell.bind(SERVER)
        self.server_shell.listen(SERVER)
        self.clients = 0

    def _find_credential(self, event: ServerEvent) -> None:
        if isinstance(event, FindCredential):
            self.server_shell.answer(event.request_id, credential("ann", "secret"))

    def client(
        self,
        transport: Transport = Transport.UDP,
        *,
        password: str = "secret",
        lifetime: int | None = None,
        family: Family | None = None,
    ) -> "Client":
        self.clients += 1
        nat = self.network.nat(f"nat{self.clients}", f"198.51.100.{self.clients}")
        host = self.network.host(f"client{self.clients}", "192.168.1.2", behind=nat)
        machine = Allocation(
            SERVER,
            transport,
            username="ann",
            password=password,
            random=self.network.random_bytes(host.name),
            lifetime=lifetime,
            family=family,
        )
        return Client(self.network, machine, Shell(host, machine, framing=StunFraming))

    def allocated(self, transport: Transport = Transport.UDP) -> "Client":
        client = self.client(transport)
        client.shell.call(client.machine.allocate)
        client.expect(Allocated)
        return client

    @property
    def relayed_addresses(self) -> list[Address]:
        """What the server's shell knows to be open."""
        opened = [e.relayed for e in self.server_shell.events if isinstance(e, AllocationOpened)]
        for event in self.server_shell.events:
            if isinstance(event, ServerClosed):
                opened.remove(event.relayed)
        return opened


class Client:
    """One allocation, its shell, and the short forms that tests use."""

    def __init__(
        self,
        network: Network,
        machine: Allocation,
        shell: Shell[TurnEvent, Address | Path],
    ) -> None:
        self.network = network
        self.machine = machine
        self.shell = shell

    def expect(self, kind: type[E], within: float = SOON) -> E:
        """The next event of a kind, and forget those before it."""
        self.network.run_until(
            lambda: any(isinstance(event, kind) for event in self.shell.events), within
        )
        while True:
            event = self.shell.events.pop(0)
            if isinstance(event, kind):
                return event

    def expect_failure(self, error: type[NatkitError]) -> None:
        failure = self.expect(AllocateFailed).error
        assert isinstance(failure, error), failure

    def permit(self, *peers: Address) -> None:
        self.shell.call(lambda now: self.machine.permit(peers, now))

    def bind_channel(self, peer: Address) -> None:
        self.shell.call(lambda now: self.machine.bind_channel(peer, now))

    def send(self, data: bytes, peer: Address) -> None:
        self.shell.call(lambda now: self.machine.send(data, peer, now))

    def exchange(self, data: bytes, peer: Address) -> None:
        """Send to a peer that echoes, and see it come back."""
        self.send(data, peer)
        assert self.expect(DataReceived) == DataReceived(data, peer)


@both_transports
def test_an_icmp_error_behind_the_server_reaches_the_client_that_it_concerns(
    transport: Transport,
) -> None:
    with Network(SEED) as network:
        world = World(network)
        client, other = world.allocated(transport), world.allocated(transport)
        peer = world.peer.address
        for each in (client, other):
            each.permit(peer)
            each.expect(PermissionInstalled)
        assert client.machine.relayed is not None
        path = Path(Transport.UDP, client.machine.relayed, peer)
        server = world.server
        world.server_shell.call(lambda now: server.icmp_received(Icmp(3, 4, 1280), path, now))
        assert client.expect(IcmpReceived) == IcmpReceived(peer, 3, 4, 1280)
        elsewhere = path._replace(remote=Address("192.0.2.77", 5000))
        world.server_shell.call(lambda now: server.icmp_received(Icmp(3, 1), elsewhere, now))
        network.run_for(SOON)
        assert not client.shell.events
        assert not other.shell.events


@both_transports
def test_an_allocation_gives_a_relayed_and_a_mapped_address(transport: Transport) -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.client(transport)
        client.shell.call(client.machine.allocate)
        allocated = client.expect(Allocated)
        assert allocated.relayed == client.machine.relayed
        assert world.relayed_addresses == [allocated.relayed]
        assert allocated.mapped is not None
        assert allocated.mapped.host == "198.51.100.1"
        assert allocated.lifetime == 600.0


@both_transports
def test_data_travels_both_ways_in_indications_and_on_channels(transport: Transport) -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated(transport)
        client.permit(world.peer.address)
        assert client.expect(PermissionInstalled).host == world.peer.address.host
        client.exchange(b"by indication", world.peer.address)
        client.bind_channel(world.peer.address)
        assert client.expect(ChannelBound) == ChannelBound(world.peer.address, 0x4000)
        for size in range(8):
            client.exchange(bytes(size), world.peer.address)
        assert {source for _, source in world.peer.received} == {client.machine.relayed}


def test_two_clients_reach_each_other_through_one_server() -> None:
    with Network(SEED) as network:
        world = World(network)
        ann, bob = world.allocated(), world.allocated(Transport.TCP)
        assert ann.machine.relayed is not None
        assert bob.machine.relayed is not None
        ann.permit(bob.machine.relayed)
        bob.permit(ann.machine.relayed)
        ann.expect(PermissionInstalled)
        bob.expect(PermissionInstalled)
        ann.send(b"hello", bob.machine.relayed)
        assert bob.expect(DataReceived) == DataReceived(b"hello", ann.machine.relayed)


@pytest.mark.parametrize(
    "algorithms",
    [(), (PasswordAlgorithmNumber.MD5,), (PasswordAlgorithmNumber.SHA_256,)],
    ids=["RFC 5389", "MD5", "SHA-256"],
)
def test_every_password_algorithm_gets_an_allocation(
    algorithms: tuple[PasswordAlgorithmNumber, ...],
) -> None:
    with Network(SEED) as network:
        client = World(network, algorithms=algorithms).allocated()
        assert client.machine.state is AllocationState.ALLOCATED


@both_transports
def test_a_wrong_password_is_unauthenticated_and_leaves_nothing_open(transport: Transport) -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.client(transport, password="wrong")
        client.shell.call(client.machine.allocate)
        client.expect_failure(Unauthenticated)
        assert client.machine.state is AllocationState.IDLE
        assert client.machine.path is None
        assert client.shell.paths == ()
        assert world.relayed_addresses == []


def test_a_family_that_the_server_has_not_is_a_typed_error() -> None:
    with Network(SEED) as network:
        client = World(network).client(family=Family.IPV6)
        client.shell.call(client.machine.allocate)
        client.expect_failure(AddressFamilyNotSupported)


def test_a_quota_is_a_typed_error_and_a_later_attempt_may_succeed() -> None:
    with Network(SEED) as network:
        world = World(network, allocations_per_user=1)
        first, second = world.allocated(), world.client()
        second.shell.call(second.machine.allocate)
        second.expect_failure(QuotaReached)
        first.shell.call(first.machine.close)
        first.expect(AllocationClosed)
        second.shell.call(second.machine.allocate)
        second.expect(Allocated)


def test_no_server_is_a_timeout_and_a_retry_uses_new_ids_from_a_new_port() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.client()
        world.server_shell.stop()
        sockets = set()
        for _ in range(2):
            client.shell.call(client.machine.allocate)
            network.run_for(1.0)
            sockets.add(client.machine.path)
            failure = client.expect(AllocateFailed, within=60.0)
            assert isinstance(failure.error, TransactionTimeout)
        assert len(sockets) == 2
        assert client.machine.next_deadline() is None


def test_no_listener_is_unreachable_over_tcp() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.client(Transport.TCP)
        world.server_shell.stop()
        client.shell.call(client.machine.allocate)
        failure = client.expect(AllocateFailed, within=60.0)
        assert isinstance(failure.error, UnreachableError)


@both_transports
def test_close_deletes_the_allocation_at_the_server(transport: Transport) -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated(transport)
        client.shell.call(client.machine.close)
        assert client.expect(AllocationClosed).confirmed
        assert world.relayed_addresses == []
        assert client.machine.path is None
        assert client.machine.next_deadline() is None
        client.shell.call(client.machine.close)
        assert client.machine.next_event() is None


def test_close_does_not_wait_for_a_dead_server() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated()
        world.server_shell.stop()
        client.shell.call(client.machine.close)
        assert not client.expect(AllocationClosed, within=5.1).confirmed
        assert client.machine.next_deadline() is None


def test_close_while_allocating_leaves_no_allocation_behind() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.client()
        client.shell.call(client.machine.allocate)
        network.run_until(lambda: bool(world.relayed_addresses), SOON)
        assert client.machine.state is AllocationState.ALLOCATING
        client.shell.call(client.machine.close)
        client.expect(AllocationClosed)
        assert world.relayed_addresses == []


@both_transports
def test_an_allocation_and_all_that_it_has_live_for_hours(transport: Transport) -> None:
    with Network(SEED) as network:
        # Nonces go stale four times an hour, as well.
        world = World(network, nonce_lifetime=900.0)
        client = world.allocated(transport)
        by_indication, on_channel = (
            Endpoint(network.host(f"peer at {host}", host), echo=True)
            for host in ("192.0.2.10", "192.0.2.11")
        )
        client.permit(by_indication.address)
        client.bind_channel(on_channel.address)
        client.expect(ChannelBound)
        relayed = client.machine.relayed
        for _ in range(12):
            network.run_for(1799.0)
            client.exchange(b"still there", by_indication.address)
            client.exchange(b"still there", on_channel.address)
        failures = (AllocationLost, PermissionFailed, ChannelFailed, ChannelBound)
        assert not [event for event in client.shell.events if isinstance(event, failures)]
        assert world.relayed_addresses == [relayed]


def test_a_granted_lifetime_is_refreshed_ahead_of_its_end() -> None:
    with Network(SEED) as network:
        client = World(network).client(lifetime=1200)
        client.shell.call(client.machine.allocate)
        assert client.expect(Allocated).lifetime == 1200.0
        network.run_for(1100.0)
        assert not [event for event in client.shell.events if isinstance(event, Refreshed)]
        assert client.expect(Refreshed, within=40.0).lifetime == 1200.0


def test_released_peers_lapse_at_the_server() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated()
        client.bind_channel(world.peer.address)
        client.expect(ChannelBound)
        client.machine.release(world.peer.address.host)
        network.run_for(901.0)
        relayed = client.machine.relayed
        assert relayed is not None
        world.peer.send(b"anybody there?", relayed)
        network.run_for(SOON)
        assert not [event for event in client.shell.events if isinstance(event, DataReceived)]
        client.exchange(b"now again", world.peer.address)


def test_data_before_a_permission_waits_for_it_and_is_not_lost() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated()
        for number in range(5):
            client.send(b"%d" % number, world.peer.address)
        client.expect(PermissionInstalled)
        network.run_for(SOON)
        assert [data for data, _ in world.peer.received] == [b"0", b"1", b"2", b"3", b"4"]
        assert client.machine.dropped == 0


def test_data_to_a_forbidden_peer_is_dropped_and_said_to_be() -> None:
    with Network(SEED) as network:
        client = World(network).allocated()
        client.send(b"data", FORBIDDEN)
        failed = client.expect(PermissionFailed)
        assert failed.host == FORBIDDEN.host
        assert isinstance(failed.error, Forbidden)
        assert client.machine.dropped == 1


def test_one_forbidden_peer_does_not_take_others_with_it() -> None:
    with Network(SEED) as network:
        client = World(network).allocated()
        peers = [Address(f"192.0.2.{number}", 5000) for number in range(20, 45)]
        client.permit(*peers[:13], FORBIDDEN, *peers[13:])
        network.run_for(SOON)
        installed = {event.host for event in client.shell.take(PermissionInstalled)}
        assert installed == {peer.host for peer in peers}
        assert [event.host for event in client.shell.take(PermissionFailed)] == [FORBIDDEN.host]


def test_a_failed_channel_leaves_no_sender_waiting() -> None:
    with Network(SEED) as network:
        client = World(network).allocated()
        client.bind_channel(FORBIDDEN)
        client.send(b"data", FORBIDDEN)
        assert isinstance(client.expect(ChannelFailed).error, Forbidden)
        assert isinstance(client.expect(PermissionFailed).error, Forbidden)
        assert client.machine.dropped == 1


def test_data_sent_while_a_channel_is_being_bound_arrives() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated()
        client.bind_channel(world.peer.address)
        client.exchange(b"first", world.peer.address)


def test_channels_run_out_at_the_server_and_data_still_flows() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated()
        for port in range(1, 129):
            client.bind_channel(Address("192.0.2.200", port))
        network.run_for(60.0)
        client.bind_channel(world.peer.address)
        client.expect(ChannelFailed)
        client.exchange(b"without a channel", world.peer.address)


@both_transports
def test_an_allocation_that_the_server_forgot_is_lost(transport: Transport) -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated(transport)
        allocations = world.server.allocations
        path = next(e.client for e in world.server_shell.events if isinstance(e, AllocationOpened))
        world.server_shell.call(lambda now: world.server.disconnected(path, now))
        assert allocations.of_client(path) is None
        lost = client.expect(AllocationLost, within=600.0)
        assert isinstance(lost.error, AllocationMismatch)
        assert client.machine.state is AllocationState.CLOSED
        assert client.machine.next_deadline() is None
        with pytest.raises(MisuseError):
            client.send(b"data", world.peer.address)


def test_an_allocation_whose_server_died_is_lost_when_its_lifetime_is_over() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated()
        client.bind_channel(world.peer.address)
        client.expect(ChannelBound)
        started = network.now
        world.server_shell.stop()
        lost = client.expect(AllocationLost, within=601.0)
        assert isinstance(lost.error, TransactionTimeout)
        assert network.now - started <= 600.0


def test_a_broken_connection_loses_the_allocation_at_once() -> None:
    with Network(SEED) as network:
        world = World(network)
        client = world.allocated(Transport.TCP)
        world.server_shell.stop()
        lost = client.expect(AllocationLost)
        assert isinstance(lost.error, UnreachableError)
