"""Runs ``sipdns check`` in-process and reads what it printed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from natkit.cli.entry import run
from sipdns.cli import app

GOOD = """\
@ 3600 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp
@ 3600 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp
@ 3600 IN NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp
_sips._tcp 3600 IN SRV 10 10 5061 sip1
_sips._tcp 3600 IN SRV 20 10 5061 sip2
_sip._tcp 3600 IN SRV 10 10 5060 sip1
_sip._tcp 3600 IN SRV 20 10 5060 sip2
_sip._udp 3600 IN SRV 10 10 5060 sip1
_sip._udp 3600 IN SRV 20 10 5060 sip2
sip1 3600 IN A 192.0.2.1
sip1 3600 IN AAAA 2001:db8::1
sip2 3600 IN A 192.0.2.2
sip2 3600 IN AAAA 2001:db8::2
"""
"""A domain with which nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Found:
    """One finding of ``--json``."""

    id: str
    severity: str
    subject: str
    evidence: str
    remove: tuple[str, ...]
    publish: tuple[str, ...]
    advice: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What the command printed and how it ended."""

    exit_status: int
    status: str
    findings: tuple[Found, ...]
    checks: dict[str, tuple[str, str]]
    """By rule: the status, and the reason where there is one."""
    document: dict[str, object]

    @property
    def ids(self) -> set[str]:
        """The rules that found something."""
        return {one.id for one in self.findings}

    def of(self, rule: str) -> Found:
        """The only finding of a rule."""
        (found,) = [one for one in self.findings if one.id == rule]
        return found


def edited(zone: str, *changes: tuple[str, str]) -> str:
    """The zone with each first text replaced by the second, which must occur."""
    for old, new in changes:
        assert old in zone, old
        zone = zone.replace(old, new)
    return zone


def check(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], *, command: str = "check"
) -> Checked:
    """Run it with --json."""
    status = run(app, "sipdns", arguments=[command, *arguments, "--json"])
    printed = capsys.readouterr()
    assert printed.err == "", printed.err
    document: dict[str, object] = json.loads(printed.out)
    return Checked(
        status,
        str(document["status"]),
        tuple(
            Found(
                str(one["id"]),
                str(one["severity"]),
                str(one["subject"]),
                str(one["evidence"]),
                tuple(one["remove"]),
                tuple(one["publish"]),
                str(one["advice"]),
            )
            for one in _rows(document, "findings")
        ),
        {
            str(one["id"]): (str(one["status"]), str(one["reason"]))
            for one in _rows(document, "checks")
        },
        document,
    )


def check_zone(
    capsys: pytest.CaptureFixture[str],
    directory: Path,
    zone: str,
    *arguments: str,
    uri: str = "example.org",
) -> Checked:
    """Lint a zone file."""
    file = directory / "example.org.zone"
    file.write_text(zone)
    return check(capsys, [uri, "--zonefile", str(file), *arguments])


def _rows(document: dict[str, object], key: str) -> list[dict[str, list[str]]]:
    rows = document[key]
    assert isinstance(rows, list)
    return rows
