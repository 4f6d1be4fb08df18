"""What strangers and a flooding peer can do: nothing, and everything is counted and bounded."""

import tracemalloc
from random import Random

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.ice.agent import Agent
from natkit.ice.candidate import Candidate, NamedAddress
from natkit.ice.events import DataReceived, ResolveName
from natkit.ice.hearing import MOST_PEER_REFLEXIVE
from natkit.ice.local_candidates import MOST_LOCAL_CANDIDATES
from natkit.ice.pacing import Pacer
from natkit.ice.settings import IceSettings
from natkit.stun.message import Message
from natkit.stun.registry import MAGIC_COOKIE_BYTES, Method
from tests.conftest import Sized
from tests.natkit.ice.bench import (
    HOST,
    PATH,
    PEER,
    REMOTE,
    Bench,
    host_candidate,
    remote_candidate,
)

MOST_MEMORY = 60_000


def strangers(count: int) -> list[Address]:
    return [Address.of(f"198.51.{number >> 8}.{number & 255}", 7) for number in range(count)]


def test_a_hundred_pairs_are_kept_and_they_are_the_best() -> None:
    # RFC 8445 §6.1.2.5
    bench = Bench(IceSettings(most_remote_candidates=300))
    for number, address in enumerate(strangers(250)):
        candidate = remote_candidate(address, foundation=str(number), priority=1 + number)
        bench.agent.add_remote_candidate(0, candidate, bench.now)
    kept = [pair.remote.priority for pair in bench.agent.statistics().pairs]
    assert kept == list(range(250, 150, -1))
    assert bench.agent.statistics().dropped["excessive"] == 150


def test_remote_candidates_are_bounded_before_and_after_the_parameters() -> None:
    for remote in (None, REMOTE):
        bench = Bench(remote=remote)
        for address in strangers(1000):
            bench.agent.add_remote_candidate(0, remote_candidate(address), bench.now)
        if remote is None:
            bench.agent.set_remote_parameters(0, REMOTE, bench.now)
        assert len(bench.agent.remote_candidates(0)) == 100
        assert bench.agent.statistics().dropped["excessive"] >= 900


def test_names_to_be_resolved_are_bounded_too() -> None:
    bench = Bench()
    for number in range(300):
        candidate = Candidate(
            **{
                **{name: getattr(remote_candidate(), name) for name in Candidate.__slots__},
                "address": NamedAddress(f"{number:x}.local", 9),
            }
        )
        bench.agent.add_remote_candidate(0, candidate, bench.now)
    assert sum(isinstance(each, ResolveName) for each in bench.events()) == 100


def test_checks_from_ever_new_addresses_reveal_a_bounded_number_of_candidates() -> None:
    bench = Bench()
    for address in strangers(500):
        bench.check(path=PATH._replace(remote=address))
    assert len(bench.agent.remote_candidates(0)) == MOST_PEER_REFLEXIVE
    assert len(bench.agent.statistics().pairs) == MOST_PEER_REFLEXIVE


def test_early_checks_are_kept_within_bounds() -> None:
    bench = Bench(remote=None)
    for address in strangers(500):
        assert len(bench.check(path=PATH._replace(remote=address))) == 1
    assert bench.agent.statistics().dropped["excessive"] == 400
    bench.agent.set_remote_parameters(0, REMOTE, bench.now)
    assert len(bench.agent.statistics().pairs) == MOST_PEER_REFLEXIVE


def test_a_gatherer_gone_mad_is_told() -> None:
    bench = Bench(bases=[])
    *most, last = strangers(MOST_LOCAL_CANDIDATES + 1)
    for address in most:
        bench.agent.add_local_candidate(0, host_candidate(address), bench.now)
    with pytest.raises(MisuseError):
        bench.agent.add_local_candidate(0, host_candidate(last), bench.now)


