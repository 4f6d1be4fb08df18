"""TCP allocations in a simulated network: both machines, and streams that lose segments."""

from functools import partial

import pytest

from natkit.address import Address
from natkit.errors import ConnectionFailed, MisuseError, NatkitError
from natkit.machine import Failure, Path, Transport
from natkit.stun.framing import StunFraming
from natkit.turn.data_connection import (
    HOLD_AFTER,
    DataConnectionBound,
    DataConnectionEvent,
    DataConnectionFailed,
)
from natkit.turn.events import ConnectionAttempted, PeerConnected, PeerConnectionFailed
from natkit.turn.tcp_allocation import TcpAllocation
from stun_server.connection_events import (
    ClosePeer,
    ConnectPeer,
    ListenForPeers,
    Listening,
    SpliceConnections,
    StopListening,
)
from stun_server.events import ServerEvent
from tests.natkit.turn.simulated import (
    PASSWORD,
    PEER_HOSTS,
    USERNAME,
    Caller,
    Relay,
    network_of,
)
from tests.simnet import Conditions, Host, Shell
from tests.simnet.stream import Stream

SEEDS = (1, 2, 3)
LOSSY = Conditions(loss=0.1, delay=0.02)


class Wire:
    """One end of a stream, and what came on it so far."""

    def __init__(self, stream: Stream, received: bytes = b"") -> None:
        self.stream = stream
        self.received = received
        self.ended = False
        stream.on_data = self._take
        stream.on_end = self._end

    def _take(self, data: bytes) -> None:
        self.received += data

    def _end(self, _: str) -> None:
        self.ended = True


class TcpRelay(Relay):
    """A server whose shell has connections to peers, unread until they are spliced."""

    def _answer(self, event: ServerEvent) -> None:
        match event:
            case ListenForPeers(request_id, local):
                self.host.listen(local, self._accepted)
                self.shell.answer(request_id, Listening(local))
            case StopListening(local):
                self.host.stop_listening(local)
            case ConnectPeer():
                self._connect(event)
            case SpliceConnections(_, _, client, peer):
                self._splice(self.shell._streams.pop(client), self.unread.pop(peer), peer)
            case ClosePeer(path):
                for wire in (self.unread.pop(path, None), *self.spliced.pop(path, ())):
                    if wire is not None:
                        wire.stream.close()
            case _:
                super()._answer(event)

    def start(self) -> None:
        self.unread: dict[Path, Wire] = {}
        self.spliced: dict[Path, tuple[Wire, Wire]] = {}
        super().start()

    def _accepted(self, stream: Stream) -> None:
        path = Path(Transport.TCP, stream.local, stream.remote)

        def opened() -> None:
            self.unread[path] = Wire(stream)
            self.shell.call(partial(self.machine.accepted, path))

        stream.on_open = opened

    def _connect(self, request: ConnectPeer) -> None:
        # An address that listens is free for this moment.
        self.host.stop_listening(request.local)
        stream = self.host.connect(request.local, request.peer)
        self.host.listen(request.local, self._accepted)
        path = Path(Transport.TCP, request.local, request.peer)

        def opened() -> None:
            self.unread[path] = Wire(stream)
            self.shell.answer(request.request_id, path)

        stream.on_open = opened
        stream.on_end = lambda why: self.shell.answer(request.request_id, Failure(why))

    def _splice(self, client: Stream, unread: Wire, path: Path) -> None:
        peer = unread.stream
        ends = Wire(client), unread
        self.spliced[path] = ends
        client.write(unread.received)
        client.on_data, peer.on_data = peer.write, client.write

        def ended(_: str) -> None:
            self.shell.call(lambda now: self.machine.disconnected(path, now))

        client.on_end = peer.on_end = ended


class TcpCaller(Caller):
    """A client with a TCP allocation."""

    allocation: TcpAllocation

    def __init__(self, relay: Relay, host: Host) -> None:
        super().__init__(relay, host, transport=Transport.TCP)
        self.allocation = TcpAllocation(
            relay.address(),
            Transport.TCP,
            username=USERNAME,
            password=PASSWORD,
            random=self.network.random_bytes(f"tcp client {host.name}"),
        )
        self.shell = Shell(host, self.allocation, framing=StunFraming)

    def connect(self, peer: Address) -> PeerConnected | PeerConnectionFailed:
        """Ask for a connection; how that ends."""
        self.shell.call(lambda now: self.allocation.connect(peer, now))
        self.until(
            lambda: any(isinstance(e, PeerConnected | PeerConnectionFailed) for e in self.events)
        )
        connected: list[PeerConnected] = self.shell.take(PeerConnected)
        return connected[0] if connected else self.shell.take(PeerConnectionFailed)[0]

    def bind(self, connection_id: int) -> Wire | NatkitError:
        """Bind a connection; what came of it."""
        framings: list[StunFraming] = []

        def framing() -> StunFraming:
            framings.append(StunFraming(hold_after=HOLD_AFTER))
            return framings[-1]

        outcome: list[Wire | NatkitError] = []

        def happened(event: DataConnectionEvent) -> None:
            match event:
                case DataConnectionBound(path):
                    stream = shell._streams.pop(path)
                    outcome.append(Wire(stream, framings[-1].take_rest()))
                case DataConnectionFailed(error):
                    outcome.append(error)

        machine = self.allocation.data_connection(connection_id)
        shell: Shell[DataConnectionEvent, Path] = Shell(
            self.host, machine, on_event=happened, framing=framing
        )
        shell.call(machine.start)
        self.until(lambda: bool(outcome))
        return outcome[0]


