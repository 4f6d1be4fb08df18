import json

import pytest

from natkit.cli.entry import run
from sipdns.cli import app


def sipdns(*arguments: str) -> int:
    return run(app, "sipdns", arguments=arguments)


def test_a_numeric_uri_needs_no_dns_and_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert sipdns("resolve", "sips:192.0.2.1") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [line.rstrip() for line in printed.out.splitlines()] == [
        "sips:192.0.2.1  TLS, 1 address, certificate for 192.0.2.1",
        "",
        "try  address         host",
        "──────────────────────────────",
        "  1  192.0.2.1:5061  192.0.2.1",
        "",
        "Why",
        "target     chosen       192.0.2.1",
        "                        the host of the URI (RFC 3263 §4)",
        "transport  chosen       tls",
        "                        the default, for a numeric host (RFC 3263 §4.1)",
        "address    chosen       192.0.2.1:5061",
        "                        no lookup: the default port (RFC 3263 §4.2)",
    ]


def test_json_is_one_object_of_the_documented_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert sipdns("resolve", "sip:[2001:db8::1]:5070;transport=tcp", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "uri": "sip:[2001:db8::1]:5070;transport=tcp",
        "targets": [
            {
                "transport": "tcp",
                "address": "2001:db8::1",
                "port": 5070,
                "host": "2001:db8::1",
                "family": "ipv6",
                "priority": None,
                "weight": None,
                "probability": 1.0,
                "tls_name": "2001:db8::1",
            }
        ],
        "decisions": [
            {
                "step": "target",
                "subject": "2001:db8::1",
                "verdict": "chosen",
                "reason": "the host of the URI",
                "rfc": "RFC 3263 §4",
            },
            {
                "step": "transport",
                "subject": "tcp",
                "verdict": "chosen",
                "reason": "the URI names it",
                "rfc": "RFC 3263 §4.1",
            },
            {
                "step": "address",
                "subject": "[2001:db8::1]:5070",
                "verdict": "chosen",
                "reason": "no lookup: the port of the URI",
                "rfc": "RFC 3263 §4.2",
            },
        ],
    }


def test_no_server_is_status_1_and_json_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert sipdns("resolve", "sips:192.0.2.1", "--transports", "udp,tcp", "--json") == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["targets"] == []
    assert result["decisions"][-1]["verdict"] == "passed over"
    assert printed.err == (
        "error: sips:192.0.2.1 leads to no server: sips: "
        "sips: needs a secure transport, and the transports to use are udp, tcp\n"
    )


def test_a_dns_out_of_reach_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    # Port 9 is discard; nothing on this machine answers DNS there.
    assert sipdns("resolve", "example.org", "--resolver", "127.0.0.1:9") == 3
    printed = capsys.readouterr()
    assert printed.err == (
        "error: the DNS gave no answer for example.org A: 127.0.0.1:9: connection refused\n"
    )
    assert "no server" in printed.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sip:"], "'' is neither a host name nor an IP address"),
        (["sip:alice@exa mple.org"], "'exa mple.org' is neither a host name nor an IP address"),
        (["tel:+1-201-555-0123"], "names a number, not a domain"),
        (["http://example.org"], "is not a sip:, sips:, stun: or turn: URI"),
        (["sips:example.org;transport=udp"], "a sips: URI cannot ask for udp"),
        (["sip:x.y", "--transports", "udp,quic"], "--transports has 'quic'"),
        (["sip:x.y", "--transports", ""], "--transports has ''"),
        (["sip:x.y", "--resolver", "dns.example"], "--resolver: 'dns.example' is not an IP"),
        (
            ["sip:x.y", "--resolver", "192.0.2.1:99999"],
            "--resolver: '192.0.2.1:99999' has no",
        ),
        (["sip:x.y", "--seed", "x"], "--seed"),
        ([], "URI"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert sipdns("resolve", *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err


@pytest.mark.parametrize("arguments", [["--help"], ["resolve", "--help"]])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert sipdns(*arguments) == 0
    assert "sipdns resolve sip:alice@example.org" in capsys.readouterr().out


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert sipdns("--version") == 0
    assert capsys.readouterr().out.startswith("natkit ")
