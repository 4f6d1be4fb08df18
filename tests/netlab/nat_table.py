"""Asks each tool behind each NAT of the lab, and writes docs/nat-tools.md.

``python -m tests.netlab.nat_table`` needs root, the peers of the lab, and a package index for
pystun3.  Each question has a NAT of its own, so that no tool meets what another one left there.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.netlab.forwarder import Weather
from tests.netlab.namespaces import Lab, lab
from tests.netlab.nat_tools import PYSTUN3, TIME_LIMIT, TOOLS, Said, Tool, words
from tests.netlab.nats import TRUTH, Internet, Kind
from tests.netlab.servers import Server, serving
from tests.peering.roster import program_path

PAGE: Final = Path(__file__).parents[2] / "docs" / "nat-tools.md"
RELEASE: Final = (
    "pystun3==2.0.0 "
    "--hash=sha256:4824c72d2c8c0297df92dbdf7cc57b346d6cf0de4e5a428c3be12d28a8bce0f3\n"
)
AT_ONCE: Final = 16
"""Tools that run side by side; they wait most of the time."""
IN_BAD_WEATHER: Final = (Kind.FULL_CONE, Kind.PORT_RESTRICTED, Kind.SYMMETRIC)
WEATHER: Final = Weather(delay=0.1, loss=0.05)
RUNS: Final = 10

TITLES: Final = {
    Kind.OPEN: "none",
    Kind.FULL_CONE: "full cone",
    Kind.ADDRESS_RESTRICTED: "filters by address",
    Kind.PORT_RESTRICTED: "filters by port; the router's own ports closed",
    Kind.PORT_RESTRICTED_INPUT_OPEN: "filters by port; the router's own ports open",
    Kind.SYMMETRIC: "symmetric; the router's own ports closed",
    Kind.SYMMETRIC_INPUT_OPEN: "symmetric; the router's own ports open",
    Kind.NESTED: "two, the outer one a carrier's",
    Kind.HAIRPINNING: "full cone that hairpins",
    Kind.UDP_BLOCKED: "UDP blocked",
    Kind.SHORT_LIVED: "forgets in seconds",
    Kind.FIREWALL_IPV6: "none, a firewall; IPv6",
    Kind.NAT64: "NAT64",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One run of one tool; ``run`` chooses which packets are lost."""

    tool: Tool
    kind: Kind
    server: Server = Server.OURS
    run: int | None = None


# ── asking ──────────────────────────────────────────────────────────────────────────────────────


def ask(net: Internet, questions: Sequence[Question]) -> dict[Question, Said]:
    """Run them side by side, each behind a NAT of its own."""
    found: dict[Question, Said] = {}
    with lab() as theirs, ExitStack() as stack:
        running = []
        for question in questions:
            process = _start(net, question, theirs)
            stack.callback(process.kill)
            running.append((question, process))
        for question, process in running:
            try:
                output, _ = process.communicate(timeout=TIME_LIMIT)
            except subprocess.TimeoutExpired:
                output = ""
            found[question] = question.tool.judge(question.kind, TRUTH[question.kind], output)
    return found


