"""Candidate pairs: a path each, and all that an agent knows of it (RFC 8445 §6.1.2)."""

from dataclasses import dataclass

from natkit.address import Address
from natkit.ice.candidate import Candidate, CandidateType, LocalCandidate, TcpType
from natkit.ice.explanation import PairExplanation, PairState
from natkit.ice.priority import pair_priority
from natkit.machine import Path, Transport
from natkit.stun.registry import TRANSACTION_ID_LENGTH

UNTRIED = "not tried yet"
NO_TRANSACTION = bytes(TRANSACTION_ID_LENGTH)

PairKey = tuple[Transport, Address, Address]
"""Transport, base and remote address: what makes two pairs the same path (RFC 8445 §6.1.2.4)."""


@dataclass(frozen=True, slots=True)
class Local:
    """A local candidate with its foundation and priority: how it was fed, and how it is told."""

    source: LocalCandidate
    told: Candidate


@dataclass(slots=True, eq=False)
class PairTraffic:
    """What went over a pair; times are monotonic seconds, None for never."""

    packets_sent: int = 0
    packets_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    checks_sent: int = 0
    retransmissions_sent: int = 0
    checks_received: int = 0
    responses_sent: int = 0
    responses_received: int = 0
    consent_checks_sent: int = 0
    last_sent: float | None = None
    last_received: float | None = None
    round_trip: float | None = None
    total_round_trip: float = 0.0
    round_trips: int = 0

    def add_round_trip(self, seconds: float) -> None:
        """A request was answered at its first transmission."""
        self.round_trip = seconds
        self.total_round_trip += seconds
        self.round_trips += 1


class Pair:
    """A local base and a remote address, with the state of checking the path between them.

    A valid pair of RFC 8445 §7.2.5.3.2 is one of these whose check succeeded: the path is the same,
    and ``mapped`` is the local candidate of the valid pair.
    """

    __slots__ = (
        "cancelled",
        "foundation",
        "heard_by",
        "local",
        "mapped",
        "nominated",
        "nominated_by",
        "nomination_value",
        "path",
        "priority",
        "reason",
        "remote",
        "remote_address",
        "state",
        "traffic",
        "transaction_id",
        "transmissions",
        "valid_since",
        "wants_nomination",
        "was_repeated",
    )

    def __init__(
        self, local: Local, remote: Candidate, remote_address: Address, path: Path | None
    ) -> None:
        self.local = local
        self.remote = remote
        self.remote_address = remote_address
        self.path = path
        """None until the connection of an active TCP candidate stands."""
        self.priority = 0
        self.foundation = (local.told.foundation, remote.foundation)
        self.state = PairState.FROZEN
        self.reason = UNTRIED
        self.mapped: Candidate | None = None
        self.valid_since: float | None = None
        self.transaction_id: bytes | None = None
        """The check that is under way."""
        self.transmissions = 0
        """How often that one was sent."""
        self.heard_by = NO_TRANSACTION
        """The last transaction of the peer's that was acted upon."""
        self.nominated = False
        self.nominated_by = NO_TRANSACTION
        self.nomination_value = 0
        self.wants_nomination = False
        """The peer nominated it, and our own check is still to succeed (RFC 8445 §7.3.1.5)."""
        self.was_repeated = False
        """Its check began anew once, though unanswered, because the peer's checks came over it."""
        self.traffic = PairTraffic()

    @property
    def key(self) -> PairKey:
        """What no other pair of the check list shares."""
        return self.remote.transport, self.local.source.base, self.remote_address

    @property
    def component(self) -> int:
        """The component of both candidates."""
        return self.remote.component

    @property
    def is_valid(self) -> bool:
        """Whether its check succeeded, so that data may go over it."""
        return self.valid_since is not None

    @property
    def is_relayed(self) -> bool:
        """Whether either side needs a TURN server for it."""
        return CandidateType.RELAYED in (self.local.told.type, self.remote.type)

    @property
    def is_heard(self) -> bool:
        """Whether the peer proved that it has the other end."""
        return self.is_valid or self.traffic.checks_received > 0

    @property
    def connects(self) -> bool:
        """Whether it is for this side to open a connection before anything is sent."""
        return self.path is None and self.local.told.tcp_type in (
            TcpType.ACTIVE,
            TcpType.SIMULTANEOUS_OPEN,
        )

    def prioritise(self, *, controlling: bool) -> None:
        """Give it the priority that it has in this role (RFC 8445 §6.1.2.3)."""
        mine, theirs = self.local.told.priority, self.remote.priority
        self.priority = pair_priority(*((mine, theirs) if controlling else (theirs, mine)))

    def fail(self, reason: str) -> None:
        """Its check did not succeed; it is valid no more."""
        self.state = PairState.FAILED
        self.reason = reason
        self.valid_since = None
        self.nominated = False

    def succeed(self, mapped: Candidate, now: float) -> None:
        """Its check succeeded, and showed the peer ``mapped``."""
        self.state = PairState.SUCCEEDED
        self.reason = "its check was answered"
        self.mapped = mapped
        if self.valid_since is None:
            self.valid_since = now

    def explain(self) -> PairExplanation:
        """What became of it."""
        return PairExplanation(
            component=self.component,
            local=self.mapped or self.local.told,
            remote=self.remote,
            state=self.state,
            nominated=self.nominated,
            reason=self.reason,
            sent=self.traffic.checks_sent + self.traffic.retransmissions_sent,
            heard=self.traffic.checks_received,
            round_trip=self.traffic.round_trip,
        )
