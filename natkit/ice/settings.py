"""What a user may choose of an agent's behaviour."""

from dataclasses import dataclass
from typing import Final

from natkit.errors import MisuseError
from natkit.ice.parameters import DEFAULT_PACING
from natkit.stun.transaction import DEFAULT_TIMING, Timing

LEAST_PACING: Final = 0.005
"""Ta in seconds may not be smaller (RFC 8445 §14.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IceSettings:
    """Times in seconds; the defaults are what the RFCs recommend."""

    controlling: bool = True
    """The role to begin with; a conflict is resolved by the agents (RFC 8445 §6.1.1)."""

    lite: bool = False
    """Only answer checks (RFC 8445 §2.5): for those whose host candidates are reachable by all."""

    pacing: float = DEFAULT_PACING
    """Ta, at least 0.005: the larger of both agents' is used (RFC 8445 §14.2)."""

    timing: Timing = DEFAULT_TIMING
    """Of each check (RFC 8445 §14.3); the first interval grows with the number of checks."""

    most_pairs: int = 100
    """In all check lists together (RFC 8445 §6.1.2.5); those of the lowest priority go."""

    most_remote_candidates: int = 100
    """For each stream, those that checks reveal included."""

    most_early_checks: int = 100
    """Checks that are answered, and kept, before the peer's parameters are known."""

    patience: float = 39.5
    """How long after its first check a check list does not fail yet (RFC 8863 §4)."""

    direct_settling: float = 0.25
    """How long a valid pair waits to be nominated for better ones that are still being checked."""

    relayed_settling: float = 2.0
    """The same for a pair with a relayed candidate: data flows over it meanwhile."""

    renominate: bool = False
    """Keep other valid pairs alive, and nominate one of them when the selected one goes silent."""

    silence: float = 8.0
    """After how long without an answer the selected pair counts as silent, for ``renominate``."""

    consent: bool = True
    """Ask the peer for its consent to receive (RFC 7675), as long as data may be sent."""

    consent_interval: float = 5.0
    """The mean interval of those checks (RFC 7675 §5.1)."""

    consent_expiry: float = 30.0
    """Consent ends that long after the last valid answer (RFC 7675 §5.1)."""

    keepalive_interval: float = 15.0
    """Tr, for Binding indications where there is no consent (RFC 8445 §11); at least 15."""

    software: str | None = None
    """SOFTWARE in the checks; none, by default, keeps them small and says nothing."""

    def __post_init__(self) -> None:
        if not LEAST_PACING <= self.pacing <= 60:
            raise MisuseError(f"a pacing of {self.pacing:g} s is not {LEAST_PACING} to 60")
        if self.timing.rto < DEFAULT_TIMING.rto:
            raise MisuseError(
                f"an RTO of {self.timing.rto:g} s; RFC 8445 §14.3 allows no less than 0.5"
            )
        if min(self.most_pairs, self.most_remote_candidates, self.most_early_checks) < 1:
            raise MisuseError("an agent needs room for a pair, a candidate and a check")
        if min(self.patience, self.direct_settling, self.relayed_settling, self.silence) < 0:
            raise MisuseError("a time is not negative")
        if not 0 < self.consent_interval < self.consent_expiry:
            raise MisuseError("consent is asked for several times before it expires")
        if self.keepalive_interval < 15:
            raise MisuseError(f"keep-alives every {self.keepalive_interval:g} s; 15 is the least")
