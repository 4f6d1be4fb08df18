"""``natkit turn``: whether a TURN server grants an allocation, and relays through it.

``--json`` prints one object::

    {"schema": 1,
     "uri": "turn:turn.example.org",
     "server":
       {"transport": "udp", "address": "192.0.2.1", "port": 3478, "host": "turn.example.org"},
     "relayed_address": {"address": "192.0.2.1", "port": 50000},
     "mapped_address": {"address": "198.51.100.7", "port": 40000},
     "lifetime": 600.0,
     "allocate_time": 0.0241,
     "relay": "works",
     "relay_round_trip": 0.0123,
     "attempts": [{"way": "direct", "peer": "198.51.100.7", "round_trip": 0.0123, "error": null}]}

``relay``: ``works``; ``silent``, a peer was permitted and no data came through; ``untested``, the
server permits none of the peers that can be had here.  Times are in seconds.  ``mapped_address``,
``relay_round_trip`` and what stands in ``attempts`` may be null.
"""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from natkit.aio.secure import Trust
from natkit.aio.turn import Allocation, allocate
from natkit.cli.entry import ExitStatus, JsonOption, print_json, report_error
from natkit.cli.findings import (
    CaFileOption,
    InsecureOption,
    Row,
    as_object,
    explain,
    milliseconds,
    show,
    target_object,
    told,
    trust,
)
from natkit.cli.locating import open_locator
from natkit.cli.relay_probe import Attempt, Way, probe_relay
from natkit.cli.stun import TimeoutOption
from natkit.errors import NatkitError
from natkit.machine import Transport
from sipdns.cli_resolver import (
    DohOption,
    DotOption,
    ResolverCaOption,
    ResolverOption,
    ResolverOptions,
    TrustAnchorOption,
    ValidateOption,
)

__all__ = ["EXAMPLE", "turn"]

EXAMPLE = "natkit turn turn:turn.example.org --user alice --password secret"

PASSWORD_VARIABLE = "NATKIT_TURN_PASSWORD"  # noqa: S105 - the name of a variable
"""The environment variable for those who want no password in the list of processes."""


SPOKEN = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.DTLS)
"""What the client speaks, in the order to try where neither URI nor DNS name a transport."""


class Relay(StrEnum):
    """What the probes have shown."""

    WORKS = "works"
    SILENT = "silent"
    UNTESTED = "untested"


_STATUS = {
    Relay.WORKS: ExitStatus.GOOD,
    Relay.SILENT: ExitStatus.FAULT,
    Relay.UNTESTED: ExitStatus.NOT_TESTED,
}


def turn(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="A turn: URI, over UDP or with ?transport=tcp over TCP; "
            "a turns: URI, over TLS or with ?transport=udp over DTLS.",
        ),
    ],
    user: Annotated[str, typer.Option(metavar="NAME", help="The user's name.")],
    password: Annotated[
        str,
        typer.Option(
            metavar="PASSWORD",
            envvar=PASSWORD_VARIABLE,
            help="The user's password.",
        ),
    ],
    ca_file: CaFileOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = 10.0,
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Test whether the TURN server at URI relays.

    It gets an allocation there, and sends itself a probe through it.  A name without a port is
    looked up by NAPTR and SRV records, then by addresses (RFC 5928).

    Exit status: 0 it relays, 1 it does not, or refuses, 2 wrong use, 3 it could not be tested.
    """
    try:
        believed = trust(ca_file, insecure=insecure)
        options = ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor)
        return asyncio.run(
            _examine(uri, user, password, believed, timeout, options, as_json=as_json)
        )
    except NatkitError as error:
        raise explain(error, uri) from error


async def _examine(
    uri: str,
    user: str,
    password: str,
    believed: Trust,
    timeout: float,  # noqa: ASYNC109 - handed on
    options: ResolverOptions,
    *,
    as_json: bool,
) -> ExitStatus:
    async with (
        open_locator(options, SPOKEN) as locator,
        allocate(
            uri,
            username=user,
            password=password,
            locator=locator,
            trust=believed,
            timeout=timeout,
        ) as allocation,
    ):
        attempts = await probe_relay(allocation, uri, user, password, believed)
        relay = _judge(attempts)
        if as_json:
            print_json(_report(uri, allocation, attempts, relay))
        else:
            _show(uri, allocation, attempts, relay)
        relayed = allocation.relayed_address
    if relay is Relay.SILENT:
        report_error(
            f"{uri} permits a peer, but no data came through {relayed}: "
            "check its relay address, its relay ports, and the firewalls around it"
        )
    elif relay is Relay.UNTESTED:
        reasons = ", and ".join(_shortfalls(attempts))
        report_error(
            f"{uri} works, but relaying could not be tested: {reasons}; "
            "test from a host that it permits as a peer"
        )
    return _STATUS[relay]


def _judge(attempts: list[Attempt]) -> Relay:
    if any(attempt.round_trip is not None for attempt in attempts):
        return Relay.WORKS
    if all(attempt.error is not None for attempt in attempts):
        return Relay.UNTESTED
    return Relay.SILENT


def _shortfalls(attempts: list[Attempt]) -> list[str]:
    """Why probes did not come back; once, where both ways met the same refusal."""
    lines = [_line(attempt) for attempt in attempts if attempt.round_trip is None]
    return list(dict.fromkeys(lines))


def _line(attempt: Attempt) -> str:
    peer = f"{attempt.peer.host} as a peer" if attempt.peer else "a second allocation"
    if attempt.error is not None:
        return f"the server refuses {peer} ({told(attempt.error)})"
    return f"nothing came back from {peer}"


def _report(
    uri: str, allocation: Allocation, attempts: list[Attempt], relay: Relay
) -> dict[str, object]:
    return {
        "uri": uri,
        "server": target_object(allocation.server),
        "relayed_address": as_object(allocation.relayed_address),
        "mapped_address": as_object(allocation.mapped_address),
        "lifetime": allocation.lifetime,
        "allocate_time": allocation.round_trip,
        "relay": str(relay),
        "relay_round_trip": attempts[-1].round_trip,
        "attempts": [
            {
                "way": str(attempt.way),
                "peer": attempt.peer.host if attempt.peer else None,
                "round_trip": attempt.round_trip,
                "error": None if attempt.error is None else told(attempt.error),
            }
            for attempt in attempts
        ],
    }


def _show(uri: str, allocation: Allocation, attempts: list[Attempt], relay: Relay) -> None:
    server = allocation.server
    rows = [
        Row("relayed address", str(allocation.relayed_address), "green"),
        Row("mapped address", str(allocation.mapped_address or "not told")),
        Row("lifetime", f"{allocation.lifetime:g} s"),
        Row("allocation", f"granted in {milliseconds(allocation.round_trip)}"),
    ]
    match relay:
        case Relay.WORKS:
            rows.append(Row("relay", _success(attempts[-1]), "green"))
        case Relay.SILENT:
            rows.append(Row("relay", "no data comes through", "red"))
        case Relay.UNTESTED:
            rows.append(Row("relay", "not tested", "yellow"))
    rows += [Row("", line) for line in _shortfalls(attempts)]
    show(f"{uri} ({server.address} over {server.transport.upper()}) grants an allocation", rows)


def _success(attempt: Attempt) -> str:
    took = milliseconds(attempt.round_trip or 0.0)
    peer = "a socket here" if attempt.way is Way.DIRECT else "a second allocation"
    return f"works both ways, {took} to {peer} and back"
