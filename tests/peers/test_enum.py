"""``sipdns enum`` with BIND 9: over UDP, over TLS and validated."""

import json
import time
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.cli.entry import application, run
from sipdns.cli_enum import EXAMPLE, enum
from tests.certificates import Authority
from tests.peering.plugin import StartNamed
from tests.peering.ports import free_port
from tests.sipdns.signed_world import DAY, SignedWorld, Signing

pytestmark = pytest.mark.peer("bind9")

app = application("ENUM", example=EXAMPLE)
app.command()(enum)

NUMBER = "+44 1632 960083"
TREE = r"""
3.8.0.0.6.9.2.3.6.1.4.4 60 IN NAPTR 100 10 "u" "E2U+sip" "!^\\+44(.*)$!sip:0\\1@example.com!" .
3.8.0.0.6.9.2.3.6.1.4.4 60 IN NAPTR 100 20 "u" "E2U+voice:tel" "!^(.*)$!tel:\\1!" .
3.8.0.0.6.9.2.3.6.1.4.4 60 IN NAPTR 100 30 "u" "E2U+sip" "!^(a+)+$!sip:x@example.com!" .
3.8.0.0.6.9.2.3.6.1.4.4 60 IN NAPTR 200 10 "" "" "" carrier
carrier 60 IN NAPTR 10 10 "u" "E2U+email:mailto" "!^.*$!mailto:info@example.com!" .
"""


def sipdns(*arguments: str) -> int:
    return run(app, "sipdns", arguments=["enum", *arguments])


@pytest.fixture
def bind(start_named: StartNamed) -> Address:
    return start_named(
        {"e164.arpa": TREE, "enum.example": TREE.replace("example.com", "b.example")}
    )


def test_the_uris_are_shown_in_order_with_every_record(
    bind: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sipdns(NUMBER, "--resolver", str(bind)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [line.rstrip() for line in printed.out.splitlines()] == [
        "1.  sip:01632960083@example.com  sip",
        "2.  tel:+441632960083            voice:tel",
        "3.  mailto:info@example.com      email:mailto",
        "",
        "3.8.0.0.6.9.2.3.6.1.4.4.e164.arpa",
        '  ✓ 100 10 "u" "E2U+sip"',
        "      sip:01632960083@example.com",
        '  ✓ 100 20 "u" "E2U+voice:tel"',
        "      tel:+441632960083",
        '  · 100 30 "u" "E2U+sip"',
        "      its regexp does not match +441632960083",
        '  → 200 10 "" ""',
        "      leads to carrier.e164.arpa",
        "carrier.e164.arpa",
        '  ✓ 10 10 "u" "E2U+email:mailto"',
        "      mailto:info@example.com",
    ]


def test_a_private_tree_and_a_service(bind: Address, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--resolver", str(bind), "--suffix", "enum.example", "--service", "sip", "--json")
    assert sipdns(NUMBER, *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert [one["uri"] for one in found["uris"]] == ["sip:01632960083@b.example"]
    assert found["uris"][0]["domain"] == "3.8.0.0.6.9.2.3.6.1.4.4.enum.example"


def test_the_exit_status_tells_absence_from_failure_and_wrong_use(
    bind: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sipdns("+1", "--resolver", str(bind)) == 1
    assert "+1 has no URI in e164.arpa" in capsys.readouterr().err
    closed = Address("127.0.0.1", free_port("127.0.0.1"))
    assert sipdns("+1", "--resolver", str(closed)) == 3
    assert "connection refused" in capsys.readouterr().err
    for arguments in (
        ["441632960083"],
        ["+1", "--suffix", "a..b"],
        ["+1", "--service", "sip+voice"],
        ["+1", "--resolver", "127.0.0.1#name"],
        ["+1", "--resolver", "resolver.example"],
        ["+1", "--doh", "http://127.0.0.1/"],
        ["+1", "--doh", "nonsense"],
        ["+1", "--doh", "https://127.0.0.1/", "--dot"],
        ["+1", "--resolver", "127.0.0.1#-", "--dot"],
        ["+1", "--resolver-ca", "/nowhere", "--resolver", "127.0.0.1"],
        ["+1", "--trust-anchor", "/nowhere", "--resolver", "127.0.0.1"],
        ["+1", "--trust-anchor", "/nowhere", "--validate", "--resolver", "127.0.0.1"],
        ["+1", "--trust-anchor", __file__, "--validate", "--resolver", "127.0.0.1"],
    ):
        assert sipdns(*arguments) == 2, arguments
        printed = capsys.readouterr()
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1, printed.err


def test_over_tls_and_https_and_validated(
    start_named: StartNamed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    signing = Signing(inception=now - DAY, expiration=now + DAY)
    world = SignedWorld({".": "", "arpa.": "", "e164.arpa.": TREE}, default=signing)
    authority = Authority(tmp_path)
    issued = authority.issue("127.0.0.1", "resolver.example")
    tls, https = free_port("127.0.0.1"), free_port("127.0.0.1")
    start_named(
        {name.to_text(): zone.text for name, zone in world.zones.items()},
        f"listen-on port {tls} tls own {{ 127.0.0.1; }};"
        f"listen-on port {https} tls own http own {{ 127.0.0.1; }};",
        f'tls own {{ cert-file "{issued.chain}"; key-file "{issued.key}"; }};'
        'http own { endpoints { "/dns-query"; }; };',
    )
    anchor = tmp_path / "anchor"
    anchor.write_text(f". IN DNSKEY {next(iter(world.anchors.values()))[0]}\n")
    trust = ("--resolver-ca", str(authority.file), "--json")
    for server in (
        ("--resolver", f"127.0.0.1:{tls}", "--dot"),
        ("--resolver", f"127.0.0.1:{tls}#resolver.example", "--dot"),
        ("--doh", f"https://127.0.0.1:{https}/dns-query"),
    ):
        for validated in ((), ("--validate", "--trust-anchor", str(anchor))):
            assert sipdns(NUMBER, *server, *trust, *validated) == 0
            found = json.loads(capsys.readouterr().out)
            assert len(found["uris"]) == 3
            securities = {one["security"] for one in found["asked"]}
            assert securities == {"secure" if validated else "indeterminate"}
    wrong = ("--validate",)
    assert sipdns(NUMBER, "--resolver", f"127.0.0.1:{tls}", "--dot", *trust, *wrong) == 3
    assert "bogus" in capsys.readouterr().err
