"""A diagnosis for people: trees and tables of at most 80 columns.

Colour stands for severity and for nothing else: red is a fault, yellow a warning, cyan a note,
green is good.  Each has its own sign as well, so nothing is lost without colour.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from natkit.machine import Failure, Transport
from sipdns.check_json import PROBE_STATUSES, clause
from sipdns.decisions import Step, Verdict
from sipdns.diagnosis.examination import Diagnosis, Query
from sipdns.diagnosis.finding import Area, Check, Finding, Severity, Status
from sipdns.diagnosis.waiting import SILENCE, Attempted, How, first_chances
from sipdns.probe_results import BindingAnswer, OptionsAnswer, ProbeResult, Standing
from sipdns.records import Answer, Carrier, Security, Unanswered
from sipdns.records import Status as AnswerStatus
from sipdns.targets import Outcome, RankedTarget

__all__ = ["WIDTH", "diagnosis_as_text", "published_plans", "verdict_line"]

WIDTH: Final = 80

AFTER: Final = (
    f"after: when it is tried if all before it are silent, which takes {SILENCE:g} s each (RFC "
    "3261 Timer B and F; a caller may allow less to connect). A refusal takes no time."
)

_DIM: Final = "bright_black"
_SIGNS: Final = {
    Status.PASSED: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.WARNING: ("!", "yellow"),
    Status.INFO: ("i", "cyan"),
    Status.NOT_TESTED: ("-", _DIM),
    Status.ERROR: ("?", "magenta"),
}
_VERDICTS: Final = {
    Status.PASSED: "good",
    Status.INFO: "good",
    Status.WARNING: "works, with warnings",
    Status.FAILED: "faulty",
    Status.ERROR: "could not be tested",
}
_SECURITY: Final[Mapping[Security, tuple[str, str]]] = {
    Security.SECURE: ("secure", "green"),
    Security.INSECURE: ("insecure", ""),
    Security.BOGUS: ("bogus", "red"),
    Security.INDETERMINATE: ("-", _DIM),
}
_CARRIERS: Final = {
    Carrier.UDP: "udp",
    Carrier.TCP: "tcp",
    Carrier.TLS: "dot",
    Carrier.HTTPS: "doh",
}


def diagnosis_as_text(
    diagnosis: Diagnosis,
    attempts: Sequence[Attempted] = (),
    results: Sequence[ProbeResult] | None = None,
) -> RenderableType:
    """The whole report, with what --explain-failover and --probe add to it."""
    verdict = verdict_line(diagnosis, results or ())
    parts: list[RenderableType] = [verdict, Text()]
    parts += [_input(diagnosis), Text()]
    if diagnosis.queries:
        parts += [*_queries(diagnosis), Text()]
    naptr = _naptr(diagnosis)
    if naptr is not None:
        parts += [naptr, Text()]
    parts += [*_plans(diagnosis), Text()]
    if attempts:
        parts += [_failover(attempts), Text()]
    if results is not None:
        parts += [_probes(results), Text()]
    parts += [_findings(diagnosis), Text(), _checks(diagnosis), Text(), verdict]
    return Group(*parts)


def verdict_line(diagnosis: Diagnosis, results: Sequence[ProbeResult] = ()) -> Text:
    """The URI, and the verdict with the number of findings of each severity."""
    unwell = sum(one.standing is Standing.FAILED for one in results)
    status = Status.FAILED if unwell else diagnosis.status
    sign, style = _SIGNS[status]
    line = Text.assemble((diagnosis.outcome.uri, "bold"), "  ")
    line.append(f"{sign} {_VERDICTS[status]}", style=f"bold {style}")
    counted = Counter(check.rule.severity for check in diagnosis.checks for _ in check.findings)
    numbers = [_number(counted[one], one.value) for one in Severity if counted[one]]
    if unwell:
        numbers.append(f"{unwell} of {_number(len(results), 'server')} not well")
    if numbers:
        line.append(f"  {', '.join(numbers)}")
    return line


def _number(number: int, noun: str) -> str:
    plural = {"query": "queries", "address": "addresses"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else plural}"


# -- what was asked


def _input(diagnosis: Diagnosis) -> RenderableType:
    what, rfc = clause(diagnosis)
    tree = _tree("Input")
    tree.add(Text.assemble(what, (f"  ({rfc})", _DIM)))
    for one in diagnosis.outcome.decisions:
        if one.step is Step.TARGET:
            tree.add(Text.assemble(one.subject, (f"  {one.reason}", _DIM)))
        elif one.step is Step.TRANSPORT and one.verdict is Verdict.CHOSEN:
            tree.add(Text.assemble(one.subject, (f"  {one.reason}  ({one.rfc})", _DIM)))
    return tree


def _queries(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    asked = [one for one in diagnosis.queries if one.round]
    others = [one for one in diagnosis.queries if not one.round]
    servers = dict.fromkeys(server for one in diagnosis.queries if (server := _server(one)))
    heading = Text("DNS", style="bold")
    heading.append(
        f"  {_number(len(asked), 'query')} in {_number(diagnosis.outcome.rounds, 'round')}",
        style="not bold",
    )
    if len(servers) == 1:
        heading.append(f", asked of {next(iter(servers))}", style="not bold")
    yield heading
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("question", overflow="fold")
    table.add_column("answer", overflow="fold")
    for name in ("TTL", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("over", no_wrap=True)
    table.add_column("DNSSEC", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    if len(servers) > 1:
        table.add_column("server", overflow="fold")
    round_ = None
    for one in asked:
        _add_query(table, one, str(one.round) if one.round != round_ else "", servers)
        round_ = one.round
    yield table
    if others:
        failed = sum(isinstance(one.answer, Failure) for one in others)
        number = len(others) + len(diagnosis.replies)
        note = f"and {number} more by the checks" + (
            f", {failed} of them unanswered" if failed else ""
        )
        yield Text(note, style=_DIM)


def _add_query(table: Table, query: Query, round_: str, servers: Mapping[str, None]) -> None:
    answer = query.answer
    cells = [Text(round_, style=_DIM), Text(str(query.question)), _answer(answer)]
    attempt = answer.attempt if isinstance(answer, Answer) else None
    if isinstance(answer, Unanswered) and answer.attempts:
        attempt = answer.attempts[-1]
    cells.append(Text(str(answer.ttl) if isinstance(answer, Answer) else "-"))
    cells.append(Text(str(attempt.size) if attempt and attempt.size else "-"))
    cells.append(Text(_CARRIERS[attempt.carrier] if attempt else "-"))
    if isinstance(answer, Answer | Unanswered):
        cells.append(Text(*_SECURITY[answer.security]))
        cells.append(Text(f"{answer.seconds * 1000:.0f}" if attempt else "-"))
    else:
        cells += [Text("-", style=_DIM), Text("-")]
    if len(servers) > 1:
        cells.append(Text(_server(query) or "-"))
    table.add_row(*cells)


def _answer(answer: Answer | Failure) -> Text:
    if isinstance(answer, Failure):
        rcode = (
            answer.attempts[-1].rcode
            if isinstance(answer, Unanswered) and answer.attempts
            else None
        )
        return Text(rcode or "no answer", style="red")
    match answer.status:
        case AnswerStatus.RECORDS:
            text = Text(_number(len(answer.records), "record"))
        case AnswerStatus.NO_NAME:
            text = Text("NXDOMAIN")
        case _:
            text = Text("no record")
    if answer.aliases:
        text.append(f" by {_number(len(answer.aliases), 'CNAME')}", style=_DIM)
    return text


def _server(query: Query) -> str | None:
    answer = query.answer
    if isinstance(answer, Answer):
        return answer.attempt.server if answer.attempt else None
    if isinstance(answer, Unanswered) and answer.attempts:
        return answer.attempts[-1].server
    return None


# -- what it leads to


def _naptr(diagnosis: Diagnosis) -> RenderableType | None:
    decisions = [one for one in diagnosis.outcome.decisions if one.step is Step.NAPTR]
    if not decisions:
        return None
    tree = _tree("NAPTR")
    for one in decisions:
        style = "green" if one.verdict is Verdict.CHOSEN else _DIM
        sign = "✓" if one.verdict is Verdict.CHOSEN else "-"
        tree.add(
            Text.assemble(
                (f"{sign} ", style), one.subject, (f"  {one.verdict}: {one.reason}", _DIM)
            )
        )
    return tree


def _plans(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    chosen = {one.transport for one in diagnosis.outcome.targets}
    spoken = [one.transport for one in diagnosis.search.services]
    heading = Text("Plan", style="bold")
    heading.append(f"  a caller that speaks {', '.join(spoken) or 'nothing of it'}", "not bold")
    takes = ", then ".join(one.upper() for one in spoken if one in chosen)
    heading.append(f" takes {takes}" if takes else " finds no server", "not bold")
    yield heading
    shown = published_plans(diagnosis)
    for transport, plan in shown:
        yield Text()
        yield _plan(transport, plan, is_chosen=transport in chosen)
    transports = {transport for transport, _ in shown}
    without = [transport for transport, _ in diagnosis.plans if transport not in transports]
    yield Text()
    if chosen:
        yield Text(AFTER, style=_DIM)
    if without:
        yield Text(f"no server over {', '.join(without)}", style=_DIM)


def published_plans(diagnosis: Diagnosis) -> list[tuple[Transport, Outcome]]:
    """The plans that lead to servers which the domain names, or which this caller would try."""
    spoken = {one.transport for one in diagnosis.search.services}
    return [
        (transport, plan)
        for transport, plan in diagnosis.plans
        if plan.targets and (transport in spoken or _is_published(plan))
    ]


def _is_published(plan: Outcome) -> bool:
    """Whether records name the transport; else it is only what is left to a caller to try."""
    by_naptr = any(
        one.step is Step.NAPTR and one.verdict is Verdict.CHOSEN for one in plan.decisions
    )
    return by_naptr or any(one.priority is not None for one in plan.targets)


def _plan(transport: Transport, plan: Outcome, *, is_chosen: bool) -> RenderableType:
    label = Text(transport.upper(), style="bold")
    if is_chosen:
        label.append("  ✓ chosen", style="not bold green")
    if transport.is_secure:
        label.append(f"  certificate for {plan.targets[0].tls_name}", style="not bold")
    tree = Tree(label, guide_style=_DIM)
    tree.add(_targets(plan.targets))
    return tree


def _targets(targets: Sequence[RankedTarget]) -> RenderableType:
    by_srv = any(target.priority is not None for target in targets)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style=_DIM)
    table.add_column("try", justify="right")
    table.add_column("address", overflow="fold")
    table.add_column("host", overflow="fold")
    if by_srv:
        for name in ("prio", "weight", "first"):
            table.add_column(name, justify="right", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    for index, (target, chance) in enumerate(zip(targets, first_chances(targets), strict=True)):
        cells = [str(index + 1), str(target.address), target.host]
        if by_srv:
            share = f"{chance:.0%}" if chance else "-"
            cells += [str(target.priority), str(target.weight), share]
        cells.append(f"{index * SILENCE:g} s")
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _failover(attempts: Sequence[Attempted]) -> RenderableType:
    """The run of ``--explain-failover``."""
    tree = _tree("Failover")
    for one in attempts:
        style = "green" if one.how is How.ANSWERED else "red"
        tree.add(
            Text.assemble(
                f"at {one.begins:g} s: {one.number}. {one.target.transport} {one.target.address} "
                f"({one.target.host})  ",
                (one.how.value, style),
            )
        )
    if attempts and attempts[-1].how is not How.ANSWERED:
        last = attempts[-1]
        end = last.begins + (SILENCE if last.how is How.SILENT else 0.0)
        tree.add(Text(f"at {end:g} s: no target is left; the call fails", style="red"))
    return tree


def _probes(results: Sequence[ProbeResult]) -> RenderableType:
    tree = _tree("Probe" if results else "Probe  there is nobody to contact")
    for result in results:
        sign, style = _SIGNS[PROBE_STATUSES[result.standing]]
        branch = tree.add(Text.assemble((f"{sign} ", style), str(result.target)))
        if isinstance(result.answer, OptionsAnswer):
            answer = result.answer
            line = f"{answer.status} {answer.reason} in {answer.round_trip * 1000:.0f} ms"
            branch.add(Text(f"{line}, by {answer.server}" if answer.server else line))
        elif isinstance(result.answer, BindingAnswer):
            line = f"seen as {result.answer.mapped} in {result.answer.round_trip * 1000:.0f} ms"
            branch.add(Text(line))
        for name, check in result.checks:
            if check.standing is not Standing.NOT_TESTED:
                sign, style = _SIGNS[PROBE_STATUSES[check.standing]]
                branch.add(Text.assemble((f"{sign} ", style), f"{name}: {check.evidence}"))
    return tree


# -- what is wrong


def _findings(diagnosis: Diagnosis) -> RenderableType:
    found = [one for one in diagnosis.checks if one.findings]
    tree = _tree("Findings" if found else "Findings  none")
    ranks = list(Severity)
    for check in sorted(found, key=lambda one: ranks.index(one.rule.severity)):
        sign, style = _SIGNS[check.status]
        label = Text.assemble(
            (f"{sign} {check.rule.severity}  {check.rule.id}", style), (f"  {check.rule.rfc}", _DIM)
        )
        branch = tree.add(label)
        branch.add(Text(check.rule.why, style=_DIM))
        for finding in check.findings:
            _add_finding(branch, finding)
    return tree


def _add_finding(branch: Tree, finding: Finding) -> None:
    node = branch.add(Text.assemble((f"{finding.subject}: ", "bold"), finding.evidence))
    fix = finding.fix
    for line in fix.remove:
        node.add(Text(f"- {line}", overflow="fold"))
    for line in fix.publish:
        node.add(Text(f"+ {line}", overflow="fold"))
    if fix.advice:
        node.add(Text(f"→ {fix.advice}"))


def _checks(diagnosis: Diagnosis) -> RenderableType:
    tree = _tree("Checks")
    for area in Area:
        checks = [one for one in diagnosis.checks if one.rule.area is area]
        counted = Counter(one.status for one in checks)
        parts = Text(f"{area.value:<11}")
        for status in Status:
            if counted[status]:
                sign, style = _SIGNS[status]
                words = status.value.replace("_", " ")
                parts.append(f"{sign} {counted[status]} {words}  ", style=style)
        tree.add(parts)
    for reason, names in _untested(diagnosis.checks).items():
        number = len(names)
        what = ", ".join(names) if number <= 3 else f"{number} checks"
        tree.add(Text.assemble((f"? {what}", "magenta"), f"  {reason}"))
    return tree


def _untested(checks: Sequence[Check]) -> dict[str, list[str]]:
    """What could not be tested, by the reason."""
    found: dict[str, list[str]] = {}
    for one in checks:
        if one.status is Status.ERROR:
            found.setdefault(one.reason, []).append(one.rule.id)
    return found


def _tree(title: str) -> Tree:
    name, _, rest = title.partition("  ")
    return Tree(Text.assemble((name, "bold"), f"  {rest}" if rest else ""), guide_style=_DIM)
