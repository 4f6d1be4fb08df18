"""``sipdns check`` as a command: what it takes, what it prints, how it ends."""

from pathlib import Path

import pytest

from natkit.cli.entry import run
from sipdns.cli import app
from tests.sipdns.diagnosis.checking import GOOD, check, check_zone


def sipdns(*arguments: str) -> int:
    return run(app, "sipdns", arguments=["check", *arguments])


def test_a_dns_out_of_reach_is_status_3_and_no_check_has_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Port 9 is discard; nothing on this machine answers DNS there.
    checked = check(capsys, ["example.org", "--resolver", "127.0.0.1:9"])
    assert (checked.exit_status, checked.status, checked.findings) == (3, "error", ())
    statuses = {status for status, _ in checked.checks.values()}
    assert statuses <= {"error", "not_tested"}
    assert "connection refused" in checked.checks["no-server"][1]
    queries = checked.document["queries"]
    assert isinstance(queries, list)
    # A silent DNS is not asked on: these are the questions of the lookups alone.
    assert {one["result"] for one in queries} == {"no answer"}
    assert len(queries) < 12


def test_an_address_needs_no_dns(capsys: pytest.CaptureFixture[str]) -> None:
    checked = check(capsys, ["sips:192.0.2.1", "--resolver", "127.0.0.1:9"])
    assert (checked.exit_status, checked.document["queries"]) == (0, [])
    assert checked.checks["no-server"][0] == "passed"
    assert checked.checks["srv-port"] == (
        "not_tested",
        "the host is an address: nothing is asked of the DNS",
    )
    read = checked.document["input"]
    assert isinstance(read, dict)
    assert read["clause"] == "RFC 3263 §4.1, §4.2: numeric"


@pytest.mark.parametrize(
    ("uri", "clause"),
    [
        ("example.org", "RFC 3263 §4.1: NAPTR"),
        ("sip:example.org;transport=tcp", "RFC 3263 §4.1: transport parameter"),
        ("sip:sip1.example.org:5070", "RFC 3263 §4.1, §4.2: port"),
        ("turn:example.org", "RFC 5928 §3"),
        ("stun:sip1.example.org", "RFC 8489 §8.1"),
    ],
)
def test_the_clause_by_which_the_uri_is_read_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, uri: str, clause: str
) -> None:
    file = tmp_path / "zone"
    file.write_text(f"$ORIGIN example.org.\n{GOOD}_turn._udp 3600 IN SRV 10 10 3478 sip1\n")
    checked = check(capsys, [uri, "--zonefile", str(file)])
    read = checked.document["input"]
    assert isinstance(read, dict)
    assert read["clause"] == clause
    assert checked.checks["no-server"][0] == "passed"
    assert checked.exit_status == 0


def test_the_plan_has_chances_and_what_a_caller_waits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    zone = GOOD.replace(
        "_sips._tcp 3600 IN SRV 20 10 5061 sip2", "_sips._tcp 3600 IN SRV 10 30 5061 sip2"
    )
    document = check_zone(capsys, tmp_path, zone, "--seed", "1").document
    plans = document["plans"]
    assert isinstance(plans, list)
    (tls,) = [one["targets"] for one in plans if one["transport"] == "tls"]
    assert [one["begins"] for one in tls] == [0.0, 32.0, 64.0, 96.0]
    first = {one["host"]: one["first"] for one in tls if one["first"]}
    # RFC 2782 draws from 0 to 40; the outcome 0 falls to whichever stands in front.
    assert first == {
        "sip1.example.org": pytest.approx(10.5 / 41, abs=1e-6),
        "sip2.example.org": pytest.approx(30.5 / 41, abs=1e-6),
    }


