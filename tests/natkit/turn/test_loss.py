"""Our client and our server under loss: 500 fixed seeds.

The link of the client loses a packet each way with probability p, independently.  A transmission of
a request is answered with q = (1 - p)², so a transaction of Rc = 7 transmissions fails with
f = (1 - q)⁷ (RFC 8489 §6.2.1): 9e-6 at 10 %, 0.009 at 30 %.
"""

from collections.abc import Callable
from itertools import pairwise
from math import exp, lgamma, log, log1p
from typing import Final

import pytest

from natkit.errors import TransactionTimeout
from natkit.stun.registry import Method
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationLost,
    ChannelBound,
    ChannelFailed,
    PermissionFailed,
    PermissionInstalled,
    TurnEvent,
)
from tests.conftest import Sized
from tests.natkit.turn.simulated import (
    PEER_HOSTS,
    Caller,
    Exchange,
    Relay,
    caller_on,
    exchanges,
    network_of,
    parsed,
)
from tests.simnet import Conditions, Endpoint, Packet

SEEDS: Final = 500
MANY_SEEDS: Final = 20_000
CHUNKS: Final = 10
"""Each takes every tenth seed, so that several processes can share the work."""

TRANSMISSIONS: Final = 7  # Rc
ERROR: Final = 1e-6
"""The chance that a correct implementation falls out of the interval, were the seeds not fixed."""

LIFETIME: Final = 600.0
TRANSACTION: Final = 2 * 39.5
"""Seconds that one takes at most: 39.5, and more where the round trips measured are long."""

A_PACKETS_WAY: Final = 0.5


def lossy(probability: float) -> Conditions:
    return Conditions(loss=probability, delay=0.02, jitter=0.03, reordering=0.2, hold=0.06)


def failure(loss: float) -> float:
    """How likely a transaction fails."""
    return (1.0 - (1.0 - loss) ** 2) ** TRANSMISSIONS


def binomial_interval(trials: int, probability: float, error: float) -> tuple[int, int]:
    """The least and greatest count that has at least ``error`` / 2 on its far side and itself."""

    def mass(count: int) -> float:
        ways = lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)
        return exp(ways + count * log(probability) + (trials - count) * log1p(-probability))

    low, below = 0, mass(0)
    while below < error / 2:
        low += 1
        below += mass(low)
    high, above = trials, mass(trials)
    while above < error / 2:
        high -= 1
        above += mass(high)
    return low, high


def test_the_interval_is_that_of_the_binomial_distribution() -> None:
    # Of two coins, none is heads in one of four cases, and both are in another.
    assert binomial_interval(2, 0.5, 0.4) == (0, 2)
    assert binomial_interval(2, 0.5, 0.6) == (1, 1)
    assert binomial_interval(10, 0.5, 2 / 1024) == (0, 10)
    assert binomial_interval(10, 0.5, 3 / 1024) == (1, 9)


class Scene:
    """One relay, one caller on a lossy link, one echoing peer."""

    def __init__(self, seed: int, loss: float) -> None:
        self.network = network_of(seed)
        self.relay = Relay(self.network)
        self.caller: Caller = caller_on(self.relay, link=lossy(loss))
        self.peer = Endpoint(self.network.host("peer", *PEER_HOSTS), echo=True)
        self.timeouts = 0

    def attempt(
        self,
        ask: Callable[[], None],
        success: type[TurnEvent],
        failed: type[AllocateFailed | PermissionFailed | ChannelFailed],
    ) -> bool:
        """Ask once, wait for the outcome; a failure can only be a TransactionTimeout."""
        caller = self.caller
        caller.shell.take(failed)
        ask()
        # A challenge and a request, each as long as a transaction may take; two stale nonces.
        caller.until(
            lambda: any(isinstance(event, success | failed) for event in caller.events),
            limit=4 * TRANSACTION,
        )
        failures = caller.shell.take(failed)
        for event in failures:
            assert isinstance(event.error, TransactionTimeout), event
        self.timeouts += len(failures)
        return bool(caller.shell.take(success))

    def allocate(self) -> bool:
        call = self.caller
        return self.attempt(
            lambda: call.shell.call(call.allocation.allocate), Allocated, AllocateFailed
        )

    def permit(self) -> bool:
        peer = self.peer.address
        return self.attempt(lambda: self.caller.permit(peer), PermissionInstalled, PermissionFailed)

    def bind_channel(self) -> bool:
        peer = self.peer.address
        return self.attempt(lambda: self.caller.bind_channel(peer), ChannelBound, ChannelFailed)

    def set_up(self) -> None:
        """Every step again and again until it succeeds."""
        for step in (self.allocate, self.permit, self.bind_channel):
            while not step():
                pass

    def echoes(self, count: int) -> int:
        """How many of ``count`` datagrams to the peer come back, sent one after the other."""
        self.caller.received()
        for number in range(count):
            self.caller.send(number.to_bytes(2, "big"), self.peer.address)
            self.network.run_for(0.5)
        return len(self.caller.received())

    def exchanges(self) -> list[Exchange]:
        """The client's transactions: an id used again would have too many transmissions."""
        found = exchanges(self.network, "client")
        # A transaction that is under way when the allocation is lost ends with it.
        ends = [self.network.now]
        ends += [
            record.time
            for record in self.network.trace.records
            if isinstance(record.subject, AllocationLost)
        ]
        for exchange in found:
            assert len(exchange.sent) <= TRANSMISSIONS
            assert (
                exchange.answered
                or len(exchange.sent) == TRANSMISSIONS
                or any(exchange.sent[0] <= end <= exchange.sent[0] + TRANSACTION for end in ends)
            )
        return found

    def assert_that_both_ends_agree(self) -> None:
        """The client's allocation, permissions and channels are the server's, and carry data."""
        caller, relay = self.caller, self.relay
        assert caller.agrees_with_relay()
        assert len(relay.machine.allocations) == int(caller.is_alive)
        if caller.is_alive:
            caller.events.clear()
            kept = relay.machine.allocations.of_relayed(caller.relayed)
            assert kept is not None
            assert caller.allocation.path is not None
            assert kept.client.remote == caller.host.address(caller.allocation.path.local.port)
            for step in (self.permit, self.bind_channel):
                assert step()
            assert self.echoes(5) == 5


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_at_ten_percent_an_allocation_always_lives(chunk: int, sized: Sized) -> None:
    for seed in range(chunk, sized(quick=SEEDS, full=MANY_SEEDS), CHUNKS):
        scene = Scene(seed, loss=0.1)
        with scene.network as network:
            scene.set_up()
            network.run_for(3 * LIFETIME)
            assert not scene.caller.shell.take(AllocationLost)
            assert scene.caller.is_alive
            assert scene.echoes(20) > 0
            scene.caller.host.link.change(Conditions())
            scene.assert_that_both_ends_agree()
            scene.exchanges()


