"""Everything at once: clients that do whatever they may, on links that do whatever links do.

Each seed is an hour of random requests, data, loss, blackouts, NATs that reboot and servers that
restart; then it is calm for as long as the longest lifetime, and both ends must agree.
"""

from random import Random
from typing import Final

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.turn.allocation import AllocationState
from natkit.turn.events import (
    AllocationClosed,
    AllocationLost,
    ChannelBound,
    ChannelFailed,
    DataReceived,
    PermissionFailed,
    PermissionInstalled,
)
from tests.conftest import Sized
from tests.natkit.turn.simulated import Caller, Relay, network_of
from tests.simnet import (
    Conditions,
    Dependence,
    Endpoint,
    Hairpinning,
    Nat,
    NatBehaviour,
    PortAssignment,
)

CHUNKS: Final = 4
STORM: Final = 3600.0
CALM: Final = 1500.0
"""Seconds of the longest that anything lasts without a refresh: a channel and its quarantine, and
the transactions that were under way."""

OUTCOME: Final = 400.0
"""Seconds within which every request of an owner has an outcome."""

LATENESS: Final = 0.1
"""Seconds by which a busy event loop is late."""

TRANSPORTS: Final = (Transport.UDP, Transport.UDP, Transport.TCP)


def weather(draw: Random) -> Conditions:
    return Conditions(
        loss=draw.choice((0.0, 0.0, 0.1, 0.4)),
        delay=draw.uniform(0.001, 0.3),
        jitter=draw.choice((0.0, 0.02, 0.5)),
        duplication=draw.choice((0.0, 0.2)),
        reordering=draw.choice((0.0, 0.3)),
    )


def behaviour(draw: Random) -> NatBehaviour:
    return NatBehaviour(
        mapping=draw.choice(list(Dependence)),
        filtering=draw.choice(list(Dependence)),
        ports=draw.choice(list(PortAssignment)),
        lifetime=draw.choice((60.0, 300.0)),
        hairpinning=draw.choice(list(Hairpinning)),
    )


class Client:
    """A caller that asks for whatever occurs to it, and allocates again when it must."""

    def __init__(self, storm: "Storm", number: int) -> None:
        self.storm = storm
        self.draw = storm.network.random(f"client {number}")
        self.transport = TRANSPORTS[number % len(TRANSPORTS)]
        self.nat: Nat = storm.network.nat(
            f"home{number}", f"198.51.100.{number + 1}", behaviour=behaviour(self.draw)
        )
        self.host = storm.network.host(f"client{number}", "192.168.1.2", behind=self.nat)
        self.begin()

    def begin(self) -> None:
        """A new allocation, from nothing."""
        self.caller = Caller(
            self.storm.relay, self.host, transport=self.transport, lateness=LATENESS
        )
        self.wanted: dict[object, float] = {}
        self.caller.shell.on_event = self.note
        self.caller.shell.call(self.caller.allocation.allocate)

    def note(self, event: object) -> None:
        """Tick off what was asked for."""
        match event:
            case PermissionInstalled(host) | PermissionFailed(host, _):
                self.wanted.pop(host, None)
            case ChannelBound(peer, _) | ChannelFailed(peer, _):
                self.wanted.pop(peer, None)
            case AllocationLost() | AllocationClosed():
                self.wanted.clear()
            case _:
                pass

    def act(self) -> None:
        """Do one thing."""
        now = self.storm.network.now
        caller = self.caller
        caller.events.clear()
        match caller.allocation.state:
            case AllocationState.IDLE:
                caller.shell.call(caller.allocation.allocate)
            case AllocationState.CLOSED:
                self.begin()
            case AllocationState.ALLOCATED:
                self.ask(now)
            case _:
                pass

    def ask(self, now: float) -> None:
        caller = self.caller
        peer = self.draw.choice(self.storm.destinations())
        match self.draw.randrange(12):
            case 0:
                self.wanted.setdefault(peer.host, now)
                caller.permit(peer)
            case 1 | 2:
                self.wanted.setdefault(peer, now)
                caller.bind_channel(peer)
            case 3:
                caller.allocation.release(peer.host)
            case 4 if self.draw.random() < 0.05:
                caller.close()
            case 5 if self.draw.random() < 0.05:
                caller.shell.stop()
                self.begin()
            case 6 if self.draw.random() < 0.1:
                self.nat.reboot()
            case _:
                caller.send(self.draw.randbytes(self.draw.randrange(1200)), peer)

    def overdue(self) -> list[object]:
        """What was asked for and has had no outcome for too long."""
        return [
            what for what, asked in self.wanted.items() if asked < self.storm.network.now - OUTCOME
        ]


