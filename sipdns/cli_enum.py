"""``sipdns enum``: the URIs of a telephone number."""

import asyncio
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from natkit.cli.entry import ExitStatus, JsonOption, console, print_json, report_error
from natkit.errors import DnsFailure
from sipdns.cli_resolver import (
    DohOption,
    DotOption,
    ResolverCaOption,
    ResolverOption,
    ResolverOptions,
    TrustAnchorOption,
    ValidateOption,
)
from sipdns.enum import E164_ARPA, EnumOutcome, EnumRule, Use
from sipdns.enum_lookup import look_up_number
from sipdns.records import Answer

__all__ = ["EXAMPLE", "as_json", "enum"]

EXAMPLE: Final = "sipdns enum +441632960083 --service sip"

_MARKS: Final = {
    Use.URI: ("✓", "green"),
    Use.FOLLOWED: ("→", "cyan"),
    Use.PASSED_OVER: ("·", "dim"),
}


def enum(
    number: Annotated[
        str, typer.Argument(metavar="NUMBER", help="With + and its country code, or a tel: URI.")
    ],
    suffix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DOMAIN",
            help=f"The tree to ask instead of {E164_ARPA}; of several the first that has a URI.",
        ),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Only URIs of this Enumservice, such as sip."),
    ] = None,
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    as_object: JsonOption = False,
) -> int:
    """Print the URIs of a telephone number in the order to try (ENUM, RFC 6116).

    Exit status: 0 found, 1 there is none, 2 wrong use, 3 the DNS did not answer.
    """
    options = ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor)
    outcome = asyncio.run(_look_up(number, options, suffix or [E164_ARPA], service))
    if as_object:
        print_json(as_json(outcome))
    else:
        _print(outcome)
    if outcome.error is None:
        return ExitStatus.GOOD
    report_error(str(outcome.error))
    failed = isinstance(outcome.error, DnsFailure)
    return ExitStatus.NOT_TESTED if failed else ExitStatus.FAULT


async def _look_up(
    number: str, options: ResolverOptions, suffixes: list[str], service: str | None
) -> EnumOutcome:
    async with options.open() as dns:
        return await look_up_number(number, dns, suffixes=suffixes, service=service)


def as_json(outcome: EnumOutcome) -> dict[str, object]:
    """The object that ``--json`` prints."""
    return {
        "number": outcome.number,
        "uris": [
            {
                "uri": one.uri,
                "services": list(one.services),
                "order": one.order,
                "preference": one.preference,
                "domain": one.domain,
                "ttl": one.ttl,
            }
            for one in outcome.uris
        ],
        "records": [
            {
                "domain": one.domain,
                "order": one.record.order,
                "preference": one.record.preference,
                "flags": one.record.flags,
                "service": one.record.service,
                "regexp": one.record.regexp,
                "replacement": one.record.replacement,
                "use": one.use.value,
                "reason": one.reason,
            }
            for one in outcome.rules
        ],
        "asked": [
            {
                "name": question.name,
                "type": question.type.value,
                "result": answer.status.value if isinstance(answer, Answer) else answer.reason,
                "security": answer.security.value if isinstance(answer, Answer) else None,
            }
            for question, answer in outcome.asked
        ],
        "error": None if outcome.error is None else str(outcome.error),
    }


def _print(outcome: EnumOutcome) -> None:
    screen = console()
    table = Table.grid(padding=(0, 2))
    for position, one in enumerate(outcome.uris, 1):
        # Text: what a zone says is never read as markup.
        table.add_row(f"{position}.", Text(one.uri, "bold"), Text(", ".join(one.services)))
    if outcome.uris:
        screen.print(table)
        screen.print()
    for domain in dict.fromkeys(one.domain for one in outcome.rules):
        screen.print(Text(domain))
        for rule in outcome.rules:
            if rule.domain == domain:
                screen.print(_rule_text(rule))
    for question, answer in outcome.asked:
        if isinstance(answer, Answer) and not answer.records:
            screen.print(Text(f"{question}: {answer.status.value}"))


def _rule_text(rule: EnumRule) -> Text:
    mark, style = _MARKS[rule.use]
    record = rule.record
    line = Text(f"  {mark} ", style)
    line.append(f'{record.order} {record.preference} "{record.flags}" "{record.service}"', "")
    line.append(f"\n      {rule.reason}", "" if rule.use is Use.URI else style)
    return line