@pytest.mark.parametrize("loss", [0.3, 0.5])
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_at_heavy_loss_every_step_succeeds_or_times_out_and_both_ends_agree_afterwards(
    loss: float, chunk: int, sized: Sized
) -> None:
    for seed in range(chunk, sized(quick=SEEDS, full=MANY_SEEDS), CHUNKS):
        scene = Scene(seed, loss)
        with scene.network as network:
            scene.set_up()
            # Orphans of the first attempts, refreshes that failed, or a life of some lifetimes.
            network.run_for(seed % 4 * LIFETIME)
            scene.caller.host.link.change(Conditions())
            network.run_for(LIFETIME + A_PACKETS_WAY)
            for event in scene.caller.events:
                if isinstance(event, AllocationLost | PermissionFailed | ChannelFailed):
                    assert isinstance(event.error, TransactionTimeout)
            channel = [
                type(event)
                for event in scene.caller.events
                if isinstance(event, ChannelBound | ChannelFailed)
            ]
            assert (ChannelFailed, ChannelFailed) not in pairwise(channel), "told twice"
            scene.assert_that_both_ends_agree()
            failed = [each for each in scene.exchanges() if not each.answered]
            assert len(failed) >= scene.timeouts


def test_a_request_that_comes_again_is_answered_identically() -> None:
    """RFC 8489 §6.3.1; the challenges of strangers alone tell the time."""
    repeated = 0
    for seed in range(50):
        scene = Scene(seed, loss=0.0)
        scene.caller.host.link.change(
            Conditions(loss=0.2, delay=0.02, jitter=1.5, duplication=0.5, reordering=0.3)
        )
        with scene.network as network:
            scene.set_up()
            network.run_for(LIFETIME)
            scene.caller.close()
            network.run_for(TRANSACTION)
            answers: dict[bytes, list[bytes]] = {}
            for record in network.trace.records:
                if (record.place, record.what) == ("server", "sent"):
                    assert isinstance(record.subject, Packet)
                    data = record.subject.payload
                    assert isinstance(data, bytes)
                    if (message := parsed(data)) is not None and message.sha256_text() is not None:
                        answers.setdefault(message.transaction_id, []).append(data)
            for same in answers.values():
                assert len(set(same)) == 1
                repeated += len(same) > 1
    assert repeated > 100


STEPS: Final = {
    "the challenge": (Method.ALLOCATE, False),
    "the allocation": (Method.ALLOCATE, True),
    "the permission": (Method.CREATE_PERMISSION, True),
    "the channel": (Method.CHANNEL_BIND, True),
    "the refresh": (Method.REFRESH, True),
}


@pytest.mark.parametrize("loss", [0.3, 0.45])
def test_the_success_rate_of_every_step_lies_in_the_binomial_bound(
    loss: float, sized: Sized
) -> None:
    failures = dict.fromkeys(STEPS, 0)
    trials = sized(quick=SEEDS, full=MANY_SEEDS)
    for seed in range(trials):
        scene = Scene(seed, loss)
        with scene.network as network:
            scene.set_up()
            network.run_for(LIFETIME)
            found = scene.exchanges()
            for name, (method, authenticated) in STEPS.items():
                # The first one alone: how many follow depends on how the first one ended.
                first = next(
                    each
                    for each in found
                    if (each.method, each.authenticated) == (method, authenticated)
                )
                failures[name] += not first.answered
    low, high = binomial_interval(trials, failure(loss), ERROR)
    for name, count in failures.items():
        assert low <= count <= high, (name, failures)
    low, high = binomial_interval(trials * len(STEPS), failure(loss), ERROR)
    assert low <= sum(failures.values()) <= high, failures