def test_bytes_from_anywhere_raise_nothing_and_change_nothing(sized: Sized) -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, _)] = bench.requests()
    chance = Random(7)
    seeds = [request.encode(fingerprint=True), request.success().encode(fingerprint=True)]
    before = bench.agent.statistics().pairs
    for _ in range(sized(quick=3_000, full=1_000_000)):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randint(1, len(data)) :]
        bench.agent.receive(bytes(data), PATH, bench.now)
    bench.agent.transmits()
    assert [pair.state for pair in bench.agent.statistics().pairs] == [
        each.state for each in before
    ]
    assert sum(bench.agent.statistics().dropped.values()) >= 3_000
    assert bench.events()[1:] == []


def rtp(payload_type: int, length: int = 172) -> bytes:
    """A packet whose sequence number is what STUN's length would be."""
    return bytes((0x80, payload_type)) + (length - 20).to_bytes(2, "big") + bytes(length - 4)


@pytest.mark.parametrize("payload_type", [0, 3, 4, 8, 9, 18, 96, 111, 127])
def test_rtp_of_any_payload_type_is_data(payload_type: int) -> None:
    # GSM, G.723, PCMA, G.722, G.729 … with a sequence number that looks like STUN's length.
    bench = Bench(candidates=[remote_candidate()])
    bench.connect()
    bench.events()
    packet = rtp(payload_type)
    bench.receive(packet)
    bench.receive(bytes((0, 1)) + packet[2:])
    assert [each.data for each in bench.events() if isinstance(each, DataReceived)] == [
        packet,
        bytes((0, 1)) + packet[2:],
    ]


def test_what_looks_like_stun_without_being_it_is_data() -> None:
    bench = Bench(candidates=[remote_candidate()])
    bench.connect()
    bench.events()
    real = Message.request(Method.BINDING, bytes(12)).encode(fingerprint=True)
    lookalike = real[:-1] + bytes((real[-1] ^ 1,))
    assert lookalike[4:8] == MAGIC_COOKIE_BYTES
    bench.receive(lookalike)
    assert [each.data for each in bench.events() if isinstance(each, DataReceived)] == [lookalike]


def test_data_from_where_the_peer_never_proved_to_be_is_dropped() -> None:
    bench = Bench(candidates=[remote_candidate()])
    bench.receive(b"\x80data")
    bench.receive(b"\x80data", PATH._replace(remote=Address(PEER.host, 1)))
    assert not any(isinstance(each, DataReceived) for each in bench.events())
    assert bench.agent.statistics().dropped["unproven"] == 2
    bench.check()
    bench.receive(b"\x80data")
    assert any(isinstance(each, DataReceived) for each in bench.events())


def test_an_agent_in_use_takes_less_than_sixty_thousand_bytes() -> None:
    count = 40
    bases = [Address(HOST.host, 5000 + number) for number in range(3)]
    remotes = [
        remote_candidate(Address(PEER.host, 6000 + number), foundation=str(number))
        for number in range(3)
    ]
    Bench(bases=bases, candidates=remotes).connect()
    pacer = Pacer(interval=1e-9)
    tracemalloc.start()
    try:
        benches = [
            Bench(bases=bases, candidates=remotes, seed=seed, pacer=pacer) for seed in range(count)
        ]
        for bench in benches:
            bench.connect()
            bench.run(3.0)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert all(isinstance(bench.agent, Agent) for bench in benches)
    assert used / count < MOST_MEMORY


def test_a_thousand_agents_begin_two_hundred_transactions_a_second_together(sized: Sized) -> None:
    count = sized(quick=100, full=1_000)
    pacer = Pacer()
    benches = [Bench(candidates=[remote_candidate()], pacer=pacer, seed=n) for n in range(count)]
    begun = []
    while benches:
        bench = min(benches, key=lambda each: each.agent.next_deadline() or 1e9)
        deadline = bench.agent.next_deadline()
        assert deadline is not None
        bench.now = max(bench.now, deadline)
        bench.agent.handle_timer(bench.now)
        if bench.agent.transmits():
            begun.append(bench.now)
            benches.remove(bench)
    assert len(begun) == count
    span = begun[-1] - begun[0]
    assert (count - 1) / span == pytest.approx(200, rel=0.01)
