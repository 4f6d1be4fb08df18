"""A lookup's outcome for programs (JSON) and for people (tables of at most 80 columns)."""

from collections.abc import Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from natkit.address import Family
from natkit.machine import Transport
from sipdns.decisions import Decision, Verdict
from sipdns.targets import Outcome, RankedTarget

__all__ = ["as_json", "as_text"]

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
    return Group(_heading(outcome), _targets(outcome), Text(), _decisions(outcome))


def _heading(outcome: Outcome) -> Text:
    heading = Text(outcome.uri, style="bold")
    if not outcome.targets:
        heading.append("  no server", style="red")
        return heading
    first = outcome.targets[0]
    number = len(outcome.targets)
    heading.append(
        f"  {first.transport.upper()}, {number} {'server address' if number == 1 else 'addresses'}",
        style="not bold",
    )
    if first.transport.is_secure and first.transport is not Transport.WSS:
        heading.append(f", certificate for {first.tls_name}", style="not bold")
    return heading


def _targets(outcome: Outcome) -> RenderableType:
    if not outcome.targets:
        return Text()
    by_srv = any(target.priority is not None for target in outcome.targets)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("try", justify="right")
    table.add_column("address", overflow="fold")
    table.add_column("host", overflow="fold")
    if by_srv:
        table.add_column("prio", justify="right")
        table.add_column("weight", justify="right")
        table.add_column("first", justify="right")
    for number, target in enumerate(outcome.targets, start=1):
        cells = [str(number), str(target.address), target.host]
        if by_srv:
            cells += [str(target.priority), str(target.weight), f"{target.probability:.0%}"]
        table.add_row(*(Text(cell) for cell in cells))
    return Group(Text(), table)


def _decisions(outcome: Outcome) -> RenderableType:
    lines: list[RenderableType] = [Text("Why", style="bold")]
    step = None
    for decision in outcome.decisions:
        label = decision.step.value if decision.step is not step else ""
        step = decision.step
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=9)
        line.add_column(width=11)
        line.add_column(overflow="fold")
        what = Text(decision.subject)
        what.append(f": {decision.reason} ", style="not bold")
        what.append(f"[{decision.rfc}]", style="bright_black")
        verdict = Text(decision.verdict.value, style=_STYLES[decision.verdict])
        line.add_row(Text(label), verdict, what)
        lines.append(line)
    return Group(*lines)
