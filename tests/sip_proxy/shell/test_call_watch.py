"""What an operator sees of calls, on a proxy of the simulated network."""

from collections.abc import Sequence

import pytest

from sip_proxy.calls import CallRecord
from sip_proxy.events import CallEnded
from sip_proxy.shell.call_records import Recording
from sip_proxy.shell.call_watch import ENDED_CALLS, CallWatch
from sip_proxy.watching import CALLS, LADDER, RECENT, TRANSACTIONS
from tests.simnet.network import Network
from tests.sip_proxy.shell.test_call_records import record
from tests.sip_proxy.world import DOMAIN, UNIX, Phone, ProxyHost, settings


class Kept:
    """A place that keeps all."""

    name = "here"

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    async def open(self) -> None: ...

    async def write(self, records: Sequence[CallRecord]) -> None:
        self.records += records

    async def aclose(self) -> None: ...


class World:
    def __init__(self, network: Network) -> None:
        self.proxy = ProxyHost(network, settings())
        self.alice = Phone(network, "alice", "192.0.2.10")
        self.bob = Phone(network, "bob", "198.51.100.11")
        self.bob.register()
        network.run_for(1.0)
        ringing = self.alice.invite(self.bob.uri)
        refused = self.alice.invite(f"sip:carol@{DOMAIN}")
        network.run_for(1.0)
        self.running = ringing.request.headers.fields("Call-ID")[0].text
        self.refused = refused.request.headers.fields("Call-ID")[0].text
        self.watch = CallWatch(self.proxy.machine, UNIX)
        for event in self.proxy.facts:
            if isinstance(event, CallEnded):
                self.watch.ended(event.record)

    async def found(self, text: str) -> list[str]:
        calls = await self.watch.calls(text, 10)
        return [each.call_id for each in calls.running] + [each.call_id for each in calls.ended]


async def test_calls_of_now_and_of_lately_are_found_by_what_they_have(network: Network) -> None:
    world = World(network)
    both, running, refused = [world.running, world.refused], [world.running], [world.refused]
    for text, expected in {
        "": both,
        "ALICE": both,
        "carol@": refused,
        " bob ": running,
        "198.51.100.11:5060": running,
        "udp:192.0.2.10": both,
        world.refused: refused,
        "nobody": [],
    }.items():
        assert await world.found(text) == expected, text


async def test_as_many_of_each_kind_are_given_as_were_asked_for(network: Network) -> None:
    world = World(network)
    for number in range(ENDED_CALLS + 5):
        world.watch.ended(record(number))
    calls = await world.watch.calls("", 3)
    assert (len(calls.running), len(calls.ended)) == (1, 3)
    assert calls.ended[0].call_id == f"{ENDED_CALLS + 4}@alice"
    assert len((await world.watch.calls("", 5_000)).ended) == ENDED_CALLS


async def test_transactions_are_found_by_what_they_have_the_latest_first(
    network: Network,
) -> None:
    world = World(network)
    found = await world.watch.transactions("", 100)
    # The call that rings, each way; what was refused, and the registration, for a while.
    assert found.total == len(found.transactions) == 4
    began = [each.began for each in found.transactions]
    assert began == sorted(began, reverse=True)
    rings = await world.watch.transactions(world.running, 100)
    assert {
        (each.method, each.is_client, each.state, each.remote) for each in rings.transactions
    } == {
        ("INVITE", True, "calling", "198.51.100.11:5060"),
        ("INVITE", False, "proceeding", "192.0.2.10:5060"),
    }
    assert rings.total == 4
    for text, expected in {"register": 1, "COMPLETED": 1, "198.51": 2, "nobody": 0}.items():
        assert len((await world.watch.transactions(text, 100)).transactions) == expected, text
    assert len((await world.watch.transactions("", 3)).transactions) == 3


async def test_what_is_shown_crosses_as_json_and_comes_back(network: Network) -> None:
    world = World(network)
    calls = await world.watch.calls("", 10)
    assert CALLS.validate_json(CALLS.dump_json(calls)) == calls
    transactions = await world.watch.transactions("", 10)
    assert TRANSACTIONS.validate_json(TRANSACTIONS.dump_json(transactions)) == transactions
    recent = tuple(await world.watch.recent("", 10))
    assert RECENT.validate_json(RECENT.dump_json(recent)) == recent
    ladder = await world.watch.ladder(world.refused)
    assert ladder is not None
    assert LADDER.validate_json(LADDER.dump_json(ladder)) == ladder


async def test_messages_are_had_as_a_ladder_and_as_a_capture(network: Network) -> None:
    world = World(network)
    ladder = await world.watch.ladder(world.refused)
    capture = await world.watch.capture(world.refused)
    assert ladder is not None
    assert capture is not None
    assert capture.count(b"INVITE sip:carol@") == 1
    assert [each.summary.split()[0] for each in ladder.arrows][:2] == ["INVITE", "480"]
    assert [each.call_id for each in await world.watch.recent("carol", 10)] == [world.refused]
    for unknown in ("", "nothing"):
        assert await world.watch.ladder(unknown) is None
        assert await world.watch.capture(unknown) is None


@pytest.mark.parametrize("count", [1, 50])
async def test_each_call_that_ends_has_its_record_kept(network: Network, count: int) -> None:
    kept = Kept()
    recording = Recording(kept, lambda _: None)
    await recording.open()
    watch = CallWatch(ProxyHost(network, settings()).machine, UNIX, recording)
    for number in range(count):
        watch.ended(record(number))
    await recording.aclose()
    assert [each.call_id for each in kept.records] == [f"{number}@alice" for number in range(count)]
    assert (await watch.calls("", 1)).unwritten == 0
