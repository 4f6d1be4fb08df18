"""What an agent counted: candidate pairs as WebRTC's statistics have them, packets dropped."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from natkit.ice.agent_state import AgentState, Dropped, StreamSession
from natkit.ice.candidate import Candidate, CandidateType
from natkit.ice.checklist import ChecklistState
from natkit.ice.events import StreamId
from natkit.ice.explanation import Explanation, PairState
from natkit.ice.local_candidates import LocalCandidates
from natkit.ice.pair import Pair, PairTraffic


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """One pair of the current session; times are monotonic seconds, ``round_trip`` seconds.

    ``packets`` and ``bytes`` are those of the application; checks are counted apart.
    """

    stream: StreamId
    component: int
    local: Candidate
    remote: Candidate
    state: PairState
    nominated: bool
    priority: int
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    checks_sent: int
    retransmissions_sent: int
    checks_received: int
    responses_sent: int
    responses_received: int
    consent_checks_sent: int
    last_sent: float | None
    last_received: float | None
    round_trip: float | None
    total_round_trip: float
    round_trips: int


@dataclass(frozen=True, slots=True)
class AgentStatistics:
    """Everything counted so far; ``transactions`` are all the checks that were begun."""

    pairs: tuple[PairStatistics, ...]
    transactions: int
    dropped: dict[str, int]


def statistics_of(state: AgentState, transactions: int) -> AgentStatistics:
    """A snapshot."""
    return AgentStatistics(
        tuple(
            _pair_statistics(stream.stream, pair)
            for stream in state.session.streams
            for pair in stream.checklist.pairs
        ),
        transactions,
        counted(state.dropped),
    )


def counted(dropped: Dropped) -> dict[str, int]:
    """The counters by name."""
    numbers: dict[str, int] = asdict(dropped)
    return numbers


def _pair_statistics(stream: StreamId, pair: Pair) -> PairStatistics:
    traffic: PairTraffic = pair.traffic
    return PairStatistics(
        stream=stream,
        component=pair.component,
        local=pair.mapped or pair.local.told,
        remote=pair.remote,
        state=pair.state,
        nominated=pair.nominated,
        priority=pair.priority,
        packets_sent=traffic.packets_sent,
        packets_received=traffic.packets_received,
        bytes_sent=traffic.bytes_sent,
        bytes_received=traffic.bytes_received,
        checks_sent=traffic.checks_sent,
        retransmissions_sent=traffic.retransmissions_sent,
        checks_received=traffic.checks_received,
        responses_sent=traffic.responses_sent,
        responses_received=traffic.responses_received,
        consent_checks_sent=traffic.consent_checks_sent,
        last_sent=traffic.last_sent,
        last_received=traffic.last_received,
        round_trip=traffic.round_trip,
        total_round_trip=traffic.total_round_trip,
        round_trips=traffic.round_trips,
    )


def explain(stream: StreamSession, local: LocalCandidates, dropped: Dropped) -> Explanation:
    """Why a stream has the pair that it has, or none."""
    return Explanation(
        tuple(pair.explain() for pair in stream.checklist.pairs),
        tuple(_remarks(stream, local, dropped)),
    )


def _remarks(stream: StreamSession, local: LocalCandidates, dropped: Dropped) -> Iterable[str]:
    yield from _remarks_on_candidates(stream, local)
    yield from _remarks_on_packets(stream)
    if dropped.foreign:
        yield f"{dropped.foreign} packets had another username fragment or password"
    if dropped.excessive:
        yield f"{dropped.excessive} candidates, checks or pairs were beyond the limits"


def _remarks_on_candidates(stream: StreamSession, local: LocalCandidates) -> Iterable[str]:
    if stream.remote is None:
        yield "the peer's username fragment and password have not come"
    if not len(local):
        yield "there is no local candidate"
    elif not local.ended:
        yield "more local candidates may come: their end was not told"
    remote = stream.remote_candidates
    if not remote:
        yield "no remote candidate came"
    elif all(each.type is CandidateType.PEER_REFLEXIVE for each in remote.values()):
        yield "no remote candidate was told; the peer's checks revealed all there are"
    if stream.remote is not None and not stream.remote_ended:
        yield "more remote candidates may come: their end was not told"
    for candidate in stream.resolving.values():
        yield f"multicast DNS has not found {candidate.address}"
    if remote and len(local) and not stream.checklist.pairs:
        yield "no local and remote candidate share transport and address family"


def _remarks_on_packets(stream: StreamSession) -> Iterable[str]:
    pairs = stream.checklist.pairs
    if pairs and not any(pair.is_heard for pair in pairs):
        if any(pair.traffic.checks_sent for pair in pairs):
            yield "nothing came from the peer: neither answers nor checks"
    elif any(pair.traffic.checks_received and not pair.is_valid for pair in pairs):
        yield "checks came from the peer over paths where ours got no answer"
    if stream.checklist.state is ChecklistState.RUNNING and pairs:
        yield "checking goes on"