class Storm:
    """The network of one seed."""

    def __init__(self, seed: int) -> None:
        self.network = network_of(seed)
        self.draw = self.network.random("storm")
        self.relay = Relay(self.network, lateness=LATENESS)
        self.peers = [
            Endpoint(self.network.host(f"peer{number}", f"203.0.113.{20 + number}"), echo=True)
            for number in range(3)
        ]
        self.clients: list[Client] = []
        for number in range(3):
            self.clients.append(Client(self, number))

    def destinations(self) -> list[Address]:
        """Peers, a host where nobody is, one that policy refuses, and the others' relays."""
        found = [peer.address for peer in self.peers]
        found += [Address("203.0.113.99", 9), Address("10.0.0.1", 9)]
        found += [each.caller.relayed for each in self.clients if each.caller.is_alive]
        return found

    def rage(self) -> None:
        """An hour of it."""
        end = self.network.now + STORM
        while self.network.now < end:
            self.network.run_for(self.draw.expovariate(1 / 5.0))
            client = self.draw.choice(self.clients)
            client.act()
            assert client.overdue() == []
            what = self.draw.random()
            if what < 0.05:
                client.host.link.change(weather(self.draw))
            elif what < 0.06:
                now = self.network.now
                client.host.link.black_out(now, now + self.draw.uniform(1.0, 200.0))
            elif what < 0.062:
                self.relay.restart()
            self.relay.shell.events.clear()

    def calm_down(self) -> None:
        """Perfect links for as long as anything may last."""
        for client in self.clients:
            client.host.link.change(Conditions())
            client.caller.events.clear()
        self.network.run_for(CALM)

    def alive(self) -> list[Client]:
        return [client for client in self.clients if client.caller.is_alive]

    def assert_agreement(self) -> None:
        """What clients hold is what the server holds."""
        assert sorted(self.relay.relayed) == sorted(
            client.caller.relayed for client in self.alive()
        )
        for client in self.clients:
            assert client.overdue() == []
            assert len(client.host.sockets) + len(client.host.streams) == int(
                client.caller.is_alive
            )

    def assert_that_data_flows(self) -> None:
        """Every client that is alive reaches every peer, whatever it did before."""
        for client in self.alive():
            for peer in self.peers:
                client.caller.events.clear()
                client.caller.send(b"calm", peer.address)
                self.network.run_for(2.0)
                received = [e for e in client.caller.events if isinstance(e, DataReceived)]
                assert received == [DataReceived(b"calm", peer.address)]

    def leave(self) -> None:
        """Everybody closes, and nothing is left."""
        for client in self.clients:
            client.caller.close()
        self.network.run_for(10.0)
        self.assert_agreement()
        assert self.relay.relayed == ()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_after_any_storm_both_ends_agree_and_data_flows(chunk: int, sized: Sized) -> None:
    for seed in range(chunk, sized(quick=40, full=10_000), CHUNKS):
        storm = Storm(seed)
        with storm.network:
            storm.rage()
            storm.calm_down()
            storm.assert_agreement()
            storm.assert_that_data_flows()
            storm.leave()
