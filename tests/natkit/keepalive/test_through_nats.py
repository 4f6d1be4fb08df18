"""Flows through simulated NATs, with and without keep-alive."""

from typing import Final

import pytest

from natkit.address import Address
from natkit.keepalive import (
    AddressChanged,
    Alive,
    FlowFailed,
    FlowKeeper,
    FlowSilent,
    FlowWatch,
    KeepAliveEvent,
    Technique,
)
from natkit.machine import Path, Transport
from natkit.sip.framing import Expect, SipFraming
from tests.simnet import (
    Conditions,
    Dependence,
    Endpoint,
    NatBehaviour,
    Network,
    PortAssignment,
    Shell,
)

LIFETIME: Final = 20.0
STRICT: Final = NatBehaviour(
    filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT,
    ports=PortAssignment.RANDOM,
    lifetime=LIFETIME,
    tcp_lifetime=60.0,
)
CALL: Final = b"INVITE sip:phone@192.168.1.2 SIP/2.0\r\n\r\n"


class Listening(FlowKeeper):
    """A phone: keeps its flows, and hears calls on the same socket."""

    def __init__(self, network: Network) -> None:
        super().__init__(random=network.random_bytes("phone"))
        self.calls = 0

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """As any machine that shares the socket would."""
        self.calls += data == CALL
        super().receive(data, path, now)


class Line:
    """A phone behind a NAT, and its edge proxy on the internet, sharing sockets with SIP."""

    def __init__(self, behaviour: NatBehaviour = STRICT, *, seed: int, loss: float = 0.0) -> None:
        self.network = Network(seed)
        nat = self.network.nat("home", "198.51.100.7", behaviour=behaviour)
        phone = self.network.host("phone", "192.168.1.2", behind=nat, link=Conditions(loss=loss))
        edge = self.network.host("edge", "203.0.113.1")
        self.keeper = Listening(self.network)
        self.phone: Shell[KeepAliveEvent, object] = Shell(
            phone, self.keeper, framing=lambda: SipFraming(Expect.PONGS)
        )
        self.watch = FlowWatch()
        self.edge: Shell[FlowSilent, object] = Shell(
            edge, self.watch, framing=lambda: SipFraming(Expect.PINGS)
        )
        self.local = self.phone.bind(phone.address(5060))
        self.remote = self.edge.bind(edge.address(5060))
        self.path = Path(Transport.UDP, self.local, self.remote)

    def keep(self, bound: float) -> None:
        self.phone.call(
            lambda now: self.keeper.keep(self.path, Technique.STUN, bound, now, at_once=True)
        )

    @property
    def mapped(self) -> Address:
        alive = [each for each in self.phone.events if isinstance(each, Alive)]
        assert alive[-1].mapped is not None
        return alive[-1].mapped

    def is_reached(self) -> bool:
        """Whether a call to the phone's last known address gets through the NAT."""
        before = self.keeper.calls
        self.edge.host.send_datagram(CALL, self.remote, self.mapped)
        self.network.run_for(2.0)
        return self.keeper.calls > before


@pytest.mark.parametrize("seed", range(8))
def test_a_binding_that_is_kept_alive_lets_calls_in_after_nine_lifetimes(seed: int) -> None:
    line = Line(seed=seed)
    with line.network:
        line.keep(0.9 * LIFETIME)
        line.network.run_for(9 * LIFETIME)
        assert line.is_reached()
        assert not [each for each in line.phone.events if not isinstance(each, Alive)]


def test_without_keep_alive_it_closes() -> None:
    line = Line(seed=1)
    with line.network:
        line.keep(0.9 * LIFETIME)
        line.network.run_for(1.0)
        assert line.is_reached()
        line.phone.call(lambda _: line.keeper.stop(line.path))
        line.network.run_for(2 * LIFETIME)
        assert not line.is_reached()


def test_a_keep_alive_that_comes_too_late_tells_of_the_new_address() -> None:
    line = Line(seed=3)
    with line.network:
        line.keep(3 * LIFETIME)
        line.network.run_for(4 * LIFETIME)
        changes = line.phone.take(AddressChanged)
        assert changes
        assert changes[0].before != changes[0].after == line.mapped


@pytest.mark.parametrize("seed", range(12))
def test_at_twenty_percent_loss_each_way_the_flow_lives(seed: int) -> None:
    line = Line(seed=seed, loss=0.2)
    with line.network:
        line.keep(0.5 * LIFETIME)
        line.network.run_for(180.0)
        assert not line.phone.take(FlowFailed)
        assert line.path in line.keeper


def test_a_dead_edge_is_noticed_within_one_transaction() -> None:
    line = Line(seed=1)
    with line.network:
        line.keep(0.9 * LIFETIME)
        line.network.run_for(30.0)
        line.edge.stop()
        line.network.run_for(LIFETIME + 39.6)
        (failed,) = line.phone.take(FlowFailed)
        assert failed.path == line.path


def test_streams_are_kept_by_crlf_and_their_end_is_noticed_on_both_sides() -> None:
    line = Line(seed=1)
    with line.network:
        listening = line.edge.listen(Address("203.0.113.1", 5060))
        stream = line.phone.host.connect(None, listening)
        path = Path(Transport.TCP, stream.local, listening)
        line.phone._opening[stream] = None
        stream.on_open = lambda: line.phone._attach(stream, path)
        line.network.run_for(1.0)
        line.phone.call(lambda now: line.keeper.keep(path, Technique.CRLF, 50.0, now))
        (accepted,) = line.edge.paths
        line.edge.call(lambda now: line.watch.watch(accepted, 60.0, now))
        line.network.run_for(600.0)
        assert len(line.phone.take(Alive)) >= 12
        assert line.edge.events == []
        line.phone.call(lambda _: line.keeper.stop(path))
        line.network.run_for(61.0)
        assert line.edge.take(FlowSilent) == [FlowSilent(accepted, 60.0)]


def test_a_stranger_who_guesses_is_not_believed() -> None:
    line = Line(seed=1)
    with line.network:
        stranger = Endpoint(line.network.host("stranger", "203.0.113.66"))
        line.keep(0.9 * LIFETIME)
        line.network.run_for(1.0)
        known = line.mapped
        stranger.send(b"\x01\x01\x00\x00!\x12\xa4B" + bytes(12), known)
        line.network.run_for(1.0)
        assert line.mapped == known
        assert not line.phone.take(FlowFailed)
