"""A day of clients that come and go leaves nothing behind in the machine: 24 simulated hours."""

import gc
import random
import sys
import tracemalloc
from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.attributes import ChannelNumber, Lifetime, Nonce, XorPeerAddress
from natkit.stun.registry import Method
from stun_server.answers import ANSWERS_WITHOUT_ALLOCATION
from tests.conftest import SOAKING, Sized
from tests.stun_server.world import SETTINGS, Client, World, code

SEED = 8656
DAY = 24 * 3600
STEP = 288
"""Seconds between two signs of life of a client: permissions live for 300."""
STAY = 3600
"""Seconds that a client stays, on average."""
GROWTH_ALLOWED = 192 * 1024
"""Bytes: values that recur in messages are kept, a bounded number of them."""
OBJECTS_ALLOWED = 10_000
"""The same in objects: less than one for ten clients of the full size."""
HEAP_SPARE = 64
"""Timers that may lie in the heap although they were cancelled, besides as many as are armed."""


class Day:
    """A world with a population that it renews by itself."""

    def __init__(self, population: int) -> None:
        settings = replace(
            SETTINGS, allocations=4 * population, allocations_per_user=4 * population
        )
        self.world = World(settings, seed=SEED)
        self.random = random.Random(SEED)
        self.population = population
        self.live: list[Client] = []
        self.came = 0

    def pass_for(self, seconds: int) -> None:
        """Let clients come, keep alive and leave."""
        for _ in range(seconds // STEP):
            self.world.wait(STEP)
            stay: list[Client] = []
            for client in self.live:
                if self.random.random() < STEP / STAY:
                    self.leave(client)
                else:
                    self.keep_alive(client)
                    stay.append(client)
            self.live = stay
            while len(self.live) < self.population:
                self.live.append(self.arrive())
            self.look()

    def arrive(self) -> Client:
        """A client that allocates, and permits a peer."""
        self.came += 1
        high, low = divmod(self.came % 2**20, 250)
        client = self.world.client(
            f"10.{high >> 8}.{high & 255}.{low + 1}",
            self.random.randrange(1024, 65536),
            transport=self.random.choice([Transport.UDP, Transport.UDP, Transport.TCP]),
            username=self.random.choice(["alice", "bob"]),
        )
        client.allocate()
        self.keep_alive(client)
        return client

    def keep_alive(self, client: Client) -> None:
        """Refresh the allocation and a permission or a channel."""
        assert self.ask(client, Method.REFRESH, Lifetime(600)) is None
        peer = XorPeerAddress(Address(f"8.8.{self.random.randrange(256)}.8", 5000))
        if self.random.random() < 0.5:
            assert self.ask(client, Method.CREATE_PERMISSION, peer) is None
        else:
            # A channel that is bound to another peer already is refused (RFC 8656 §12.2).
            channel = ChannelNumber(0x4000 + self.random.randrange(16))
            assert self.ask(client, Method.CHANNEL_BIND, channel, peer) in (None, 400)

    def ask(
        self, client: Client, method: Method, *attributes: Lifetime | XorPeerAddress | ChannelNumber
    ) -> int | None:
        """A request, made anew when its nonce was stale; the error code of its answer."""
        answer = client.request(method, *attributes)
        if code(answer) == 438:
            nonce = answer.get(Nonce)
            assert nonce is not None
            client.nonce = nonce.value
            answer = client.request(method, *attributes)
        return code(answer)

    def leave(self, client: Client) -> None:
        """Say goodbye, lose the connection, or just fall silent."""
        if client.transport is Transport.TCP:
            self.world.server.disconnected(client.path, self.world.now)
            self.world.drain()
        elif self.random.random() < 0.5:
            assert self.ask(client, Method.REFRESH, Lifetime(0)) is None

    def look(self) -> None:
        """What must hold at any time."""
        server = self.world.server
        assert len(self.world.sockets) == len(server.allocations)
        armed = server.allocations._expiry
        assert len(armed) == len(server.allocations)
        assert len(armed._heap) <= 2 * len(armed) + HEAP_SPARE
        # The test's own memory is not what is measured.
        self.world.events.clear()
        self.world.opened.clear()
        self.world.lookups.clear()
        for client in self.live:
            client.sent.clear()

    def empty(self) -> None:
        """All leave."""
        for client in self.live:
            self.leave(client)
        self.live.clear()
        self.world.wait(2 * STAY)
        self.look()
        # The last answers stay until others push them out; their number has a test of its own.
        answers = self.world.server.allocations.answers
        assert len(answers) <= ANSWERS_WITHOUT_ALLOCATION
        answers._without_allocation.clear()


@pytest.mark.timeout(7200)
def test_a_day_of_clients_coming_and_going_leaves_nothing_behind(sized: Sized) -> None:
    population = sized(quick=5, full=5_000)
    day = Day(population)
    # To follow each object would make the day of the full size last four times as long.
    if not SOAKING:
        tracemalloc.start()
    try:
        # Once through, so that what is needed once is there.
        day.pass_for(STAY)
        day.empty()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0], sys.getallocatedblocks()
        day.pass_for(DAY)
        came = day.came
        day.empty()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before[0]
        objects = sys.getallocatedblocks() - before[1]
    finally:
        tracemalloc.stop()
    print(f"seed {SEED}: {came} clients, {population} at a time; {grown} bytes, {objects} objects")
    assert came > 20 * population
    server = day.world.server
    assert len(server.allocations) == 0
    assert day.world.sockets == set()
    assert server.next_deadline() is None
    assert grown < GROWTH_ALLOWED
    assert objects < OBJECTS_ALLOWED


def test_the_day_reaches_all_ways_of_leaving() -> None:
    day = Day(20)
    day.pass_for(2 * STAY)
    assert {client.transport for client in day.live} == {Transport.UDP, Transport.TCP}
    silent = len(day.world.server.allocations) - len(day.live)
    assert silent > 0
