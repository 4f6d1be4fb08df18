"""Our client takes its allocation along, at our server, through a simulated network (RFC 8016)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from natkit.errors import (
    AllocationMismatch,
    MisuseError,
    TransactionTimeout,
    UnreachableError,
)
from natkit.machine import Transport
from natkit.turn import AllocationState
from natkit.turn.events import (
    AllocationClosed,
    AllocationLost,
    ChannelBound,
    Moved,
    MoveFailed,
    PermissionInstalled,
    Refreshed,
)
from stun_server.events import AllocationMoved
from tests.natkit.turn.simulated import (
    PEER_HOSTS,
    SETTINGS,
    Relay,
    caller_on,
    network_of,
)
from tests.simnet import Conditions, Endpoint, Nat, NatBehaviour, Network, PortAssignment

both_transports = pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
PACE = 0.02
"""Seconds between two datagrams of a stream."""


class Road:
    """A relay, a peer, and a caller with an allocation that can move."""

    def __init__(
        self,
        network: Network,
        transport: Transport = Transport.UDP,
        *,
        nat: bool = False,
        link: Conditions | None = None,
    ) -> None:
        self.network = network
        self.relay = Relay(network)
        self.nat: Nat | None = None
        if nat:
            self.nat = network.nat(
                "home", "198.51.100.7", behaviour=NatBehaviour(ports=PortAssignment.RANDOM)
            )
        self.caller = caller_on(
            self.relay, behind=self.nat, transport=transport, link=link, mobile=True
        )
        self.peer = Endpoint(network.host("peer", *PEER_HOSTS))

    def open(self, *, channel: bool = True) -> None:
        self.caller.allocate()
        assert self.caller.allocation.can_move
        if channel:
            self.caller.bind_channel(self.peer.address)
            self.caller.until(lambda: bool(self.caller.shell.take(ChannelBound)))
        else:
            self.caller.permit(self.peer.address)
            self.caller.until(lambda: bool(self.caller.shell.take(PermissionInstalled)))

    def stream(self, count: int) -> None:
        """Let ``count`` datagrams go each way, at a steady pace from now on."""

        def both(number: int) -> Callable[[], None]:
            def go() -> None:
                self.peer.send(b"down %d" % number, self.caller.relayed)
                self.caller.send(b"up %d" % number, self.peer.address)

            return go

        for number in range(count):
            self.network.after(number * PACE, both(number))

    def moved(self) -> Moved:
        self.caller.until(
            lambda: any(isinstance(e, Moved) for e in self.caller.events), limit=1000.0
        )
        [event] = self.caller.shell.take(Moved)
        return event

    def works(self) -> bool:
        """Whether data passes both ways."""
        self.peer.received.clear()
        self.caller.received()
        self.stream(1)
        self.network.run_for(1.0)
        return (len(self.peer.received), len(self.caller.received())) == (1, 1)


@both_transports
@pytest.mark.parametrize("channel", [True, False], ids=["channels", "indications"])
def test_nothing_is_lost_nor_doubled_while_the_client_moves(
    transport: Transport, channel: bool
) -> None:
    with network_of(1) as network:
        road = Road(network, transport)
        road.open(channel=channel)
        relayed, before = road.caller.relayed, road.caller.allocation.path
        road.stream(100)
        network.run_for(0.5)
        for _ in range(3):
            road.caller.move()
            after = road.moved().path
            assert after != before
            before = after
        network.run_for(3.0)
        assert sorted(data for data, _ in road.caller.received()) == sorted(
            b"down %d" % number for number in range(100)
        )
        assert [data for data, _ in road.peer.received] == [b"up %d" % n for n in range(100)]
        assert road.caller.relayed == relayed
        assert road.relay.seen_as(relayed) is not None
        network.run_for(10.0)
        assert len(road.caller.host.sockets) + len(road.caller.host.streams) == 1
        assert road.works()


def test_an_allocation_that_moved_lives_on_with_permissions_and_channels() -> None:
    with network_of(1) as network:
        road = Road(network)
        road.open()
        road.caller.move()
        road.moved()
        network.run_for(2 * 3600.0)
        assert road.caller.shell.take(Refreshed)
        assert road.works()
        road.caller.close()
        network.run_for(1.0)
        assert road.caller.shell.take(AllocationClosed) == [AllocationClosed(confirmed=True)]
        assert road.relay.relayed == ()


def test_a_nat_that_forgets_costs_no_allocation() -> None:
    with network_of(1) as network:
        road = Road(network, nat=True)
        road.open()
        assert road.works()
        relayed = road.caller.relayed
        before = road.relay.seen_as(relayed)
        assert road.nat is not None
        network.run_for(60.0)
        road.nat.reboot()
        # The next request is a permission's refresh, and it meets a stale nonce first.
        moved = road.moved()
        assert moved.path == road.caller.allocation.path
        network.run_for(1.0)
        assert road.caller.relayed == relayed
        assert road.relay.seen_as(relayed) != before
        assert road.works()
        network.run_for(3600.0)
        assert road.works()


def test_a_connection_that_breaks_is_made_anew_and_the_allocation_stays() -> None:
    with network_of(1) as network:
        road = Road(network, Transport.TCP)
        road.open()
        relayed = road.caller.relayed
        [stream] = road.relay.host.streams
        stream.abort()
        road.moved()
        network.run_for(1.0)
        assert road.caller.relayed == relayed
        assert road.works()


def test_a_server_without_mobility_grants_an_allocation_that_stays_where_it_is() -> None:
    with network_of(1) as network:
        relay = Relay(network, settings=replace(SETTINGS, mobility=False))
        caller = caller_on(relay, mobile=True)
        caller.allocate()
        assert not caller.allocation.can_move
        with pytest.raises(MisuseError, match="no mobility ticket"):
            caller.move()


def test_who_does_not_ask_gets_no_ticket() -> None:
    with network_of(1) as network:
        caller = caller_on(Relay(network))
        caller.allocate()
        assert not caller.allocation.can_move


def test_a_move_to_nowhere_fails_and_all_is_as_before() -> None:
    with network_of(1) as network:
        road = Road(network)
        road.open()
        path = road.caller.allocation.path
        elsewhere = road.caller.host.address()._replace(host="192.0.2.99")
        road.caller.shell.call(lambda now: road.caller.allocation.move(now, elsewhere))
        network.run_for(1.0)
        [failed] = road.caller.shell.take(MoveFailed)
        assert isinstance(failed.error, UnreachableError)
        assert road.caller.allocation.path == path
        assert road.works()


def test_a_server_that_forgot_ends_the_allocation_once_the_ticket_was_tried() -> None:
    with network_of(1) as network:
        road = Road(network)
        road.open()
        road.relay.restart()
        network.run_for(1000.0)
        [lost] = road.caller.shell.take(AllocationLost)
        assert isinstance(lost.error, AllocationMismatch)
        assert road.caller.allocation.state is AllocationState.CLOSED
        assert road.caller.host.sockets == ()


def test_a_server_that_is_gone_ends_a_tcp_allocation_with_the_broken_connection() -> None:
    with network_of(1) as network:
        road = Road(network, Transport.TCP)
        road.open()
        road.relay.shell.stop()
        network.run_for(1000.0)
        [lost] = road.caller.shell.take(AllocationLost)
        assert isinstance(lost.error, UnreachableError)
        assert road.caller.host.streams == ()


def test_closing_in_the_middle_of_a_move_leaves_nothing_open() -> None:
    with network_of(1) as network:
        road = Road(network)
        road.open()
        road.caller.move()
        road.caller.close()
        network.run_for(10.0)
        assert road.caller.host.sockets == ()
        assert road.relay.relayed == ()


@pytest.mark.parametrize("seed", range(20))
def test_under_loss_both_ends_agree_whatever_became_of_the_move(seed: int) -> None:
    rough = Conditions(delay=0.05, jitter=0.05, loss=0.25, duplication=0.1, reordering=0.2)
    with network_of(seed) as network:
        road = Road(network, link=rough)
        road.caller.shell.call(road.caller.allocation.allocate)
        network.run_for(60.0)
        if not road.caller.is_alive:
            pytest.fail("seed without an allocation: choose another")
        road.caller.permit(road.peer.address)
        for _ in range(3):
            road.caller.move()
            network.run_for(100.0)
        ends = road.caller.shell.take(Moved) + road.caller.shell.take(MoveFailed)
        assert len(ends) >= 3
        for failed in (each for each in ends if isinstance(each, MoveFailed)):
            assert isinstance(failed.error, TransactionTimeout)
        assert road.caller.is_alive
        assert road.caller.agrees_with_relay()
        seen = road.relay.seen_as(road.caller.relayed)
        path = road.caller.allocation.path
        assert seen is not None
        assert path is not None
        assert seen.remote.port == path.local.port


def test_the_server_tells_where_the_client_went() -> None:
    with network_of(1) as network:
        road = Road(network)
        road.open()
        road.caller.move()
        after = road.moved().path
        network.run_for(1.0)
        [event] = road.relay.shell.take(AllocationMoved)
        assert event.client.remote.port == after.local.port
