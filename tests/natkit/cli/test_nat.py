"""``natkit nat`` against servers on loopback; real NATs stand in tests/netlab/test_nats.py."""

from typing import cast

import pytest
from rich.console import Console

from natkit.cli.findings import folded
from tests.natkit.aio.running_server import running_server
from tests.natkit.cli.command import natkit


async def test_one_plain_server_without_nat_shows_that_there_is_none() -> None:
    async with running_server() as server:
        ended = await natkit("nat", str(server.address), "--json", "--patience", "4")
    assert (ended.status, ended.errors) == (0, "")
    (family,) = cast("list[dict[str, dict[str, object]]]", ended.result["families"])
    assert family["mapped_address"]["address"] == "127.0.0.1"
    assert family["mapping"]["kind"] == "none"
    assert family["filtering"]["kind"] == "unknown"
    assert ended.result["port_mapping"] is None
    assert ended.result["turn"] is None


async def test_text_has_a_verdict_and_says_what_to_do_in_80_columns() -> None:
    async with running_server() as server:
        ended = await natkit("nat", str(server.address), "--votes", "1", "--patience", "4")
    assert ended.status == 0
    assert "what will work with" in ended.output
    assert "what to do" in ended.output
    assert max(map(len, ended.output.splitlines())) <= 80


def test_on_a_terminal_what_is_too_long_goes_on_below_itself() -> None:
    words = "a line of evidence that is far too long for any window of eighty columns " * 2
    window = Console(width=80)
    first, *rest = folded(words, window, 15)
    assert rest
    assert max(len(line) for line in (first, *rest)) <= 65
    assert " ".join((first, *rest)) == words.strip()
    # Whoever reads a pipe searches it line by line.
    assert folded(words, Console(width=80, soft_wrap=True), 15) == [words]
    assert folded("x" * 200, window, 15) == ["x" * 200]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("turn:127.0.0.1",),
        ("stuns:127.0.0.1",),
        ("127.0.0.1", "--source", "here"),
        ("127.0.0.1", "--turn", "turn:127.0.0.1"),
        ("127.0.0.1", "--user", "alice"),
        ("127.0.0.1", "--sip", "sip:127.0.0.1;transport=tcp"),
        ("127.0.0.1", "--sip", "sips:127.0.0.1"),
        ("127.0.0.1", "--lifetime", "--lifetime-from", "20", "--lifetime-to", "10"),
    ],
    ids=" ".join,
)
async def test_wrong_use_is_one_line_and_status_2(arguments: tuple[str, ...]) -> None:
    ended = await natkit("nat", *arguments)
    assert (ended.status, ended.output) == (2, "")
    assert ended.error
