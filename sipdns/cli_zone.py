"""``sipdns zone``: the records to publish for a SIP domain."""

from typing import Annotated, Final

import typer

from natkit.cli.entry import ExitStatus, JsonOption, print_json
from natkit.errors import MisuseError
from sipdns.diagnosis import Diagnosis, Examination, Surroundings
from sipdns.examiner import examine_zone
from sipdns.services import DEFAULT_TRANSPORTS
from sipdns.zone import LONGEST_TTL, read_domain, read_server, zone_lines
from sipdns.zonefile import ZoneFile

__all__ = ["EXAMPLE", "zone"]

EXAMPLE = "sipdns zone example.org --server sip1=192.0.2.1,2001:db8::1,udp,tcp,tls"

INHERENT: Final = (
    "caller-without-server",
    "single-point-of-failure",
    "one-family",
    "address-not-global",
    "sips-missing",
    "tcp-missing",
    "ttl-short",
    "ttl-long",
    "srv-port-crossed",
    "srv-weights-zero",
    "srv-weight-zero-beside-others",
)
"""What follows from the servers that were asked for, and not from how they are published."""


def zone(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain of the SIP URIs.")],
    server: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=LIST",
            help="A host, its addresses and its transports, by commas; a port as in tls:5071, "
            "priority:10 and weight:10 where they matter. Given once for each server.",
        ),
    ],
    ttl: Annotated[
        int, typer.Option(metavar="SECONDS", min=0, max=LONGEST_TTL, help="TTL of the records.")
    ] = 3600,
    as_object: JsonOption = False,
) -> int:
    """Print the NAPTR, SRV, A and AAAA records by which callers find these servers.

    Comments say what follows from the servers given, such as that there is only one, and that it is
    accepted; sipdns check --zonefile then has nothing to say.
    """
    name = read_domain(domain)
    servers = [read_server(one, name) for one in server]
    hosts = [one.name for one in servers]
    if len(set(hosts)) < len(hosts):
        twice = next(one for one in hosts if hosts.count(one) > 1)
        raise MisuseError(f"--server names {twice} twice; one list has all of its transports")
    lines = zone_lines(name, servers, ttl)
    accepted = {
        check.rule.id: check.rule.claim
        for check in _examined(name, lines).checks
        if check.findings and check.rule.id in INHERENT
    }
    if as_object:
        print_json({"domain": name, "records": lines, "accepted": list(accepted)})
        return ExitStatus.GOOD
    for identifier, claim in accepted.items():
        typer.echo(f"; sipdns: accept {identifier}  ({claim}: not here)")
    for line in lines:
        typer.echo(line)
    return ExitStatus.GOOD


def _examined(domain: str, lines: list[str]) -> Diagnosis:
    """What a check says of the records."""
    text = "\n".join(lines) + "\n"
    examination = Examination(
        domain,
        DEFAULT_TRANSPORTS,
        draw=lambda _: 0,
        now=0.0,
        surroundings=Surroundings(0.0, offline=True),
    )
    return examine_zone(examination, ZoneFile(text, domain, "the zone"))
