"""A lookup's outcome for programs (JSON) and for people (tables of at most 80 columns)."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from natkit.address import Family
from sipdns.decisions import Decision, Verdict
from sipdns.targets import Outcome, RankedTarget

__all__ = ["as_json", "as_text"]

_WIDTH: Final = 80
_REASON_INDENT: Final = 24
_REASON_WIDTH: Final = _WIDTH - _REASON_INDENT

_STYLES: Mapping[Verdict, str] = {
    Verdict.CHOSEN: "green",
    Verdict.PASSED_OVER: "yellow",
    Verdict.ABSENT: "bright_black",
    Verdict.FAILED: "red",
}


def as_json(outcome: Outcome) -> dict[str, object]:
    """The object that ``--json`` prints, but for its schema number.

    ``priority`` and ``weight`` are null where no SRV record led to the target.
    """
    return {
        "uri": outcome.uri,
        "targets": [_target(one) for one in outcome.targets],
        "decisions": [_decision(one) for one in outcome.decisions],
    }


def _target(target: RankedTarget) -> dict[str, object]:
    return {
        "transport": target.transport.value,
        "address": target.address.host,
        "port": target.address.port,
        "host": target.host,
        "family": _family(target.family),
        "priority": target.priority,
        "weight": target.weight,
        "probability": round(target.probability, 6),
        "tls_name": target.tls_name,
    }


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "step": decision.step.value,
        "subject": decision.subject,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "rfc": decision.rfc,
    }


def _family(family: Family) -> str:
    return "ipv4" if family is Family.IPV4 else "ipv6"


def as_text(outcome: Outcome) -> RenderableType:
    """The targets in the order to try, and the decisions that led to them."""
    parts: list[RenderableType] = [_heading(outcome), Text(), _decisions(outcome)]
    if outcome.targets:
        parts[1:1] = [Text(), _targets(outcome.targets)]
    return Group(*parts)


def _heading(outcome: Outcome) -> Text:
    heading = Text(outcome.uri, style="bold")
    if not outcome.targets:
        heading.append("  no server", style="red")
        return heading
    first = outcome.targets[0]
    number = len(outcome.targets)
    heading.append(
        f"  {first.transport.upper()}, {number} {'address' if number == 1 else 'addresses'}",
        style="not bold",
    )
    if first.transport.is_secure:
        heading.append(f", certificate for {first.tls_name}", style="not bold")
    return heading


def _targets(targets: Sequence[RankedTarget]) -> RenderableType:
    by_srv = any(target.priority is not None for target in targets)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("try", justify="right")
    table.add_column("address", overflow="fold")
    table.add_column("host", overflow="fold")
    if by_srv:
        table.add_column("prio", justify="right")
        table.add_column("weight", justify="right")
        table.add_column("chance", justify="right")
    for number, target in enumerate(targets, start=1):
        cells = [str(number), str(target.address), target.host]
        if by_srv:
            cells += [str(target.priority), str(target.weight), f"{target.probability:.0%}"]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _decisions(outcome: Outcome) -> RenderableType:
    lines = [Text("Why", style="bold")]
    step = None
    for decision in outcome.decisions:
        label = "" if decision.step is step else decision.step.value
        step = decision.step
        subject, *rest = wrap(decision.subject, _REASON_WIDTH)
        # A reference stays in one piece: wrap breaks at plain spaces only.
        rfc = decision.rfc.replace(" ", "\N{NO-BREAK SPACE}")
        for line in wrap(f"{decision.reason} ({rfc})", _REASON_WIDTH):
            rest.append(line.replace("\N{NO-BREAK SPACE}", " "))
        verdict = Text(f"{decision.verdict.value:13}", style=_STYLES[decision.verdict])
        lines.append(Text(f"{label:11}").append(verdict).append(subject))
        lines += (Text(" " * _REASON_INDENT + line, style="bright_black") for line in rest)
    return Group(*lines)
