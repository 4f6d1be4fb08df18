"""What the listener for operators has in any server: the way in, the files of pages, its health."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from natkit.server.admin.answers import body
from natkit.server.admin.files import Files
from natkit.server.admin.guard import Guard, problem
from natkit.server.admin.listener import LARGEST_BODY
from natkit.server.admin.sessions import COOKIE, LIFETIME

__all__ = ["OPEN_PATHS", "SHARED_FILES", "SIGN_IN", "Entrance", "alive"]

SIGN_IN = "/sign-in"
# What is needed to show the token, and what tells nothing.
OPEN_PATHS = frozenset(
    {
        SIGN_IN,
        "/static/sign-in.js",
        "/static/style.css",
        "/static/icon.svg",
        "/healthz",
        "/readyz",
    }
)
"""What everybody gets who reaches the listener."""

SHARED_FILES = ("natkit.server.admin", "static")
"""Where the files of the sign-in page are, and the look of all pages."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Handlers; ``files`` holds :data:`SHARED_FILES` and the server's own."""

    guard: Guard
    files: Files
    unix_time: Callable[[], float]

    def application(self) -> web.Application:
        """Behind the guard; the server adds its own handlers."""
        application = web.Application(
            middlewares=[self.guard.middleware()], client_max_size=LARGEST_BODY
        )
        add = application.router
        add.add_get(SIGN_IN, self.page("sign-in.html"))
        add.add_post(SIGN_IN, self._sign_in)
        add.add_post("/sign-out", self._sign_out)
        add.add_get("/static/{name}", self._static)
        add.add_get("/healthz", alive)
        return application

    def page(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that answers with a file."""

        async def answer(request: web.Request) -> web.Response:
            return self.files.answer(request, name)

        return answer

    async def _static(self, request: web.Request) -> web.Response:
        return self.files.answer(request, request.match_info["name"])

    async def _sign_in(self, request: web.Request) -> web.Response:
        if self.guard.rules.token is None:
            return problem(404, "nobody needs to sign in here")
        token = (await body(request)).get("token")
        is_right = isinstance(token, str) and self.guard.rules.is_token(token)
        refused = self.guard.judge_guess(request, is_right=is_right)
        if refused is not None:
            return refused
        answer = web.Response(status=204)
        answer.set_cookie(
            COOKIE,
            self.guard.sessions.issue(self.unix_time()),
            max_age=LIFETIME,
            httponly=True,
            samesite="Strict",
            secure=self.guard.rules.secure,
        )
        return answer

    async def _sign_out(self, request: web.Request) -> web.Response:
        await body(request)
        answer = web.Response(status=204)
        answer.del_cookie(COOKIE)
        return answer


async def alive(_: web.Request) -> web.Response:
    """Say that the event loop turns."""
    await asyncio.sleep(0)
    return web.Response(text="alive\n")
