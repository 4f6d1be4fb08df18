"""Connections in the simulated network: kept, found dead, and replaced for a response."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from natkit.address import Address
from natkit.keepalive import SendPing
from natkit.locate import Target
from natkit.machine import Path, Transport
from natkit.sip import SipUri, Via
from natkit.sip.framing import PING, PONG, Expect, SipFraming
from natkit.sip.kinds import VIA
from sip_proxy.events import GatewayChanged
from sip_proxy.gateways import Gateway, GatewaySettings, Probing
from sip_proxy.keeping import KeepAliveSettings
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, Phone, ProxyHost, Ringing, settings

TCP = Transport.TCP
KEPT = KeepAliveSettings(connections=100.0, websockets=20.0)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(6) as made:
        yield made


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def collects(heard: list[bytes]) -> Callable[[bytes, Path, float], None]:
    """What stands in for a phone's protocol: it listens, and says nothing."""

    def receive(data: bytes, _: Path, __: float) -> None:
        heard.append(data)

    return receive


class TestResponses:
    """RFC 3261 §18.2.2, RFC 3263 §5."""

    def call(self, network: Network, sent_by: str) -> tuple[ProxyHost, Phone, Phone, Phone]:
        """Alice calls Bob by TCP, and loses her connection while Bob's phone rings."""
        proxy = ProxyHost(network, settings())
        # Another phone of the same host listens where Alice's Via says.
        standby = Phone(network, "standby", "192.0.2.10")
        standby.shell.listen(Address("192.0.2.10", 5070), TCP)
        alice = Phone(network, "alice", "192.0.2.12", transport=TCP)
        bob = Phone(network, "bob", "192.0.2.11")
        via = Via.parse(f"SIP/2.0/TCP {sent_by};branch=z9hG4bKa1")
        invite = alice.invite("sip:bob@192.0.2.11")
        headers = invite.request.headers.replace_first(VIA, via)
        alice.submit(type(invite.request)("INVITE", "sip:bob@192.0.2.11", headers))
        network.run_for(1.0)
        assert len(bob.ringing) == 2
        return proxy, alice, standby, bob

    def lose(self, network: Network, alice: Phone) -> None:
        alice.shell.call(lambda now: alice.layer.disconnected(alice.path, now))
        alice.shell.stop()
        network.run_for(1.0)

    def test_one_goes_to_the_sent_by_when_its_connection_is_gone(self, network: Network) -> None:
        proxy, alice, standby, bob = self.call(network, "phone.example.net:5070")
        proxy.servers["phone.example.net"] = (
            Target(TCP, Address("192.0.2.10", 5070), "phone.example.net", "phone.example.net"),
        )
        # Its own address refuses: only then its name is looked up.
        self.lose(network, alice)
        heard: list[bytes] = []
        standby.layer.receive = collects(heard)  # type: ignore[assignment]
        for ringing in list(bob.ringing):
            bob.respond(ringing, 486)
        network.run_for(2.0)
        assert [data.startswith(b"SIP/2.0 486 ") for data in heard] == [True]
        assert b"phone.example.net:5070" in heard[0]
        network.run_for(60.0)
        assert len(proxy.machine._way_back) == 0

    def test_one_that_reaches_nobody_is_dropped(self, network: Network) -> None:
        proxy, alice, _, bob = self.call(network, "nowhere.example.net:5070")
        self.lose(network, alice)
        for ringing in list(bob.ringing):
            bob.respond(ringing, 486)
        network.run_for(200.0)
        assert len(proxy.machine._way_back) == 0
        assert len(proxy.machine._transactions) == 0
        assert proxy.is_idle


