"""ICE over TCP: who connects, what is paired, and that packets are framed (RFC 6544)."""

import pytest

from natkit.address import Address
from natkit.ice.candidate import Candidate, CandidateType, LocalCandidate, TcpType
from natkit.ice.events import (
    DataReceived,
    IceState,
    PairSelected,
    RestartNeeded,
    RestartReason,
)
from natkit.ice.explanation import PairState
from natkit.ice.framing import PacketFraming
from natkit.ice.priority import tcp_local_preference
from natkit.ice.settings import IceSettings
from natkit.machine import ClosePath, Connect, Failure, Path, Transport
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass
from tests.natkit.ice.bench import HOST, PEER, Bench
from tests.natkit.ice.world import Peer, World

ACTIVE_BASE = Address(HOST.host, 0)
CONNECTED = Path(Transport.TCP, Address(HOST.host, 50000), PEER)


def local(tcp_type: TcpType, base: Address) -> LocalCandidate:
    return LocalCandidate(
        component=1,
        type=CandidateType.HOST,
        address=base,
        base=base,
        transport=Transport.TCP,
        tcp_type=tcp_type,
        local_preference=tcp_local_preference(CandidateType.HOST, tcp_type),
    )


def remote(tcp_type: TcpType, address: Address = PEER) -> Candidate:
    return Candidate(
        foundation="t",
        component=1,
        transport=Transport.TCP,
        priority=1000,
        address=address,
        type=CandidateType.HOST,
        tcp_type=tcp_type,
    )


def tcp_bench(mine: TcpType, theirs: TcpType, settings: IceSettings | None = None) -> Bench:
    bench = Bench(settings, bases=[])
    base = ACTIVE_BASE if mine is TcpType.ACTIVE else HOST
    bench.agent.add_local_candidate(0, local(mine, base), bench.now)
    bench.agent.add_remote_candidate(0, remote(theirs), bench.now)
    return bench


def unframed(bench: Bench, seconds: float = 0.0) -> list[tuple[bytes, Path]]:
    return [
        (packet, each.path)
        for each in bench.run(seconds)
        for packet in PacketFraming().receive(each.data)
    ]


@pytest.mark.parametrize("mine", list(TcpType))
@pytest.mark.parametrize("theirs", list(TcpType))
def test_active_meets_passive_and_simultaneous_open_its_like(
    mine: TcpType, theirs: TcpType
) -> None:
    # RFC 6544 §6.2: a passive candidate waits, so that only the active side has a pair of it.
    bench = tcp_bench(mine, theirs)
    paired = len(bench.agent.statistics().pairs)
    assert paired == (mine is theirs.opposite and mine is not TcpType.PASSIVE)


def test_an_active_candidate_is_told_with_port_nine() -> None:
    bench = Bench(bases=[])
    told = bench.agent.add_local_candidate(0, local(TcpType.ACTIVE, ACTIVE_BASE), bench.now)
    assert told is not None
    assert told.address == Address(HOST.host, 9)


def test_the_active_side_connects_then_checks_in_frames() -> None:
    bench = tcp_bench(TcpType.ACTIVE, TcpType.PASSIVE)
    assert bench.run(0.0) == []
    [request] = [each for each in bench.events() if isinstance(each, Connect)]
    assert (request.transport, request.local, request.remote) == (Transport.TCP, ACTIVE_BASE, PEER)
    bench.agent.answer(request.request_id, CONNECTED, bench.now)
    [(packet, path)] = unframed(bench)
    check = Message.parse(packet)
    assert check.message_class is MessageClass.REQUEST
    assert path == CONNECTED
    assert unframed(bench, 5.0) == [], "a reliable transport retransmits by itself"
    bench.respond(check, CONNECTED)
    [(packet, _)] = unframed(bench, 0.1)
    bench.respond(Message.parse(packet), CONNECTED)
    assert bench.agent.state is IceState.COMPLETED
    bench.agent.send(0, 1, b"data", bench.now)
    assert unframed(bench) == [(b"data", CONNECTED)]
    bench.receive(b"\x80data", CONNECTED)
    assert any(isinstance(each, DataReceived) for each in bench.events())


@pytest.mark.parametrize("answers", [True, False])
def test_a_connection_that_does_not_stand_fails_the_pair(answers: bool) -> None:
    bench = tcp_bench(TcpType.ACTIVE, TcpType.PASSIVE)
    bench.run(0.0)
    [request] = [each for each in bench.events() if isinstance(each, Connect)]
    if answers:
        bench.agent.answer(request.request_id, Failure("refused"), bench.now)
    else:
        bench.run(40.0)
    [pair] = bench.agent.explain(0).pairs
    assert pair.state is PairState.FAILED
    assert pair.reason == ("refused" if answers else "no connection in time")
    bench.agent.answer(request.request_id, CONNECTED, bench.now)
    assert ClosePath(CONNECTED) in bench.events(), "what comes too late is closed"


def test_the_passive_side_learns_of_its_peer_by_the_check_and_answers_on_the_connection() -> None:
    bench = tcp_bench(TcpType.PASSIVE, TcpType.ACTIVE, IceSettings(controlling=False))
    accepted = Path(Transport.TCP, HOST, Address(PEER.host, 40000))
    bench.check(path=accepted, controlling=True, nominates=True)
    [(packet, path)] = [
        each
        for each in unframed(bench, 0.1)
        if Message.parse(each[0]).message_class is MessageClass.REQUEST
    ]
    assert path == accepted
    bench.respond(Message.parse(packet), accepted)
    assert any(isinstance(each, PairSelected) for each in bench.events())
    bench.agent.disconnected(accepted, bench.now)
    assert RestartNeeded(0, 1, RestartReason.PATH_CLOSED) in bench.events()


def test_the_end_of_the_agent_closes_its_connections() -> None:
    bench = tcp_bench(TcpType.ACTIVE, TcpType.PASSIVE)
    bench.run(0.0)
    [request] = [each for each in bench.events() if isinstance(each, Connect)]
    bench.agent.answer(request.request_id, CONNECTED, bench.now)
    bench.agent.close(bench.now)
    assert ClosePath(CONNECTED) in bench.events()


def tcp_peers(world: World, left_type: TcpType, right_type: TcpType) -> tuple[Peer, Peer]:
    """Two hosts without UDP candidates."""
    peers = []
    for number, (name, kind) in enumerate((("left", left_type), ("right", right_type)), 1):
        settings = IceSettings(controlling=name == "left")
        peer = world.peer(name, f"192.0.2.{number}", settings=settings, stun=False)
        peer.hosts_udp = False
        peer.tcp_type = kind
        peers.append(peer)
    return peers[0], peers[1]


@pytest.mark.parametrize(
    ("left_type", "right_type"),
    [(TcpType.ACTIVE, TcpType.PASSIVE), (TcpType.PASSIVE, TcpType.ACTIVE)],
)
def test_two_agents_meet_over_tcp_alone(left_type: TcpType, right_type: TcpType) -> None:
    world = World(5)
    left, right = tcp_peers(world, left_type, right_type)
    world.meet(left, right)
    world.until_completed(left, right)
    selected = left.agent.selected_pair(0, 1)
    assert selected is not None
    assert selected.path.transport is Transport.TCP
    assert world.data_agrees(left, right)
