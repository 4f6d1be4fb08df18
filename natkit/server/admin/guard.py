"""The guard in front of every handler: it applies the rules, and marks every answer."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from natkit.errors import UnreachableError
from natkit.server.admin.rules import Rules
from natkit.server.admin.sessions import COOKIE, Sessions
from natkit.server.admin.throttle import Throttle

__all__ = ["Access", "Guard", "problem"]

GUESSES = 10
"""Wrong tokens that a source may show at once."""
GUESS_INTERVAL = 6.0
"""Seconds for each further one."""

# No page takes anything from elsewhere, is shown in a frame, or runs what stands in its own text.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def problem(status: int, text: str) -> web.Response:
    """An answer that says in one line what is wrong and what to do."""
    return web.Response(status=status, text=text + "\n")


@dataclass(frozen=True, slots=True)
class Access:
    """What a listener's paths are.

    ``open``: what everybody gets who reaches the listener.  ``own``: what answers for itself who
    may ask from where; the guard checks the Host header alone.  ``sign_in``: where browsers are
    sent without a token; None where there is no such page.
    """

    open: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    sign_in: str | None = None


@dataclass(slots=True)
class Guard:
    """A middleware; ``unix_time`` is a clock."""

    rules: Rules
    access: Access
    sessions: Sessions
    unix_time: Callable[[], float]
    guesses: Throttle = field(default_factory=lambda: Throttle(GUESSES, GUESS_INTERVAL))

    def middleware(self) -> Middleware:
        """What an application takes."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = self._objection(request)
            if answer is None:
                try:
                    answer = await handler(request)
                except UnreachableError as error:
                    # What serves is being started again.
                    answer = problem(503, str(error))
                except web.HTTPException as error:
                    answer = problem(error.status, error.reason)
                    if "Allow" in error.headers:
                        answer.headers["Allow"] = error.headers["Allow"]
            for name, value in _HEADERS.items():
                answer.headers.setdefault(name, value)
            answer.headers.setdefault("Cache-Control", "no-store")
            return answer

        return guard

    def _objection(self, request: web.Request) -> web.StreamResponse | None:
        host = request.headers.get("Host")
        if not self.rules.knows_host(host):
            return problem(
                421, "this name is not one of the server's; add it to admin.hosts if it should be"
            )
        if request.path in self.access.own:
            return None
        if not self.rules.is_own_origin(request.headers.get("Origin"), host):
            return problem(403, "requests of other sites' pages are not answered")
        if request.method not in {"GET", "HEAD"} and not self.rules.may_change(request.headers):
            return problem(
                403, "send Content-Type: application/json, and not from another site's page"
            )
        if self.rules.token is None or request.path in self.access.open:
            return None
        return self._identify(request)

    def _identify(self, request: web.Request) -> web.StreamResponse | None:
        shown = self.rules.bears_token(request.headers.get("Authorization"))
        if shown is None and self.sessions.is_valid(request.cookies.get(COOKIE), self.unix_time()):
            return None
        if shown is not None:
            return self.judge_guess(request, is_right=shown)
        wants_page = "text/html" in request.headers.get("Accept", "")
        if self.access.sign_in is not None and request.method == "GET" and wants_page:
            return web.Response(status=303, headers={"Location": self.access.sign_in})
        return _unauthorized("show the token: Authorization: Bearer TOKEN")

    def judge_guess(self, request: web.Request, *, is_right: bool) -> web.Response | None:
        """None for a right token, else what a caller is told; guesses are counted by source."""
        source = request.remote or "0.0.0.0"  # noqa: S104 - a source without address, no listener
        now = asyncio.get_running_loop().time()
        # Asked before the verdict: while a source has to wait, a right guess is not told either.
        wait = self.guesses.wait(source, now)
        if wait > 0:
            answer = problem(429, "too many wrong tokens; wait")
            answer.headers["Retry-After"] = str(math.ceil(wait))
            return answer
        if is_right:
            return None
        self.guesses.allows(source, now)
        return _unauthorized("this is not the token")


def _unauthorized(text: str) -> web.Response:
    answer = problem(401, text)
    answer.headers["WWW-Authenticate"] = 'Bearer realm="admin"'
    return answer