class TestKeepAlive:
    """RFC 5626 §3.5.1 and §4.4.1, RFC 7118 §6."""

    def proxy_that_called(self, network: Network) -> tuple[ProxyHost, Phone, Path]:
        """A proxy that has a connection to Bob."""
        proxy = ProxyHost(network, settings(keep_alive=KEPT))
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        bob.shell._framing = partial(SipFraming, Expect.PINGS)
        bob.shell.listen(Address("192.0.2.11", 5060), TCP)
        uri = "sip:bob@192.0.2.11;transport=tcp"
        answer = alice.send("OPTIONS", uri)
        network.run_for(1.0)
        assert answer.statuses == [200]
        (path,) = [each for each in proxy.shell.paths if each.remote.host == "192.0.2.11"]
        return proxy, bob, path

    def test_a_peer_that_answered_once_and_does_no_longer_is_left(self, network: Network) -> None:
        proxy, bob, path = self.proxy_that_called(network)
        pings = 0

        def answer(data: bytes, path: Path, _now: float) -> None:
            nonlocal pings
            assert data == PING
            pings += 1
            if pings <= 3:
                bob.layer.transmit(PONG, path)

        bob.layer.receive = answer  # type: ignore[assignment]
        network.run_for(310.0)
        assert pings == 3
        assert path in proxy.shell.paths
        network.run_for(200.0)
        assert pings == 4
        assert path not in proxy.shell.paths
        assert len(proxy.machine._keeping) == 0

    def test_a_peer_that_knows_no_pings_is_spared_them(self, network: Network) -> None:
        proxy, bob, path = self.proxy_that_called(network)
        heard: list[bytes] = []
        bob.layer.receive = collects(heard)  # type: ignore[assignment]
        network.run_for(1000.0)
        assert heard == [PING]
        assert path in proxy.shell.paths

    def test_none_are_sent_where_none_are_wanted(self, network: Network) -> None:
        proxy = ProxyHost(network, settings(keep_alive=KeepAliveSettings(0.0, 0.0)))
        bob = Phone(network, "bob", "192.0.2.11", transport=TCP)
        bob.register()
        network.run_for(1000.0)
        assert proxy.machine._keeping.next_deadline() is None

    def test_a_connection_on_which_nothing_is_answered_is_left_for_a_new_one(
        self, network: Network
    ) -> None:
        proxy, bob, path = self.proxy_that_called(network)
        alice = Phone(network, "alice", "192.0.2.13")
        heard: list[bytes] = []
        receive = bob.layer.receive
        bob.layer.receive = collects(heard)  # type: ignore[assignment]
        lost = alice.send("OPTIONS", "sip:bob@192.0.2.11;transport=tcp")
        network.run_for(40.0)
        assert len(heard) == 1
        assert lost.statuses == []
        assert path not in proxy.shell.paths
        bob.layer.receive = receive  # type: ignore[method-assign]
        answered = alice.send("OPTIONS", "sip:bob@192.0.2.11;transport=tcp")
        network.run_for(1.0)
        assert answered.statuses == [200]

    def test_a_slow_request_does_not_cost_others_their_connection(self, network: Network) -> None:
        proxy, bob, path = self.proxy_that_called(network)
        alice = Phone(network, "alice", "192.0.2.13")
        bob.answers = None
        ringing = alice.invite("sip:bob@192.0.2.11;transport=tcp")
        for _ in range(8):
            other = alice.send("OPTIONS", "sip:bob@192.0.2.11;transport=tcp")
            network.run_for(5.0)
            assert other.statuses == [200]
        assert path in proxy.shell.paths
        assert ringing.statuses == [408]

    def test_websockets_are_pinged_and_one_without_pong_is_closed(self, network: Network) -> None:
        proxy = ProxyHost(network, settings(keep_alive=KEPT))
        path = Path(Transport.WS, PROXY, Address("192.0.2.77", 40000))

        def now() -> float:
            return network.now

        def pings() -> list[SendPing]:
            return [fact for fact in proxy.facts if isinstance(fact, SendPing)]

        proxy.shell.call(lambda at: proxy.machine.receive(PING, path, at))
        for number in range(1, 4):
            network.run_for(20.0)
            assert len(pings()) == number
            proxy.shell.call(lambda at: proxy.machine.pong(path, pings()[-1].payload, at))
        network.run_for(20.0)
        assert path in proxy.machine._flows
        network.run_for(11.0)
        assert path not in proxy.machine._flows
        assert now() > 80


class TestGateways:
    def test_one_whose_connection_died_is_found_up_again_by_a_new_one(
        self, network: Network
    ) -> None:
        uri = SipUri.parse("sip:192.0.2.11;transport=tcp")
        probing = Probing(interval=10.0, patience=4.0)
        proxy = ProxyHost(
            network,
            settings(
                keep_alive=KEPT,
                gateways=GatewaySettings((Gateway("gw", "carrier", uri),), probing),
            ),
        )
        gateway = Phone(network, "gateway", "192.0.2.11")
        gateway.shell.listen(Address("192.0.2.11", 5060), TCP)
        network.run_for(30.0)
        (first,) = proxy.shell.paths
        (state,) = proxy.machine.gateways.states()
        assert state.is_up
        # As behind a firewall that forgot the connection: nothing comes through it any more.
        receive = gateway.layer.receive

        def lose(data: bytes, path: Path, now: float) -> None:
            if path != Path(TCP, first.remote, first.local):
                receive(data, path, now)

        gateway.layer.receive = lose  # type: ignore[method-assign]
        network.run_for(100.0)
        (second,) = proxy.shell.paths
        assert second != first
        (state,) = proxy.machine.gateways.states()
        assert state.is_up
        changes = [fact for fact in proxy.facts if isinstance(fact, GatewayChanged)]
        assert len(proxy.machine._keeping) == 1
        assert all(change.is_up for change in changes[-1:])


class TestMaddr:
    """RFC 3261 §18.2.2."""

    def test_an_answer_over_udp_goes_to_the_maddr_of_the_via(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        other = Phone(network, "other", "192.0.2.14")
        heard: list[bytes] = []
        other.layer.receive = collects(heard)  # type: ignore[assignment]
        asked = alice.send("OPTIONS", f"sip:{DOMAIN}")
        network.run_for(1.0)
        assert asked.statuses == [200]
        via = Via.parse("SIP/2.0/UDP 192.0.2.10:5060;maddr=192.0.2.14;branch=z9hG4bKmaddr")
        headers = asked.request.headers.replace_first(VIA, via)
        redirected = alice.submit(type(asked.request)("OPTIONS", f"sip:{DOMAIN}", headers))
        network.run_for(1.0)
        assert redirected.statuses == []
        assert heard[0].startswith(b"SIP/2.0 200 ")
