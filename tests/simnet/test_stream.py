"""Streams: reliable, ordered, cut anywhere; and how they begin and end."""

import pytest

from natkit.address import Address
from natkit.machine import ClosePath, Connect, Failure, Path, Transport
from tests.simnet import (
    Conditions,
    Dependence,
    LimitReached,
    Nat,
    NatBehaviour,
    Network,
    Shell,
    SimulationError,
)
from tests.simnet.lines import Lines
from tests.simnet.scripted import Scripted

ROUGH = Conditions(loss=0.2, jitter=0.05, duplication=0.1, reordering=0.2)


class Call:
    """A client that connects to a listening server."""

    def __init__(
        self, seed: int = 1, link: Conditions | None = None, behaviour: NatBehaviour | None = None
    ) -> None:
        self.network = Network(seed)
        self.nat: Nat | None = None
        if behaviour is not None:
            self.nat = self.network.nat("home", "198.51.100.7", behaviour=behaviour)
        self.client, self.server = Scripted(), Scripted()
        self.client_host = self.network.host("client", "192.0.2.1", behind=self.nat, link=link)
        self.server_host = self.network.host("server", "203.0.113.1")
        self.client_shell = Shell(self.client_host, self.client, framing=Lines)
        self.server_shell = Shell(self.server_host, self.server, framing=Lines)
        self.address = self.server_shell.listen(self.server_host.address(3478))

    def connect(self, remote: Address | None = None, local: Address | None = None) -> Path:
        """Connect and return the client's path; a Failure is an error."""
        answer = self.attempt(remote, local)
        assert isinstance(answer, Path)
        return answer

    def attempt(self, remote: Address | None = None, local: Address | None = None) -> object:
        count = len(self.client.said("answer"))
        self.client.events.append(Connect(count, Transport.TCP, local, remote or self.address))
        self.client_shell.call(lambda _: None)
        self.network.run_until(lambda: len(self.client.said("answer")) > count, limit=100.0)
        request_id, result = self.client.said("answer")[-1]
        assert request_id == count
        return result

    def send(self, path: Path, *messages: bytes) -> None:
        for message in messages:
            self.client.send(message, path)
        self.client_shell.call(lambda _: None)

    def close(self, path: Path) -> None:
        self.client.events.append(ClosePath(path))
        self.client_shell.call(lambda _: None)

    def streams(self) -> int:
        return len(self.client_host.streams) + len(self.server_host.streams)


def test_messages_arrive_whole_and_in_order_both_ways() -> None:
    call = Call()
    call.server.replies = True
    path = call.connect()
    messages = [b"%d %s\n" % (number, b"x" * number) for number in range(200)]
    call.send(path, *messages)
    call.network.run_until(lambda: len(call.client.received) == 200, limit=60.0)
    assert call.server.received == call.client.received == messages
    [server_path] = call.server_shell.paths
    assert server_path == Path(Transport.TCP, call.address, path.local)
    assert path.remote == call.address


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_doubled_or_reordered_on_a_rough_link(seed: int) -> None:
    call = Call(seed, ROUGH)
    with call.network as network:
        call.server.replies = True
        path = call.connect()
        messages = [b"%d %s\n" % (number, b"x" * (7 * number % 2000)) for number in range(100)]
        call.send(path, *messages)
        network.run_until(lambda: len(call.client.received) == 100, limit=600.0)
        assert call.server.received == call.client.received == messages
        call.close(path)
        network.run_until(lambda: call.server.said("disconnected") != [], limit=600.0)


def test_a_message_comes_in_pieces_and_pieces_hold_several_messages() -> None:
    call = Call()
    sizes: list[int] = []

    class Measured(Lines):
        def receive(self, data: bytes) -> list[bytes]:
            sizes.append(len(data))
            return list(super().receive(data))

    shell = Shell(call.server_host, Scripted(), framing=Measured)
    path = call.connect(shell.listen(call.server_host.address(5349)))
    call.send(path, *[b"123456789\n"] * 1000)
    call.network.run_until(lambda: sum(sizes) == 10_000, limit=60.0)
    assert 1 in sizes
    assert max(sizes) > 1000


def test_a_closed_port_refuses() -> None:
    call = Call()
    assert call.attempt(Address(call.address.host, 9)) == Failure("connection refused")
    assert call.streams() == 0


def test_a_host_that_is_not_there_times_out() -> None:
    call = Call()
    before = call.network.now
    assert call.attempt(Address("203.0.113.99", 3478)) == Failure("connection timed out")
    assert call.network.now - before == pytest.approx(63.0)


@pytest.mark.parametrize("seed", range(30))
def test_an_attempt_ends_even_when_the_server_dies_in_the_handshake(seed: int) -> None:
    call = Call(seed, Conditions(loss=0.4, jitter=0.1))
    call.network.after(0.02 + seed * 0.01, call.server_shell.stop)
    with call.network:
        call.attempt()
        call.network.run_for(100.0)
        assert len(call.client_host.streams) == len(call.client_shell.paths)
        assert call.server_host.streams == ()


def test_a_local_address_may_be_asked_for_and_is_refused_when_in_use() -> None:
    call = Call()
    local = call.client_host.address(40_000)
    assert call.connect(local=local).local == local
    assert call.attempt(local=local) == Failure(f"{local} is in use", address_in_use=True)