def test_failover_is_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checked = check_zone(capsys, tmp_path, GOOD, "--explain-failover", "1,2=refused,3=503")
    attempts = checked.document["failover"]
    assert isinstance(attempts, list)
    assert [(one["number"], one["begins"], one["outcome"]) for one in attempts] == [
        (1, 0.0, "silent"),
        (2, 32.0, "refused"),
        (3, 32.0, "503"),
        (4, 32.0, "answered"),
    ]
    file = str(tmp_path / "example.org.zone")
    assert sipdns("example.org", "--zonefile", file, "--explain-failover", "1,2,3,4") == 0
    assert "at 128 s: no target is left; the call fails" in capsys.readouterr().out


def test_accepted_rules_are_not_applied(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    zone = GOOD.replace("sip2 3600 IN AAAA 2001:db8::2\n", "")
    assert check_zone(capsys, tmp_path, zone).ids == {"one-family"}
    by_option = check_zone(capsys, tmp_path, zone, "--accept", "one-family")
    by_comment = check_zone(capsys, tmp_path, f"{zone}; sipdns: accept one-family\n")
    assert by_option.ids == by_comment.ids == set()
    assert by_option.checks["one-family"] == ("not_tested", "accepted")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "URI"),
        (["tel:+1-201-555-0123"], "names a number"),
        (["x.example", "--transports", "quic"], "--transports has 'quic'"),
        (["x.example", "--compare", "192.0.2.1"], "--compare needs two resolvers"),
        (["x.example", "--compare", "192.0.2.1,dns"], "'dns' is not an IP address"),
        (["x.example", "--accept", "nonsense"], "--accept has 'nonsense'"),
        (["x.example", "--explain-failover", "0"], "--explain-failover has '0'"),
        (["x.example", "--explain-failover", "1=gone"], "silent, refused or 503"),
        (["192.0.2.1", "--explain-failover", "2"], "the plan has 1 targets"),
        (["x.example", "--zonefile", "no-such-file"], "no-such-file: No such file or directory"),
        (["x.example", "--zonefile", "/"], "--zonefile /: Is a directory"),
        (["x.example", "--zonefile", "z", "--probe"], "give one of them"),
        (["x.example", "--resolver", "192.0.2.1#name"], "a name is for --dot only"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert sipdns(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("_sip._udp 3600 IN SRV 10 10 5060\n", "zone:2: "),
        ("\n_sip._udp IN SRV 10 10 5060 sip1\n", "TTL"),
        ("$ORIGIN example.net.\n@ 60 IN A 192.0.2.1\n", "is the zone example.net"),
        ("$INCLUDE /no/such/file\n", "it is to be a zone file"),
    ],
)
def test_a_zone_file_that_cannot_be_read_is_told_with_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "zone"
    file.write_text(text)
    assert sipdns("example.org", "--zonefile", str(file)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert str(file) in error
    assert says in error


def test_what_lies_beyond_a_zone_file_is_not_tested(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    zone = GOOD.replace("5061 sip2", "5061 sip.example.net.") + "sub 3600 IN NS ns.sub\n"
    checked = check_zone(capsys, tmp_path, zone)
    assert checked.findings == ()
    status, reason = checked.checks["srv-target-no-address"]
    assert status == "not_tested"
    assert "sip.example.net is beyond" in reason
    assert checked.exit_status == 0
    file = tmp_path / "delegating"
    file.write_text(f"$ORIGIN example.org.\n{zone}")
    assert sipdns("host.sub.example.org", "--zonefile", str(file)) == 2
    assert "host.sub.example.org is beyond" in capsys.readouterr().err


def test_a_hostile_zone_ends_and_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wide = "".join(f'@ 60 IN NAPTR 10 10 "" "SIP+D2U" "" n{one}\n' for one in range(400))
    deep = "".join(f'n{one} 60 IN NAPTR 1 1 "" "SIP+D2U" "" n{one + 1}\n' for one in range(400))
    srv = "".join(f"_sip._udp 60 IN SRV 1 1 5060 h{one}\n" for one in range(900))
    checked = check_zone(capsys, tmp_path, wide + deep + srv)
    assert {"naptr-not-terminal", "srv-target-no-address"} <= checked.ids
    queries = checked.document["queries"]
    assert isinstance(queries, list)
    assert len(queries) <= 500
