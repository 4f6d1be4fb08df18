"""Each rule that records alone can break: a zone that does, and one that does not."""

from pathlib import Path

import dns.rdatatype
import dns.zone
import pytest

from sipdns.diagnosis import RULES
from tests.sipdns.diagnosis.checking import GOOD, check_zone, edited


def test_a_good_zone_has_no_finding(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checked = check_zone(capsys, tmp_path, GOOD)
    assert checked.findings == ()
    assert (checked.exit_status, checked.status) == (0, "passed")
    assert set(checked.checks) == {one.id for one in RULES}
    assert {status for status, _ in checked.checks.values()} == {"passed", "not_tested"}


NAPTR_TLS = '@ 3600 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp\n'
SRV_TLS_1 = "_sips._tcp 3600 IN SRV 10 10 5061 sip1\n"
SRV_TLS_2 = "_sips._tcp 3600 IN SRV 20 10 5061 sip2\n"
FIRST = "sip1 3600 IN A 192.0.2.1\nsip1 3600 IN AAAA 2001:db8::1\n"
SECOND = "sip2 3600 IN A 192.0.2.2\nsip2 3600 IN AAAA 2001:db8::2\n"

# The rule, the zone that breaks it, words of the evidence, and lines of the fix.
CASES: list[tuple[str, str, str, list[str]]] = [
    (
        "no-server",
        "www 3600 IN A 192.0.2.1\n",
        "leads to no server",
        ["_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip.example.org."],
    ),
    (
        "caller-without-server",
        '@ 3600 IN NAPTR 10 10 "a" "SIPS+D2W" "" sip1\n' + FIRST,
        "there are some over wss",
        [],
    ),
    (
        "srv-without-naptr",
        edited(GOOD, ('@ 3600 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp\n', "")),
        "no NAPTR record leads to _sip._tcp.example.org",
        ['example.org. 3600 IN NAPTR 40 10 "s" "SIP+D2T" "" _sip._tcp.example.org.'],
    ),
    (
        "naptr-srv-missing",
        edited(GOOD, ("_sip._udp 3600", "_sip._udp2 3600")),
        'NAPTR 30 10 "SIP+D2U" leads to it, and it has no SRV records',
        ["_sip._udp.example.org. 3600 IN SRV 10 10 5060 sip1.example.org."],
    ),
    (
        "naptr-host-missing",
        GOOD + '@ 3600 IN NAPTR 40 10 "a" "SIP+D2W" "" ws\n',
        "neither A nor AAAA",
        ['- example.org. 3600 IN NAPTR 40 10 "a" "SIP+D2W" "" ws.example.org.'],
    ),
    (
        "naptr-flag",
        edited(GOOD, ('30 10 "s"', '30 10 "u"')),
        'has the flag "u"',
        [
            '- example.org. 3600 IN NAPTR 30 10 "u" "SIP+D2U" "" _sip._udp.example.org.',
            'example.org. 3600 IN NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp.example.org.',
        ],
    ),
    (
        "naptr-regexp",
        edited(
            GOOD,
            ('"SIP+D2U" "" _sip._udp\n', '"SIP+D2U" "!^.*$!_sip._udp.example.org!" .\n'),
        ),
        "alone",
        ['example.org. 3600 IN NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp.example.org.'],
    ),
    (
        "naptr-regexp-and-replacement",
        edited(GOOD, ('"SIP+D2U" ""', '"SIP+D2U" "!^.*$!_sip._udp.example.org!"')),
        "and the replacement _sip._udp.example.org",
        ['example.org. 3600 IN NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp.example.org.'],
    ),
    (
        "naptr-service",
        GOOD + '@ 3600 IN NAPTR 40 10 "s" "SIPS+D2U" "" _sips._udp\n',
        'names the service "SIPS+D2U"',
        ['- example.org. 3600 IN NAPTR 40 10 "s" "SIPS+D2U" "" _sips._udp.example.org.'],
    ),
    (
        "naptr-service-mismatch",
        edited(GOOD, (NAPTR_TLS, NAPTR_TLS.replace("_sips._tcp", "_sip._tcp"))),
        '"SIPS+D2T" leads to the SRV name of tcp',
        ['example.org. 3600 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.example.org.'],
    ),
    (
        "naptr-not-terminal",
        GOOD + '@ 3600 IN NAPTR 40 10 "" "SIP+D2U" "" voice\n'
        'voice 3600 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp\n',
        "it leads to the NAPTR records of voice.example.org",
        ['- example.org. 3600 IN NAPTR 40 10 "" "SIP+D2U" "" voice.example.org.'],
    ),
    (
        "naptr-loop",
        GOOD + '@ 3600 IN NAPTR 40 10 "" "" "" voice\nvoice 3600 IN NAPTR 10 10 "" "" "" @\n',
        "a loop: example.org → voice.example.org → example.org",
        ['- voice.example.org. 3600 IN NAPTR 10 10 "" "" "" example.org.'],
    ),
    (
        "naptr-plain-first",
        edited(GOOD, ("NAPTR 10 10", "NAPTR 40 10")),
        '"SIP+D2T" has order 20, preference 10, and "SIPS+D2T" has order 40',
        ['example.org. 3600 IN NAPTR 20 10 "s" "SIPS+D2T" "" _sips._tcp.example.org.'],
    ),
    (
        "srv-target-alias",
        edited(GOOD, (SRV_TLS_1, SRV_TLS_1.replace("sip1", "alias")))
        + "alias 3600 IN CNAME sip1\n",
        "alias.example.org is a CNAME for sip1.example.org",
        ["_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip1.example.org."],
    ),
    (
        "srv-target-no-address",
        edited(GOOD, (SRV_TLS_1, SRV_TLS_1.replace("sip1", "sip9"))),
        "sip9.example.org has neither A nor AAAA",
        ["- _sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip9.example.org."],
    ),
    (
        "srv-target-literal",
        edited(GOOD, (SRV_TLS_1, SRV_TLS_1.replace("sip1", "192.0.2.1."))),
        "192.0.2.1 is an address, where a name must stand",
        ["sip.example.org. 3600 IN A 192.0.2.1"],
    ),
    (
        "srv-not-offered-with-address",
        "@ 3600 IN A 192.0.2.80\n_sip._udp 3600 IN SRV 0 0 0 .\n",
        'its target is ".", and example.org has addresses: 192.0.2.80',
        ["- _sip._udp.example.org. 3600 IN SRV 0 0 0 ."],
    ),
    (
        "srv-not-offered-and-offered",
        GOOD + "_sip._udp 3600 IN SRV 30 0 0 .\n",
        'one target is ".", and others are sip1.example.org, sip2.example.org',
        ["- _sip._udp.example.org. 3600 IN SRV 30 0 0 ."],
    ),
    (
        "srv-misspelt",
        edited(GOOD, ("_sips._tcp 3600 IN SRV", "_sips._tls 3600 IN SRV")),
        "callers ask for _sips._tcp.example.org",
        [
            "- _sips._tls.example.org. 3600 IN SRV 10 10 5061 sip1.example.org.",
            "_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip1.example.org.",
        ],
    ),
    (
        "srv-name-unused",
        GOOD + "_sip._tls 3600 IN SRV 10 10 5061 sip1\n",
        "callers ask for _sips._tcp.example.org",
        ["- _sip._tls.example.org. 3600 IN SRV 10 10 5061 sip1.example.org."],
    ),
    (
        "srv-weights-zero",
        edited(
            GOOD,
            (SRV_TLS_1, SRV_TLS_1.replace("10 10", "10 0")),
            (SRV_TLS_2, SRV_TLS_2.replace("20 10", "10 0")),
        ),
        "2 targets of priority 10, all of weight 0",
        ["_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip2.example.org."],
    ),
    (
        "srv-weight-zero-beside-others",
        edited(GOOD, (SRV_TLS_2, SRV_TLS_2.replace("20 10", "10 0"))),
        "sip2.example.org has weight 0 at priority 10: chosen first once in 11",
        ["_sips._tcp.example.org. 3600 IN SRV 20 0 5061 sip2.example.org."],
    ),
    (
        "srv-duplicate",
        GOOD + "_sips._tcp 3600 IN SRV 30 10 5061 sip1\n",
        "sip1.example.org port 5061 stands 2 times",
        ["- _sips._tcp.example.org. 3600 IN SRV 30 10 5061 sip1.example.org."],
    ),
    (
        "srv-port",
        edited(GOOD, (SRV_TLS_1, SRV_TLS_1.replace("5061", "0"))),
        "sip1.example.org has port 0",
        ["_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip1.example.org."],
    ),
    (
        "srv-port-crossed",
        edited(GOOD, (SRV_TLS_1, SRV_TLS_1.replace("5061", "5060"))),
        "sip1.example.org has port 5060, where tls has 5061",
        ["_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip1.example.org."],
    ),
    (
        "srv-name-alias",
        edited(
            GOOD,
            (SRV_TLS_1, "_sips._tcp 3600 IN CNAME tls\ntls 3600 IN SRV 10 10 5061 sip1\n"),
            (SRV_TLS_2, "tls 3600 IN SRV 20 10 5061 sip2\n"),
        ),
        "it is a CNAME for tls.example.org",
        ["_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip1.example.org."],
    ),
    (
        "single-point-of-failure",
        edited(GOOD, (FIRST, "sip1 3600 IN A 192.0.2.1\n"), (SECOND, "sip2 3600 IN A 192.0.2.1\n")),
        "sip1.example.org, sip2.example.org have one address between them: 192.0.2.1",
        [],
    ),
    (
        "one-family",
        edited(GOOD, ("sip2 3600 IN AAAA 2001:db8::2\n", "")),
        "it has IPv4 addresses only",
        [],
    ),
    (
        "address-not-global",
        edited(GOOD, ("192.0.2.2", "10.0.0.2")),
        "10.0.0.2 is of a special-purpose range",
        [],
    ),
    (
        "alias-chain",
        edited(GOOD, (SRV_TLS_1, SRV_TLS_1.replace("sip1", "a")))
        + "a 3600 IN CNAME b\nb 3600 IN CNAME a\n",
        "a loop: a.example.org → b.example.org → a.example.org",
        ["- b.example.org. IN CNAME a.example.org."],
    ),
    (
        "alias-chain-long",
        edited(GOOD, (SRV_TLS_1, SRV_TLS_1.replace("sip1", "a")))
        + "a 3600 IN CNAME b\nb 3600 IN CNAME c\nc 3600 IN CNAME sip1\n",
        "3 CNAMEs: a.example.org → b.example.org → c.example.org → sip1.example.org",
        ["a.example.org. 3600 IN CNAME sip1.example.org."],
    ),
    (
        "sips-missing",
        edited(GOOD, (NAPTR_TLS, ""), (SRV_TLS_1, ""), (SRV_TLS_2, "")),
        "none at _sips._tcp.example.org",
        ["_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip1.example.org."],
    ),
    (
        "sips-without-server",
        edited(GOOD, (SRV_TLS_1, ""), (SRV_TLS_2, "")),
        '"SIPS+D2T" is offered, and no server is found over tls',
        ['- example.org. 3600 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.example.org.'],
    ),
    (
        "tcp-missing",
        edited(
            GOOD,
            ('@ 3600 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp\n', ""),
            ("_sip._tcp 3600 IN SRV 10 10 5060 sip1\n_sip._tcp 3600 IN SRV 20 10 5060 sip2\n", ""),
        ),
        "_sip._udp.example.org exists, _sip._tcp.example.org not",
        ["_sip._tcp.example.org. 3600 IN SRV 10 10 5060 sip1.example.org."],
    ),
    (
        "ttl-short",
        edited(GOOD, ("_sip._udp 3600", "_sip._udp 5"), ("_sip._tcp 3600", "_sip._tcp 3600")),
        "its TTL is 5 s",
        [
            "- _sip._udp.example.org. 5 IN SRV 10 10 5060 sip1.example.org.",
            "_sip._udp.example.org. 300 IN SRV 10 10 5060 sip1.example.org.",
        ],
    ),
    (
        "ttl-long",
        edited(GOOD, ("sip1 3600 IN A ", "sip1 604800 IN A ")),
        "its TTL is 604800 s",
        ["sip1.example.org. 3600 IN A 192.0.2.1"],
    ),
    (
        "ttl-mismatch",
        edited(GOOD, ("sip1 3600 IN A ", "sip1 60 IN A ")),
        "its TTL is 60 s, that of sip1.example.org AAAA is 3600 s",
        ["sip1.example.org. 3600 IN A 192.0.2.1"],
    ),
    (
        "wildcard-srv",
        GOOD + "*._udp 3600 IN SRV 10 10 5060 sip1\n",
        "a name that nobody published has SRV records",
        ["- *._udp.example.org. 3600 IN SRV 10 10 5060 sip1.example.org."],
    ),
    (
        "wildcard-address",
        GOOD + "* 3600 IN A 192.0.2.80\n",
        "a name that nobody published has addresses: 192.0.2.80",
        ["- *.example.org. 3600 IN A 192.0.2.80"],
    ),
]


@pytest.mark.parametrize(
    ("rule", "zone", "evidence", "lines"), CASES, ids=[one[0] for one in CASES]
)
def test_a_zone_that_breaks_the_rule_is_told_so(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    rule: str,
    zone: str,
    evidence: str,
    lines: list[str],
) -> None:
    checked = check_zone(capsys, tmp_path, zone)
    found = [one for one in checked.findings if one.id == rule]
    assert any(evidence in one.evidence for one in found), (checked.ids, found)
    shown = {f"- {line}" for one in found for line in one.remove}
    shown |= {line for one in found for line in one.publish}
    assert set(lines) <= shown
    assert lines or found[0].advice
    severity = next(one.severity for one in RULES if one.id == rule)
    assert {one.severity for one in found} == {severity}
    assert checked.exit_status == (
        1 if any(one.severity == "fault" for one in checked.findings) else 0
    )


# Rules whose subject a good domain lacks: zones that have it, and have it right.
PASSING = {
    "naptr-host-missing": GOOD + '@ 3600 IN NAPTR 40 10 "a" "SIP+D2W" "" sip1\n',
    "naptr-loop": GOOD
    + '@ 3600 IN NAPTR 40 10 "" "" "" voice\n'
    + 'voice 3600 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp\n',
    "srv-not-offered-with-address": GOOD + "_sip._sctp 3600 IN SRV 0 0 0 .\n",
}


def test_a_zone_that_keeps_the_rule_passes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    statuses = {
        rule: check_zone(capsys, tmp_path, PASSING.get(rule, GOOD)).checks[rule][0]
        for rule, *_ in CASES
    }
    assert statuses == {rule: "passed" for rule, *_ in CASES}


NOT_BY_LINES_ALONE = {"no-server", "naptr-loop"}
"""What they advise has to be done as well: addresses, or terminal records elsewhere."""


@pytest.mark.parametrize(
    ("rule", "zone"),
    [(rule, zone) for rule, zone, _, lines in CASES if lines and rule not in NOT_BY_LINES_ALONE],
)
def test_the_lines_to_remove_and_publish_put_it_right(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rule: str, zone: str
) -> None:
    records = records_of(zone)
    for finding in check_zone(capsys, tmp_path, zone).findings:
        if finding.id == rule:
            removed = {text for _, text in records_of("\n".join(finding.remove))}
            records = [one for one in records if one[1] not in removed]
            records += records_of("\n".join(finding.publish))
    lines = [text.replace(" IN ", f" {ttl} IN ", 1) for ttl, text in dict.fromkeys(records)]
    assert rule not in check_zone(capsys, tmp_path, "\n".join(lines) + "\n").ids, lines


def records_of(text: str) -> list[tuple[int, str]]:
    """TTL and ``name IN TYPE data`` of each record."""
    zone = dns.zone.from_text(
        f"$TTL 3600\n{text}\n", "example.org", relativize=False, check_origin=False
    )
    return [
        (ttl, f"{name} IN {dns.rdatatype.to_text(data.rdtype)} {data.to_text()}")
        for name, ttl, data in zone.iterate_rdatas()
    ]


def test_every_rule_is_broken_by_some_zone_or_needs_servers() -> None:
    by_servers = {
        "answer-needs-tcp",
        "tcp-refused",
        "type-unanswered",
        "resolvers-disagree",
        "lame-delegation",
        "nameserver-silent",
        "nameserver-no-address",
        "single-nameserver",
        "delegation-mismatch",
        "nameservers-disagree",
        "dnssec-bogus",
        "dnssec-expired",
        "dnssec-expires-soon",
    }
    assert {one.id for one in RULES} == {one[0] for one in CASES} | by_servers
