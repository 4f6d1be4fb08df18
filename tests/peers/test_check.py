"""``sipdns check`` against real nameservers and a real SIP server."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.dnssec
import dns.dnssectypes
import dns.name
import dns.rdtypes.ANY.DNSKEY
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from natkit.cli.entry import run
from sipdns.cli import app
from tests.certificates import Authority
from tests.peering.plugin import StartKamailio, StartNamed
from tests.project.snippets import commands
from tests.project.tree import ROOT
from tests.sipdns.diagnosis.checking import GOOD, Checked, check

pytestmark = pytest.mark.peer("bind9")

ZONE = f"""\
$TTL 3600
@ 3600 IN SOA ns1 hostmaster 1 3600 600 86400 60
@ 3600 IN NS ns1
@ 3600 IN NS ns2
ns1 3600 IN A 127.0.0.1
ns2 3600 IN A 127.0.0.1
{GOOD}"""


def check_at(
    capsys: pytest.CaptureFixture[str], port: int, *arguments: str, domain: str = "example.org"
) -> Checked:
    server = f"127.0.0.1:{port}"
    return check(capsys, [domain, "--resolver", server, "--authority-port", str(port), *arguments])


def test_a_good_domain_has_no_finding(
    start_named: StartNamed, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = check_at(capsys, start_named({"example.org": ZONE}).port)
    assert checked.findings == ()
    assert (checked.exit_status, checked.status) == (0, "passed")
    assert checked.document["rounds"] in (1, 2)
    for rule in ("lame-delegation", "tcp-refused", "single-nameserver", "ttl-short"):
        assert checked.checks[rule][0] == "passed"
    # The parent's servers cannot be found here, which is no fault of the domain.
    assert checked.checks["delegation-mismatch"][0] == "error"


def test_a_server_that_does_not_have_the_zone_is_lame(
    start_named: StartNamed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "example.org.zone"
    file.write_text(ZONE.replace("ns2 3600 IN A 127.0.0.1", "ns2 3600 IN AAAA ::1"))
    views = f"""
        view "lame" {{ match-destinations {{ ::1; }}; recursion no; }};
        view "good" {{
            match-destinations {{ any; }};
            zone "example.org" {{ type primary; file "{file}"; }};
        }};"""
    named = start_named(
        {}, "listen-on-v6 port @PORT@ { ::1; };", statements=views, served=["example.org"]
    )
    checked = check_at(capsys, named.port)
    found = checked.of("lame-delegation")
    assert found.subject == "ns2.example.org"
    assert f"[::1]:{named.port} says REFUSED" in found.evidence
    assert checked.exit_status == 1


def test_a_truncated_answer_is_fetched_over_tcp_and_noted(
    start_named: StartNamed, capsys: pytest.CaptureFixture[str]
) -> None:
    many = "".join(
        f"_sip._udp 3600 IN SRV 30 10 {port} a-host-with-a-rather-long-name-{port}\n"
        f"a-host-with-a-rather-long-name-{port} 3600 IN A 192.0.2.7\n"
        f"a-host-with-a-rather-long-name-{port} 3600 IN AAAA 2001:db8::7\n"
        for port in range(5062, 5082)
    )
    checked = check_at(capsys, start_named({"example.org": ZONE + many}).port)
    found = checked.of("answer-needs-tcp")
    assert found.subject == "_sip._udp.example.org SRV"
    assert re.match(r"22 records in \d{4} bytes: truncated over UDP", found.evidence)
    queries = checked.document["queries"]
    assert isinstance(queries, list)
    row = next(one for one in queries if one["name"] == "_sip._udp.example.org")
    assert (row["carrier"], row["truncated"]) == ("tcp", True)


@pytest.mark.parametrize(
    ("days", "finds"), [(-2, "dnssec-expired"), (1, "dnssec-expires-soon"), (30, None)]
)
def test_the_end_of_the_signatures_of_a_signed_zone_is_told(
    start_named: StartNamed, capsys: pytest.CaptureFixture[str], days: int, finds: str | None
) -> None:
    checked = check_at(capsys, start_named({"example.org": signed(ZONE, days)}).port)
    assert checked.ids == ({finds} if finds else set())
    if finds is None:
        assert checked.checks["dnssec-expires-soon"][0] == "passed"


def signed(text: str, days: int) -> str:
    """The zone with signatures that end in so many days."""
    zone = dns.zone.from_text(text, "example.org.", relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(key.public_key(), dns.dnssectypes.Algorithm.ECDSAP256SHA256)
    now = datetime.now(UTC)
    with zone.writer() as transaction:
        dns.dnssec.sign_zone(
            zone,
            transaction,
            keys=[(key, public)],
            inception=now - timedelta(days=60),
            expiration=now + timedelta(days=days),
        )
    return zone.to_text(relativize=False)


def test_the_report_is_at_most_80_columns_wide(
    start_named: StartNamed, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = ZONE.replace('30 10 "s"', '30 10 "u"') + "*._udp 3600 IN SRV 0 0 5060 sip9\n"
    server = str(start_named({"example.org": broken}))
    status = run(
        app,
        "sipdns",
        arguments=["check", "example.org", "--resolver", server, "--authority-port", "9"],
    )
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert max(map(len, lines)) <= 80
    assert lines[0] == lines[-1]
    assert lines[0].startswith("sip:example.org  ✗ faulty  ")
    for heading in ("Input", "DNS", "NAPTR", "Plan", "TLS", "Findings", "Checks"):
        assert any(line.startswith(heading) for line in lines), heading


def test_the_commands_of_the_page_run(
    start_named: StartNamed, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "sipdns-check.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    server = str(start_named({"example.org": ZONE}))
    for command in commands(block):
        arguments = command.text.replace("192.0.2.53:53", server).split()[1:]
        assert run(app, "sipdns", arguments=arguments) == 0
        assert "Findings  none" in capsys.readouterr().out


@pytest.mark.peer("kamailio")
@pytest.mark.parametrize(("name", "status"), [("example.org", 0), ("other.example", 1)])
def test_a_probe_says_whom_it_contacts_and_what_it_finds(
    start_named: StartNamed,
    start_kamailio: StartKamailio,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    status: int,
) -> None:
    authority = Authority(tmp_path)
    kamailio = start_kamailio(authority.issue(name))
    zone = (
        '@ NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp\n'
        f"_sips._tcp SRV 10 10 {kamailio.secure.port} sip\n"
        f"_sip._udp SRV 10 10 {kamailio.plain.port} sip\n"
        f"sip A {kamailio.plain.host}\n"
    )
    server = str(start_named({"example.org": zone}))
    arguments = ["check", "example.org", "--resolver", server, "--probe"]
    arguments += ["--probe-ca", str(authority.file)]
    assert run(app, "sipdns", arguments=arguments) == status
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"contacting: SIP OPTIONS over UDP to {kamailio.plain} (sip.example.org)",
        f"contacting: SIP OPTIONS over TLS to {kamailio.secure} (sip.example.org)",
    ]
    assert "200 Alive in " in printed.out
    assert ("✗ certificate name" in printed.out) == bool(status)
    assert ("1 of 2 servers not well" in printed.out.splitlines()[-1]) == bool(status)
    assert run(app, "sipdns", arguments=[*arguments, "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == ("failed" if status else "info")
    udp, tls = document["probes"]
    assert (udp["status"], tls["status"]) == ("passed", "failed" if status else "passed")
    assert (udp["answer"]["status"], udp["answer"]["reason"]) == (200, "Alive")
    assert {one["name"]: one["status"] for one in tls["checks"]}["certificate name"] == (
        "failed" if status else "passed"
    )
