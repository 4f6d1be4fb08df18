"""The guide to publishing a SIP domain: each of its configurations runs in a real named.

A comment before a block says what it is::

    <!-- file: one/example.org.zone -->      a file of the example "one"
    <!-- run -->                             commands that need no nameserver
    <!-- run in one -->                      … that ask the named of that example
    <!-- run in two with one/a.zone -->      … which has a file of another example as well
    <!-- run in two with …, A being B -->    … and has B in place of the network A

The addresses of the nameservers become loopback, and the port a free one.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype
import pytest

from natkit.address import Address
from natkit.cli.entry import run
from sipdns.cli import app
from tests.peering.plugin import StartNamed
from tests.project.snippets import Command, commands, words
from tests.project.tree import ROOT

GUIDE = ROOT / "docs" / "guides" / "publishing-a-sip-domain.md"
BLOCK = re.compile(
    r"^<!-- (?P<directive>[^\n]*) -->\n```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUN = re.compile(r"run(?: in (\w+))?(?: with ([\w./, -]+?))?(?:, (\S+) being (\S+))?")
DIRECTORY = "/var/lib/bind"
NAMESERVERS = ("192.0.2.53", "198.51.100.53")
ZONE = re.compile(r'^\s*zone "([^"]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """Commands, and the files of the named that they are run against."""

    name: str
    files: tuple[str, ...]
    replaced: tuple[str, str] | None
    commands: tuple[Command, ...]


def blocks() -> list[re.Match[str]]:
    return list(BLOCK.finditer(GUIDE.read_text(encoding="utf-8")))


def files() -> dict[str, str]:
    """The files of the guide by example and name."""
    return {
        match["directive"].removeprefix("file: "): match["body"]
        for match in blocks()
        if match["directive"].startswith("file: ")
    }


def examples() -> list[Example]:
    found = []
    for match in blocks():
        if match["language"] != "console":
            continue
        read = RUN.fullmatch(match["directive"])
        assert read is not None, match["directive"]
        own = [name for name in files() if read[1] and name.startswith(f"{read[1]}/")]
        others = [one.strip() for one in (read[2] or "").split(",") if one.strip()]
        replaced = (read[3], read[4]) if read[3] else None
        found.append(
            Example(read[1] or "", (*own, *others), replaced, tuple(commands(match["body"])))
        )
    return found


EXAMPLES = examples()


@pytest.mark.peer("bind9")
@pytest.mark.parametrize(
    "example", EXAMPLES, ids=[f"{one.name}{i}" for i, one in enumerate(EXAMPLES)]
)
def test_the_commands_of_the_guide_find_nothing_wrong(
    start_named: StartNamed,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    example: Example,
) -> None:
    nameserver = started(start_named, tmp_path, example) if example.name else None
    for command in example.commands:
        arguments = shlex.split(command.text.replace(DIRECTORY, str(tmp_path)))[1:]
        if nameserver is not None:
            arguments = [str(nameserver) if one == NAMESERVERS[0] else one for one in arguments]
        online = arguments[0] == "check" and "--zonefile" not in arguments
        if online and nameserver is not None:
            arguments += ["--authority-port", str(nameserver.port)]
        assert run(app, "sipdns", arguments=arguments) == 0, command.text
        printed = capsys.readouterr().out
        for word in command.shown_words:
            assert word in words(printed), (command.text, word)
        if arguments[0] == "check":
            assert run(app, "sipdns", arguments=[*arguments, "--json"]) == 0
            document = json.loads(capsys.readouterr().out)
            assert document["findings"] == []
            statuses = {one["id"]: one["status"] for one in document["checks"]}
            assert statuses["srv-target-no-address"] == "passed"
            signed = online and example.name == "dnssec"
            assert statuses["dnssec-expires-soon"] == ("passed" if signed else "not_tested")


def started(start_named: StartNamed, directory: Path, example: Example) -> Address:
    """Start the named of an example, its files in ``directory``."""
    configuration = ""
    for name in example.files:
        text = files()[name]
        for documented in NAMESERVERS:
            text = text.replace(documented, "127.0.0.1")
        if name.endswith("named.conf.local"):
            configuration = text.replace(DIRECTORY, str(directory))
        else:
            (directory / Path(name).name).write_text(text)
    if example.replaced is not None:
        assert example.replaced[0] in configuration
        configuration = configuration.replace(*example.replaced)
    zones = ZONE.findall(configuration)
    assert zones
    address = start_named({}, statements=configuration, served=zones)
    while "dnssec-policy" in configuration and not is_signed(address):
        pass
    return address


def is_signed(nameserver: Address) -> bool:
    """Whether named has done its part; pytest's time limit ends the waiting."""
    query = dns.message.make_query("example.org", "SOA", want_dnssec=True)
    answer = dns.query.udp(query, nameserver.host, 5, nameserver.port)
    return any(one.rdtype == dns.rdatatype.RRSIG for one in answer.answer)


def test_every_file_of_the_guide_is_used() -> None:
    assert {name for one in EXAMPLES for name in one.files} == set(files())
