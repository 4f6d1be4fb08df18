"""What the page of the proxy asks for beside the status: calls, their ladders, transactions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from aiohttp import web

from natkit.server.admin.answers import json_answer, limit_of
from natkit.server.admin.guard import problem
from sip_proxy.watching import CALLS, LADDER, RECENT, TRANSACTIONS, Watching

__all__ = ["CallPages"]

SHOWN: Final = 100
MOST: Final = 1_000
LONGEST_TEXT: Final = 512
"""Characters of what is searched for, and of a Call-ID."""


@dataclass(frozen=True, slots=True)
class CallPages:
    """Handlers, for an application that stands behind the guard; ``unix_time`` is a clock."""

    watching: Watching
    unix_time: Callable[[], float]

    def register(self, application: web.Application) -> None:
        """Add the paths."""
        add = application.router
        add.add_get("/api/calls", self._calls)
        add.add_get("/api/transactions", self._transactions)
        add.add_get("/api/recent", self._recent)
        add.add_get("/api/ladder", self._ladder)
        add.add_get("/api/capture", self._capture)

    async def _calls(self, request: web.Request) -> web.Response:
        calls = await self.watching.calls(*_search(request))
        return json_answer(
            {"now": self.unix_time(), "calls": CALLS.dump_python(calls, mode="json")}
        )

    async def _transactions(self, request: web.Request) -> web.Response:
        found = await self.watching.transactions(*_search(request))
        listed = TRANSACTIONS.dump_python(found, mode="json")
        return json_answer({"now": self.unix_time(), **listed})

    async def _recent(self, request: web.Request) -> web.Response:
        found = await self.watching.recent(*_search(request))
        recent = RECENT.dump_python(tuple(found), mode="json")
        return json_answer({"now": self.unix_time(), "recent": recent})

    async def _ladder(self, request: web.Request) -> web.Response:
        ladder = await self.watching.ladder(_call_id(request))
        if ladder is None:
            return _gone()
        return json_answer({"ladder": LADDER.dump_python(ladder, mode="json")})

    async def _capture(self, request: web.Request) -> web.Response:
        call_id = _call_id(request)
        capture = await self.watching.capture(call_id)
        if capture is None:
            return _gone()
        name = quote(f"{call_id[:80]}.pcap", safe="")
        return web.Response(
            body=capture,
            content_type="application/vnd.tcpdump.pcap",
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
        )


def _search(request: web.Request) -> tuple[str, int]:
    text = request.query.get("text", "")
    if len(text) > LONGEST_TEXT:
        raise web.HTTPBadRequest(reason=f"text has {LONGEST_TEXT} characters at most")
    return text, limit_of(request, SHOWN, MOST)


def _call_id(request: web.Request) -> str:
    call_id = request.query.get("call_id", "")
    if not call_id or len(call_id) > LONGEST_TEXT:
        reason = f"say which: ?call_id=CALL-ID, {LONGEST_TEXT} characters at most"
        raise web.HTTPBadRequest(reason=reason)
    return call_id


def _gone() -> web.Response:
    return problem(404, "no message of this Call-ID is there (any more)")
