"""What tools print is read as it is meant, and the page about them has the row of each NAT."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.netlab.nat_table import IN_BAD_WEATHER, PAGE, RUNS, TITLES, all_questions, page
from tests.netlab.nat_tools import (
    NOTHING,
    TOOLS,
    Said,
    judge_natdiscovery,
    judge_natkit,
    judge_pystun3,
    judge_stun_client,
)
from tests.netlab.nats import TRUTH, Kind

NATDISCOVERY: Final = """
0: : IPv4. UDP reflexive addr: 198.18.7.2:60110
NAT with Endpoint Independent Mapping!
STUN receive timeout..
NAT with Address Dependent Filtering!
"""
STUN_CLIENT: Final = """STUN client version 0.97
Primary: Independent Mapping, Port Dependent Filter, preserves ports, no hairpin\t
Return value is 0x000017
"""
PYSTUN3: Final = "NAT Type: Symmetric NAT\nExternal IP: 198.18.23.2\nExternal Port: 35404\n"


def natkit(mapping: str, filtering: str, udp: str = "passes") -> str:
    family = {"udp": udp, "mapping": {"kind": mapping}, "filtering": {"kind": filtering}}
    return json.dumps({"families": [family]})


@pytest.mark.parametrize(
    ("kind", "right"),
    [(Kind.ADDRESS_RESTRICTED, True), (Kind.FULL_CONE, False), (Kind.OPEN, False)],
)
def test_natdiscovery_is_right_when_both_of_its_lines_are(kind: Kind, right: bool) -> None:
    assert judge_natdiscovery(kind, TRUTH[kind], NATDISCOVERY) == Said("EIM, ADF", right)
    silent = judge_natdiscovery(Kind.UDP_BLOCKED, TRUTH[Kind.UDP_BLOCKED], "STUN receive timeout..")
    assert silent == NOTHING


@pytest.mark.parametrize(("kind", "right"), [(Kind.PORT_RESTRICTED, True), (Kind.FULL_CONE, False)])
def test_stun_client_is_judged_by_mapping_and_filter(kind: Kind, right: bool) -> None:
    said = judge_stun_client(kind, TRUTH[kind], STUN_CLIENT)
    assert said == Said("Independent Mapping, Port Dependent Filter", right)
    blocked = judge_stun_client(
        kind, TRUTH[Kind.UDP_BLOCKED], "Primary: Blocked or could not reach STUN server\t\n"
    )
    assert blocked.right


def test_pystun3_is_judged_by_its_type() -> None:
    right = judge_pystun3(Kind.SYMMETRIC, TRUTH[Kind.SYMMETRIC], PYSTUN3)
    wrong = judge_pystun3(Kind.PORT_RESTRICTED, TRUTH[Kind.PORT_RESTRICTED], PYSTUN3)
    assert (right, wrong) == (Said("Symmetric NAT", True), Said("Symmetric NAT", False))
    assert judge_pystun3(Kind.OPEN, TRUTH[Kind.OPEN], "") == NOTHING


def test_natkit_is_judged_by_the_half_that_it_tells() -> None:
    kind = Kind.PORT_RESTRICTED
    for mapping, filtering, said in (
        ("endpoint-independent", "address-and-port-dependent", Said("EIM, APDF", True)),
        ("endpoint-independent", "unknown", Said("EIM", True)),
        ("none", "unknown", Said("no NAT", False)),
        ("unknown", "unknown", NOTHING),
    ):
        assert judge_natkit(kind, TRUTH[kind], natkit(mapping, filtering)) == said
    blocked = natkit("unknown", "unknown", "blocked")
    assert judge_natkit(Kind.UDP_BLOCKED, TRUTH[Kind.UDP_BLOCKED], blocked).right is True
    assert judge_natkit(kind, TRUTH[kind], blocked).right is False


def test_the_page_shows_who_is_wrong() -> None:
    found = {question: Said("words", question.tool is not TOOLS[3]) for question in all_questions()}
    text = page(found)
    assert set(TITLES) == set(Kind)
    full_cone = "| full cone | EIM, EIF | words | words | words | **✗** words |"
    assert full_cone in text
    assert "| NAT64 | EIM, APDF | words | words | no IPv6 | no IPv6 |" in text
    assert f"| {RUNS} right, 0 wrong, 0 none | 0 right, **{RUNS} wrong**, 0 none |" in text


def test_the_page_of_this_checkout_has_every_nat_and_says_nothing_wrong_of_natkit() -> None:
    rows = [line.split(" | ") for line in Path(PAGE).read_text().splitlines() if "|" in line]
    plain = {row[0].strip("| "): row[2] for row in rows if len(row) == 2 + len(TOOLS)}
    assert set(TITLES.values()) <= set(plain)
    for title in TITLES.values():
        assert "✗" not in plain[title]
        assert "nothing" not in plain[title]
    lossy = {row[0].strip("| "): row[1] for row in rows if len(row) == 1 + len(TOOLS)}
    for kind in IN_BAD_WEATHER:
        assert re.match(rf"{RUNS} right, 0 wrong", lossy[TITLES[kind]])