def _start(net: Internet, question: Question, theirs: Lab) -> "subprocess.Popen[str]":
    tool, run = question.tool, question.run
    weather = None if run is None else Weather(WEATHER.delay, WEATHER.loss, seed=run)
    behind = net.behind(question.kind, weather=weather, lab=theirs)
    program, *arguments = tool.command(behind, question.server)
    return subprocess.Popen(
        [*behind.host.prefix, program_path(program) or program, *arguments],
        cwd=tool.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def all_questions() -> list[Question]:
    """What the page shows."""
    plain = [
        Question(tool, kind, server)
        for kind in Kind
        for tool in TOOLS
        if tool.takes(kind)
        for server in Server
    ]
    lossy = [
        Question(tool, kind, run=run)
        for kind in IN_BAD_WEATHER
        for tool in TOOLS
        for run in range(1, RUNS + 1)
    ]
    return plain + lossy


# ── the page ────────────────────────────────────────────────────────────────────────────────────


def page(found: Mapping[Question, Said]) -> str:
    """The whole document."""
    return f"""\
# What tools say of the same NATs

`python -m tests.netlab.nat_table` writes this page: it asks each tool behind each NAT of the lab
(Linux with nftables; TAYGA for the NAT64), by `stun-server` and by coturn, each with two addresses.
Each question has a NAT of its own. Where the two servers lead to different answers both are shown,
coturn's second.

EIM, ADM, APDM: the mapping is independent of the endpoint, depends on the address, or on address
and port. EIF, ADF, APDF: so does the filter (RFC 4787). **✗**: it is not so. "nothing": the tool
says nothing. "no IPv6": it cannot be asked.

{_lines(("NAT", "it is", *(tool.name for tool in TOOLS)), [_row(kind, found) for kind in Kind])}

## With {WEATHER.loss:.0%} of the packets lost each way and {
        2 * WEATHER.delay * 1000:.0f} ms of round trip

Right, wrong and no answers of {RUNS} runs with `stun-server`.

{
        _lines(
            ("NAT", *(tool.name for tool in TOOLS)),
            [_lossy_row(kind, found) for kind in IN_BAD_WEATHER],
        )
    }

## Why they go wrong

- `turnutils_natdiscovery` binds no address of its own, so it cannot see that there is no NAT; and
  it asks once and waits for three seconds, so that one lost packet deceives it.
- `pystun3` does all its tests from one socket. What the server sends from elsewhere is taken in by
  a router whose own ports are open: that makes an entry there, the next packet of the socket needs
  another port, and the NAT looks symmetric. It cannot tell a host without NAT either.
- `stun` knows IPv4 alone, and does not say on what a mapping depends.
"""


def _lines(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(kind: Kind, found: Mapping[Question, Said]) -> list[str]:
    truth = "UDP is blocked" if kind is Kind.UDP_BLOCKED else words(TRUTH[kind])
    cells = []
    for tool in TOOLS:
        said = dict.fromkeys(
            _cell(found[Question(tool, kind, server)]) for server in Server if tool.takes(kind)
        )
        cells.append(" / ".join(said) or "no IPv6")
    return [TITLES[kind], truth, *cells]


def _cell(said: Said) -> str:
    if said.right is None:
        return "nothing"
    return said.words if said.right else f"**✗** {said.words}"


def _lossy_row(kind: Kind, found: Mapping[Question, Said]) -> list[str]:
    cells = []
    for tool in TOOLS:
        count = Counter(found[Question(tool, kind, run=run)].right for run in range(1, RUNS + 1))
        wrong = f"**{count[False]} wrong**" if count[False] else "0 wrong"
        cells.append(f"{count[True]} right, {wrong}, {count[None]} none")
    return [TITLES[kind], *cells]


# ── the program ─────────────────────────────────────────────────────────────────────────────────


def main() -> int:
    """Write the page; 2 where something is missing."""
    if os.geteuid() != 0:
        print("error: network namespaces need root: run it as root", file=sys.stderr)
        return 2
    _install_pystun3()
    questions = all_questions()
    found: dict[Question, Said] = {}
    with lab() as made, serving(made) as net:
        for start in range(0, len(questions), AT_ONCE):
            print(f"{start} of {len(questions)} asked", file=sys.stderr, flush=True)
            found |= ask(net, questions[start : start + AT_ONCE])
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"page: {PAGE}")
    return 0


def _install_pystun3() -> None:
    if (PYSTUN3 / "stun").is_dir():
        return
    with TemporaryDirectory() as directory:
        wanted = Path(directory) / "requirements.txt"
        wanted.write_text(RELEASE)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", "--require-hashes"),
                *("--target", PYSTUN3, "--requirement", wanted),
            ],
            check=True,
        )


if __name__ == "__main__":
    sys.exit(main())
