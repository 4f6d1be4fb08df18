"""One answer of several runs of a test: the kind that most of them found, and how sure that is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar

from natkit.behaviour.findings import Filtering, FilteringFinding, Mapping, MappingFinding

__all__ = ["vote_on_filtering", "vote_on_mapping"]

K = TypeVar("K", Mapping, Filtering)

_DEPENDENT: Final = (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


def vote_on_mapping(findings: Sequence[MappingFinding]) -> MappingFinding:
    """The mapping of most findings; unknown when as many say something else.

    What could not tell counts against nobody, and lowers the confidence.  A finding that could only
    tell *that* the mapping depends on the destination votes for those that tell on what.
    """
    kinds = [finding.kind for finding in findings]
    exact = Counter(kind for kind in kinds if kind in _DEPENDENT)
    if len(exact) == 1:
        (of_what,) = exact
        kinds = [of_what if kind is Mapping.DEPENDENT else kind for kind in kinds]
    kind, agree = _majority(kinds, Mapping.UNKNOWN)
    seen = next((each for each in findings if each.mapped is not None), None)
    evidence = _evidence(
        [(finding.kind, finding.evidence) for finding in findings], kind, agree, Mapping.UNKNOWN
    )
    won = next((each for each in findings if each.kind is kind and each.mapped), seen)
    share = agree / len(findings) if findings else 0.0
    if won is None:
        return MappingFinding(kind, share, evidence)
    return replace(won, kind=kind, confidence=share, evidence=evidence)


def vote_on_filtering(findings: Sequence[FilteringFinding]) -> FilteringFinding:
    """The same for filtering."""
    kinds = [finding.kind for finding in findings]
    kind, agree = _majority(kinds, Filtering.UNKNOWN)
    evidence = _evidence(
        [(finding.kind, finding.evidence) for finding in findings], kind, agree, Filtering.UNKNOWN
    )
    return FilteringFinding(kind, agree / len(findings) if findings else 0.0, evidence)


def _majority(kinds: Sequence[K], unknown: K) -> tuple[K, int]:
    """The kind that more than half of those found that found one, and how many they are."""
    told = Counter(kind for kind in kinds if kind is not unknown)
    if not told:
        return unknown, 0
    ((kind, agree),) = told.most_common(1)
    return (kind, agree) if agree * 2 > told.total() else (unknown, 0)


def _evidence(
    findings: Sequence[tuple[K, tuple[str, ...]]], kind: K, agree: int, unknown: K
) -> tuple[str, ...]:
    """The lines of one finding that won, then what the others say against it."""
    told = {found for found, _ in findings if found is not unknown}
    if kind is unknown and told:
        names = " and ".join(sorted(told))
        return (f"the tests contradict each other: {names}",)
    lines: tuple[str, ...] = next((winner for found, winner in findings if found is kind), ())
    against: list[str] = [
        f"one test said {found}: {' '.join(other[-1:])}"
        for found, other in findings
        if found not in (kind, unknown, Mapping.DEPENDENT)
    ]
    if kind is unknown:
        # Each may have had a reason of its own.
        return tuple(dict.fromkeys(line for _, other in findings for line in other))
    return (*lines, f"{agree} of {len(findings)} tests agree", *against)