@pytest.fixture(params=SEEDS)
def caller(request: pytest.FixtureRequest) -> TcpCaller:
    """A client with an allocation, behind a link that loses every tenth packet."""
    network = network_of(int(request.param))
    relay = TcpRelay(network)
    caller = TcpCaller(relay, network.host("client", "192.0.2.1", link=LOSSY))
    caller.allocate()
    return caller


def peer_of(caller: TcpCaller) -> tuple[Host, Address, list[Wire]]:
    """A peer that listens, and the connections that it gets."""
    host = caller.network.host("peer", *PEER_HOSTS)
    wires: list[Wire] = []
    address = host.listen(host.address(7000), lambda stream: wires.append(Wire(stream)))
    return host, address, wires


def test_data_passes_both_ways_on_a_connection_that_we_asked_for(caller: TcpCaller) -> None:
    _, peer, wires = peer_of(caller)
    connected = caller.connect(peer)
    assert isinstance(connected, PeerConnected)
    assert connected.peer == peer
    assert wires[0].stream.remote == caller.relayed
    # The peer speaks before the connection is bound.
    wires[0].stream.write(b"first")
    ours = caller.bind(connected.connection_id)
    assert isinstance(ours, Wire)
    payload = bytes(range(256)) * 20
    ours.stream.write(payload)
    wires[0].stream.write(payload)
    caller.until(lambda: wires[0].received == payload)
    caller.until(lambda: ours.received == b"first" + payload)
    # The end of one is the end of the other.
    ours.stream.close()
    caller.until(lambda: wires[0].ended)
    assert not len(caller.relay.machine.allocations.connections)


def test_a_permitted_peer_connects_to_us(caller: TcpCaller) -> None:
    host, peer, _ = peer_of(caller)
    caller.permit(peer)
    caller.until(lambda: caller.allocation.is_permitted(peer.host))
    theirs = Wire(host.connect(None, caller.relayed))
    theirs.stream.write(b"hello")
    caller.until(lambda: any(isinstance(each, ConnectionAttempted) for each in caller.events))
    (attempted,) = caller.shell.take(ConnectionAttempted)
    assert attempted.peer == theirs.stream.local
    ours = caller.bind(attempted.connection_id)
    assert isinstance(ours, Wire)
    caller.until(lambda: ours.received == b"hello")
    theirs.stream.close()
    caller.until(lambda: ours.ended)


def test_a_peer_without_permission_is_closed_and_not_announced(caller: TcpCaller) -> None:
    host, _, _ = peer_of(caller)
    theirs = Wire(host.connect(None, caller.relayed))
    caller.until(lambda: theirs.ended)
    assert not caller.shell.take(ConnectionAttempted)


def test_what_cannot_be_reached_or_bound_is_a_typed_error(caller: TcpCaller) -> None:
    host, peer, _ = peer_of(caller)
    host.stop_listening(peer)
    failed = caller.connect(peer)
    assert isinstance(failed, PeerConnectionFailed)
    assert isinstance(failed.error, ConnectionFailed)
    refused = caller.bind(77)
    assert isinstance(refused, NatkitError)
    assert "400" in str(refused)


def test_the_end_of_the_allocation_ends_its_connections(caller: TcpCaller) -> None:
    _, peer, wires = peer_of(caller)
    connected = caller.connect(peer)
    assert isinstance(connected, PeerConnected)
    ours = caller.bind(connected.connection_id)
    assert isinstance(ours, Wire)
    caller.close()
    caller.until(lambda: wires[0].ended and ours.ended)


def test_it_carries_no_datagrams_and_needs_a_connection(caller: TcpCaller) -> None:
    peer = Address("203.0.113.20", 7000)
    with pytest.raises(MisuseError):
        caller.send(b"x", peer)
    with pytest.raises(MisuseError):
        caller.bind_channel(peer)
    with pytest.raises(MisuseError):
        TcpAllocation(
            caller.relay.address(), Transport.UDP, username="a", password="b", random=bytes
        )
