"""What a diagnosis says: rules, their findings, and the status of each check.

The statuses follow internet.nl's model: what could not be tested is never called failed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sipdns.diagnosis.facts import Facts

__all__ = ["Area", "Check", "Finding", "Fix", "NotTested", "Rule", "Severity", "Status", "rule"]


class Severity(StrEnum):
    """How much a finding matters."""

    FAULT = "fault"
    """Callers fail, or are free to fail."""
    WARNING = "warning"
    """It works today, or for most callers."""
    NOTE = "note"
    """Worth knowing; may be intended."""


class Status(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    INFO = "info"
    NOT_TESTED = "not_tested"
    """What the check looks at does not exist here."""
    ERROR = "error"
    """It exists, and could not be tested."""


class Area(StrEnum):
    """What a rule looks at; the order is that of the report."""

    SERVICE = "service"
    NAPTR = "naptr"
    SRV = "srv"
    ADDRESS = "address"
    SECURITY = "security"
    ANSWER = "answer"
    DELEGATION = "delegation"
    DNSSEC = "dnssec"

    @property
    def is_essential(self) -> bool:
        """Whether a caller's lookup needs what the area looks at."""
        return self in (Area.SERVICE, Area.NAPTR, Area.SRV, Area.ADDRESS, Area.SECURITY)


@dataclass(frozen=True, slots=True)
class Fix:
    """What to do: whole record lines to take out and to publish, and a word where none fits."""

    publish: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: with what, by which evidence, and how it is put right."""

    subject: str
    evidence: str
    fix: Fix


class NotTested(Exception):
    """Raised by a rule that finds nothing of what it looks at; says what is absent."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A check.  ``id`` is stable; ``claim`` is what holds when it passes; ``why`` what if not."""

    id: str
    severity: Severity
    rfc: str
    area: Area
    claim: str
    why: str
    find: "Callable[[Facts], Iterator[Finding]]"


def rule(
    identifier: str, severity: Severity, rfc: str, area: Area, claim: str
) -> "Callable[[Callable[[Facts], Iterator[Finding]]], Rule]":
    """Make a rule of a function that yields findings; its docstring says why it matters."""

    def make(find: "Callable[[Facts], Iterator[Finding]]") -> Rule:
        why = " ".join((find.__doc__ or "").split())
        return Rule(identifier, severity, rfc, area, claim, why, find)

    return make


@dataclass(frozen=True, slots=True)
class Check:
    """A rule after it was applied; ``reason`` says why when it was not, or only in part."""

    rule: Rule
    status: Status
    findings: tuple[Finding, ...]
    reason: str = ""
