"""A real proxy with its page, its records and its recorder, and two phones."""

import asyncio
import json
from pathlib import Path
from typing import cast

from aiohttp import ClientSession

from natkit.machine import Transport
from sip_proxy.shell.call_watch_socket import SocketWatching
from tests.peering.ports import free_port
from tests.sip_proxy.shell.world import DOMAIN, LIMIT, Pending, agent
from tests.sip_proxy.watched import WatchedProxy, watched_proxy

TABLES = """
domains = ["{domain}"]
[users]
authenticate = false
[calls]
records = "file:{records}"
[sources]
scanners = ["sipvicious"]
"""


async def call(server: WatchedProxy) -> Pending:
    """Alice calls Bob, who is busy; and Carol, whom nobody knows."""
    async with (
        agent("alice", Transport.UDP, server.address) as alice,
        agent("bob", Transport.UDP, server.address, answers=lambda _: (180, 486)) as bob,
    ):
        await bob.register().final()
        made = alice.call(bob.uri)
        assert (await made.final()).status == 486
        assert (await alice.call(f"sip:carol@{DOMAIN}").final()).status == 480
        return made


async def test_a_call_is_seen_on_the_page_by_the_socket_in_the_log_and_in_its_record(
    tmp_path: Path,
) -> None:
    records, config = tmp_path / "calls.jsonl", tmp_path / "sip-proxy.toml"
    config.write_text(TABLES.format(domain=DOMAIN, records=records))
    pages = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    arguments = ("--config", str(config), "--admin", pages.removeprefix("http://"))
    with watched_proxy(tmp_path, *arguments) as server:
        made = await call(server)
        call_id = made.request.headers.fields("Call-ID")[0].text
        async with ClientSession(pages) as session:
            async with session.get("/") as page:
                assert (page.status, "proxy.js" in await page.text()) == (200, True)
            async with session.get("/static/proxy.js") as script:
                assert script.status == 200
            async with session.get("/api/calls", params={"text": "bob@"}) as answer:
                calls = await answer.json()
            async with session.get("/api/transactions?limit=1") as answer:
                assert {"schema", "now", "total", "transactions"} == set(await answer.json())
            async with session.get("/api/ladder", params={"call_id": call_id}) as answer:
                ladder = (await answer.json())["ladder"]
            async with session.get("/api/capture", params={"call_id": call_id}) as answer:
                capture = await answer.read()
                assert answer.headers["Content-Disposition"].startswith("attachment; ")
            for path in ("/api/ladder?call_id=none", "/api/capture?call_id=none"):
                async with session.get(path) as answer:
                    assert answer.status == 404
            for path in ("/api/ladder", "/api/calls?limit=0", "/api/recent?text=" + "x" * 513):
                async with session.get(path) as answer:
                    assert answer.status == 400
        (ended,) = calls["calls"]["ended"]
        assert (ended["call_id"], ended["status"], ended["released_by"]) == (call_id, 486, "callee")
        assert [each["summary"].split()[0] for each in ladder["arrows"]][:2] == ["INVITE", "INVITE"]
        assert capture.count(b"486 Busy Here") == 2
        watching = SocketWatching(tmp_path / "state")
        assert await watching.capture(call_id) == capture
        assert [each.call_id for each in await watching.recent(call_id, 5)] == [call_id]
        async with asyncio.timeout(LIMIT):
            while len(lines(records)) < 2:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)
        first, second = lines(records)
        assert (first["call_id"], first["status"], second["status"]) == (call_id, 486, 480)
        assert len(server.lines("call ended")) == 2


def lines(file: Path) -> list[dict[str, object]]:
    """The records that are there."""
    return [cast("dict[str, object]", json.loads(line)) for line in file.read_text().splitlines()]
