"""``sipdns check``: what is wrong with the records of a SIP domain."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated
from typing import Protocol as Shape

import typer

from natkit.address import Address
from natkit.cli.entry import ExitStatus, JsonOption, console, print_json
from natkit.errors import ConfigError, MisuseError
from natkit.machine import Failure
from sipdns.check_json import diagnosis_as_json, failover_as_json, probe_as_json
from sipdns.check_report import WIDTH, diagnosis_as_text, published_plans
from sipdns.cli_options import read_nameserver, read_transports
from sipdns.cli_resolver import (
    DohOption,
    DotOption,
    ResolverCaOption,
    ResolverOption,
    ResolverOptions,
    TrustAnchorOption,
    ValidateOption,
)
from sipdns.diagnosis import RULES, Diagnosis, Examination, Status, Surroundings
from sipdns.diagnosis.waiting import Attempted, How, failover, read_failures
from sipdns.examiner import examine, examine_zone
from sipdns.probe import ProbeSettings, contacted
from sipdns.probe import probe as ask_servers
from sipdns.probe_results import ProbeResult, ProbeTarget, Protocol, Standing
from sipdns.records import Question, RecordType
from sipdns.search import read_uri
from sipdns.services import DEFAULT_TRANSPORTS
from sipdns.system import DNS_PORT, system_draw
from sipdns.zonefile import ZoneFile

__all__ = ["EXAMPLE", "check"]

EXAMPLE = "sipdns check example.org --explain-failover 1"


def check(
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="A domain, or a sip:, sips:, stun: or turn: URI.")
    ],
    transports: Annotated[
        str, typer.Option(metavar="LIST", help="What the caller speaks, by commas.")
    ] = ",".join(DEFAULT_TRANSPORTS),
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    compare: Annotated[
        str, typer.Option(metavar="LIST", help="Resolvers whose answers are compared, by commas.")
    ] = "",
    zonefile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Look at this zone file; nothing is sent.")
    ] = None,
    explain_failover: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="Show what a caller does when these targets fail: 1,2=refused."
        ),
    ] = "",
    seed: Annotated[
        int | None, typer.Option(help="Draw the order of equal servers from this number.")
    ] = None,
    accept: Annotated[
        str, typer.Option(metavar="LIST", help="Rules not to apply, by commas: one-family.")
    ] = "",
    authority_port: Annotated[
        int, typer.Option(help="Where authoritative servers listen, in a laboratory.")
    ] = DNS_PORT,
    probe: Annotated[
        bool, typer.Option("--probe", help="Contact the servers found, and say whom first.")
    ] = False,
    probe_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The CA (PEM) of the servers' certificates, for --probe."
        ),
    ] = None,
    as_object: JsonOption = False,
) -> int:
    """Say what is wrong with the records of a SIP domain, and what to publish instead.

    Exit status: 0 no fault, 1 a fault was found, 2 wrong use, 3 it could not be tested.
    """
    failures = read_failures(explain_failover) if explain_failover else {}
    draw = system_draw if seed is None else random.Random(seed).randrange  # noqa: S311 - to be repeated
    options = ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor)
    accepted = _accepted(accept)
    if probe and zonefile is not None:
        raise MisuseError("--probe contacts servers and --zonefile sends nothing: give one of them")
    make = partial(Examination, uri, read_transports(transports), draw=draw)
    if zonefile is not None:
        zone = _zone(zonefile, read_uri(uri).target)
        surroundings = Surroundings(time.time(), offline=True, accepted=accepted | zone.accepted)
        diagnosis = examine_zone(make(now=0.0, surroundings=surroundings), zone)
    else:
        servers = [one for one in options.servers() if isinstance(one, Address)]
        surroundings = Surroundings(
            time.time(),
            servers[0] if servers else None,
            _compared(compare, servers if resolver else ()),
            authority_port,
            accepted=accepted,
        )
        diagnosis = asyncio.run(_examine(make, surroundings, options))
    attempts = _explained(diagnosis, failures)
    results = _probed(diagnosis, probe_ca) if probe else None
    if as_object:
        _print_json(diagnosis, attempts, results)
    else:
        _print_text(diagnosis, attempts, results)
    return _exit_status(diagnosis, results)


def _compared(text: str, resolvers: Sequence[Address]) -> tuple[Address, ...]:
    """The resolvers to compare: those of --compare, else those of --resolver."""
    named = tuple(read_nameserver(one.strip()) for one in text.split(",")) if text else ()
    found = tuple(dict.fromkeys(named if len(named) > 1 else (*resolvers, *named)))
    if text and len(found) < 2:
        raise MisuseError("--compare needs two resolvers: ADDRESS[:PORT],ADDRESS[:PORT]")
    return found if len(found) > 1 else ()


def _accepted(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(",")) if text else frozenset()
    known = {one.id for one in RULES}
    for name in sorted(names - known):
        raise MisuseError(f"--accept has {name!r}, which is no rule; docs/sipdns-check.md has them")
    return names


def _zone(file: Path, domain: str) -> ZoneFile:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"--zonefile {file}: {reason}") from error
    zone = ZoneFile(text, domain, str(file))
    beyond = zone.ask(Question(domain, RecordType.NAPTR))
    if isinstance(beyond, Failure):
        raise ConfigError(f"--zonefile {file} is the zone {zone.origin}: {beyond.reason}")
    return zone


class _Make(Shape):
    """Begins an examination."""

    def __call__(self, *, now: float, surroundings: Surroundings) -> Examination: ...


async def _examine(make: _Make, surroundings: Surroundings, options: ResolverOptions) -> Diagnosis:
    async with options.open() as asking:
        now = asyncio.get_running_loop().time()
        return await examine(make(now=now, surroundings=surroundings), asking.ask)


def _probed(diagnosis: Diagnosis, authority: Path | None) -> Sequence[ProbeResult]:
    """Ask the servers of all plans; whom is told before, on stderr."""
    protocol = Protocol.SIP if diagnosis.outcome.uri.startswith("sip") else Protocol.STUN
    targets = [
        ProbeTarget.of(target, protocol)
        for _, plan in published_plans(diagnosis)
        for target in plan.targets
    ]
    for line in contacted(targets):
        typer.echo(f"contacting: {line}", err=True)
    return asyncio.run(ask_servers(targets, ProbeSettings(trust=authority)))


def _explained(diagnosis: Diagnosis, failures: Mapping[int, How]) -> list[Attempted]:
    """The attempts of a caller when these targets fail."""
    number = len(diagnosis.outcome.targets)
    if failures and max(failures) > number:
        raise MisuseError(
            f"--explain-failover has {max(failures)}, and the plan has {number} targets"
        )
    return failover(diagnosis.outcome.targets, failures) if failures else []


def _print_json(
    diagnosis: Diagnosis,
    attempts: Sequence[Attempted],
    results: Sequence[ProbeResult] | None,
) -> None:
    document = diagnosis_as_json(diagnosis)
    if any(one.standing is Standing.FAILED for one in results or ()):
        document["status"] = Status.FAILED.value
    document["failover"] = failover_as_json(attempts) if attempts else None
    document["probes"] = None if results is None else [probe_as_json(one) for one in results]
    print_json(document)


def _print_text(
    diagnosis: Diagnosis,
    attempts: Sequence[Attempted],
    results: Sequence[ProbeResult] | None,
) -> None:
    out = console()
    width = min(WIDTH, out.width) if out.is_terminal else WIDTH
    text = diagnosis_as_text(diagnosis, attempts, results)
    out.print(text, width=width, soft_wrap=False)


def _exit_status(diagnosis: Diagnosis, results: Sequence[ProbeResult] | None) -> ExitStatus:
    if any(one.standing is Standing.FAILED for one in results or ()):
        return ExitStatus.FAULT
    match diagnosis.status:
        case Status.FAILED:
            return ExitStatus.FAULT
        case Status.ERROR:
            return ExitStatus.NOT_TESTED
        case _:
            return ExitStatus.GOOD
