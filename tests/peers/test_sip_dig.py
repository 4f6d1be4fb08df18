"""The vectors for RFC 3263 by way of BIND 9, for sipdns and for Sofia-SIP's sip-dig.

Where the two differ, ``DIFFERENCES`` says what sip-dig does; the sentence that demands otherwise is
the vector's own, with its section.
"""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from natkit.address import Family
from natkit.errors import MisuseError
from natkit.machine import Transport
from sipdns import Locator
from tests.peering.plugin import StartNamed
from tests.peering.roster import program_path
from tests.vectors.rfc3263 import Vector, vectors

MOST_RECORDS = 100
"""Records of one name and type that BIND 9 loads unless it is told otherwise."""

APEX = """\
$TTL 60
@ IN SOA ns. hostmaster. 1 3600 600 86400 60
@ IN NS ns.
ns. IN A 127.0.0.1
"""

# In this order always: sip-dig's result depends on it.
OPTIONS = "check-srv-cname ignore; rrset-order { order none; };"

SPOKEN_BY_SOFIA = {"udp", "tcp", "tls", "sctp", "tls-sctp"}

DIFFERENCES = {
    "addresses-6to4": "sorts the addresses of a host as text",
    "addresses-mixed-targets": "loses the SRV target that has IPv4 alone",
    "addresses-per-srv-target": "loses the first of two SRV targets",
    "addresses-unique-local": "puts IPv6 first, even unique local addresses",
    "idn-u-label": "takes no U-label",
    "maddr-domain": "ignores maddr",
    "maddr-numeric": "ignores maddr",
    "maddr-numeric-port": "ignores maddr",
    "naptr-higher-order-closed": "goes on to a higher order",
    "naptr-missing-hosted-srv": "forgets the transport that NAPTR chose",
    "naptr-missing-srv": "forgets the transport that NAPTR chose",
    "naptr-missing-srv-other-transport": "forgets the transport that NAPTR chose",
    "naptr-missing-srv-tls": "forgets that NAPTR chose TLS, and goes on in plain UDP",
    "naptr-not-terminal": "does not follow a NAPTR record that is not terminal",
    "naptr-not-terminal-order": "does not follow a NAPTR record that is not terminal",
    "naptr-regexp-and-replacement": "uses a NAPTR record with both regexp and replacement",
    "numeric-transport-tls": "gives TLS the port 5060",
    "sips-transport-sctp": "finds nothing for sips with a transport",
    "sips-transport-tcp": "finds nothing for sips with a transport",
    "srv-60-records": "loses all but one of many records",
    "srv-dot": 'falls back to addresses where the SRV target is "."',
    "srv-dot-all": 'falls back to addresses where the SRV target is "."',
    "srv-priority": "loses the record of the lowest priority",
    "srv-same-host-twice": "tries a host once, though it has two ports",
    "srv-targets-without-address": "falls back to addresses though there are SRV records",
}
"""What sip-dig 1.12.11 does otherwise, by vector."""

Row = tuple[str, str, int]

# The zones are answered by a real nameserver, so nothing fails and nothing is silent there.
served = [
    one
    for one in vectors()
    if not one.failing and not one.unanswered and len(one.targets) <= MOST_RECORDS
]
comparable = [
    one
    for one in served
    if SPOKEN_BY_SOFIA.issuperset(one.transports) and len(one.families) == len(Family)
]


@cache
def zone() -> str:
    """The zones of all vectors as one root zone: their names are distinct."""
    return APEX + "".join(f"{line}\n" for one in served for line in one.zone)


def wanted(vector: Vector) -> list[Row]:
    return [(one.transport, one.address, one.port) for one in vector.targets]


def alike(vector: Vector, found: Sequence[Row]) -> bool:
    """Whether ``found`` is what the vector wants, up to what chance decides."""
    if vector.random or vector.id in ("srv-weight-zero-all", "addresses-several"):
        return sorted(wanted(vector)) == sorted(found)
    return wanted(vector) == list(found)


@pytest.mark.peer("bind9")
async def test_sipdns_finds_what_the_vectors_want_in_a_real_nameserver(
    start_named: StartNamed,
) -> None:
    bind = start_named({".": zone()}, OPTIONS)

    async def found(vector: Vector) -> list[Row]:
        locator = Locator(
            nameservers=[bind],
            transports=[Transport(one) for one in vector.transports],
            usable=[family for family in Family if family.name.lower() in vector.families],
        )
        try:
            outcome = await locator.explain(vector.uri)
        except MisuseError:
            assert vector.error == "bad uri"
            return []
        assert len(vector.rounds) >= outcome.rounds
        return [(one.transport, one.address.host, one.address.port) for one in outcome.targets]

    plans = await asyncio.gather(*(found(one) for one in served))
    wrong = {one.id: plan for one, plan in zip(served, plans, strict=True) if not alike(one, plan)}
    assert wrong == {}


def first_of_sip_dig(vector: Vector, configuration: Path) -> list[Row]:
    """What sip-dig would try by the transport that it would try first.

    It prints preference, weight, transport, port and address, for each transport in turn; sipdns
    selects one transport, as RFC 3263 §4.1 has it.
    """
    program = program_path("sip-dig")
    assert program is not None
    found = subprocess.run(
        [program, *(f"--{one}" for one in vector.transports), vector.uri],
        env={**os.environ, "SRESOLV_CONF": str(configuration)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    rows = []
    for line in found.stdout.splitlines():
        _, _, transport, port, address = line.split()
        rows.append((transport, address.strip("[]"), int(port)))
    return [one for one in rows if one[0] == rows[0][0]]


@pytest.mark.peer("bind9", "sofia-sip")
def test_sip_dig_agrees_but_for_what_an_rfc_forbids(
    start_named: StartNamed, tmp_path: Path
) -> None:
    bind = start_named({".": zone()}, OPTIONS)
    configuration = tmp_path / "resolv.conf"
    configuration.write_text(f"nameserver {bind.host}\nport {bind.port}\n")
    unexpected = []
    for vector in comparable:
        found = first_of_sip_dig(vector, configuration)
        if alike(vector, found) == (vector.id in DIFFERENCES):
            unexpected.append((vector.id, vector.requires, vector.rfc, found))
    assert unexpected == []


def test_each_difference_is_about_a_vector_that_is_compared() -> None:
    assert DIFFERENCES.keys() <= {one.id for one in comparable}
    assert len(comparable) >= 100