def test_both_ends_hear_once_of_an_end_after_everything_that_was_sent_before() -> None:
    call = Call()
    path = call.connect()
    call.send(path, b"last words\n")
    call.close(path)
    call.network.run_for(10.0)
    assert [heard.what for heard in call.server.heard] == ["receive", "disconnected"]
    assert call.client.said("disconnected") == [(path,)]
    assert call.streams() == 0
    # Writing to it now is nothing that a machine is punished for.
    call.send(path, b"too late\n")
    call.network.run_for(100.0)
    assert call.server.received == [b"last words\n"]


def test_when_both_close_at_once_each_hears_once() -> None:
    call = Call()
    path = call.connect()
    call.send(path, b"open\n")
    call.network.run_for(1.0)
    call.close(path)
    call.server.events.append(ClosePath(*call.server_shell.paths))
    call.server_shell.call(lambda _: None)
    call.network.run_for(10.0)
    assert len(call.client.said("disconnected")) == len(call.server.said("disconnected")) == 1
    assert call.streams() == 0


def test_a_stream_that_cannot_be_framed_is_closed() -> None:
    call = Call()
    path = call.connect()
    call.send(path, b"good\n", b"!\n", b"never read\n")
    call.network.run_for(10.0)
    assert call.server.received in ([b"good\n"], [])
    assert len(call.server.said("disconnected")) == len(call.client.said("disconnected")) == 1


def test_a_killed_server_resets_its_streams_and_a_new_one_takes_its_place() -> None:
    call = Call()
    path = call.connect()
    call.server_shell.stop()
    call.network.run_for(1.0)
    assert call.client.said("disconnected") == [(path,)]
    assert call.attempt() == Failure("connection refused")
    call.server_shell = Shell(call.server_host, call.server, framing=Lines)
    call.server_shell.listen(call.address)
    call.send(call.connect(), b"again\n")
    call.network.run_for(1.0)
    assert call.server.received == [b"again\n"]


def test_a_dead_path_ends_the_stream_when_retransmission_is_given_up() -> None:
    call = Call()
    path = call.connect()
    call.network.run_for(1.0)
    call.client_host.link.black_out(call.network.now, call.network.now + 1e6)
    call.send(path, b"into the void\n")
    call.network.run_for(62.0)
    assert call.client.said("disconnected") == []
    call.network.run_for(2.0)
    assert call.client.said("disconnected") == [(path,)]


def test_a_short_blackout_only_delays() -> None:
    call = Call()
    path = call.connect()
    call.client_host.link.black_out(call.network.now, call.network.now + 5.0)
    call.send(path, b"held up\n")
    call.network.run_for(20.0)
    assert call.server.received == [b"held up\n"]


@pytest.mark.parametrize("mapping", Dependence)
@pytest.mark.parametrize("filtering", Dependence)
def test_streams_go_out_through_nats(mapping: Dependence, filtering: Dependence) -> None:
    call = Call(behaviour=NatBehaviour(mapping=mapping, filtering=filtering))
    call.server.replies = True
    call.send(call.connect(), b"ping\n")
    call.network.run_until(lambda: call.client.received == [b"ping\n"], limit=10.0)
    [server_path] = call.server_shell.paths
    assert server_path.remote.host == "198.51.100.7"


def test_streams_do_not_come_in_through_nats() -> None:
    call = Call(behaviour=NatBehaviour())
    inner = call.client_shell.listen(call.client_host.address(80))
    call.server.events.append(Connect(1, Transport.TCP, None, Address("198.51.100.7", inner.port)))
    call.server_shell.call(lambda _: None)
    with pytest.raises(LimitReached):
        call.network.run_until(lambda: call.server.said("answer") != [], limit=60.0)
    call.network.run_for(10.0)
    assert call.server.said("answer") == [(1, Failure("connection timed out"))]


def test_an_idle_stream_dies_with_its_mapping() -> None:
    """RFC 5382 §5: the default lifetime of an established connection is 2 h 4 min."""
    call = Call(behaviour=NatBehaviour(tcp_lifetime=7440.0))
    assert call.nat is not None
    path = call.connect()
    call.network.run_for(7400.0)
    alive = [len(call.nat.mappings)]
    call.network.run_for(60.0)
    alive.append(len(call.nat.mappings))
    assert alive == [1, 0]
    call.server.send(b"anybody there?\n", call.server_shell.paths[0])
    call.server_shell.call(lambda _: None)
    call.network.run_for(100.0)
    assert call.client.received == []
    assert len(call.server.said("disconnected")) == 1
    assert call.client.said("disconnected") == []
    assert call.client_shell.paths == (path,)


def test_a_machine_with_streams_needs_a_framing() -> None:
    call = Call()
    shell = Shell(call.server_host, Scripted())
    listener = shell.listen(call.server_host.address(5349))
    call.attempt(listener)
    with pytest.raises(SimulationError, match="no framing"):
        call.network.run_for(1.0)


def test_the_transport_of_a_listener_names_the_path() -> None:
    call = Call()
    listener = call.server_shell.listen(call.server_host.address(5349), Transport.TLS)
    call.send(call.connect(listener), b"x\n")
    call.network.run_for(1.0)
    assert [path.transport for path in call.server_shell.paths] == [Transport.TLS]
