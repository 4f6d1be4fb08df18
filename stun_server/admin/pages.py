"""The applications of the two listeners: one for operators, one for everybody."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from aiohttp import web

from natkit.server.admin.files import Files
from natkit.server.admin.guard import Guard, problem
from natkit.server.admin.listener import LARGEST_BODY
from natkit.server.admin.metrics import exposition
from natkit.server.admin.sessions import COOKIE, LIFETIME
from stun_server.admin.answers import body, json_answer
from stun_server.admin.connectivity import ConnectivityTest
from stun_server.admin.credentials import CredentialEndpoint
from stun_server.admin.history import INTERVAL, History
from stun_server.admin.metrics import FAMILIES
from stun_server.administration import DRAIN, RELOAD, SESSIONS, STATUS, Administration

__all__ = ["OPEN_PATHS", "SIGN_IN", "OperatorPages", "public_application"]

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

SHOWN_SESSIONS = 200
MOST_SESSIONS = 5_000
LONGEST_DRAIN = 7 * 86_400

_TEST_FILES = frozenset({"icon.svg", "style.css", "test.js"})


@dataclass(frozen=True, slots=True)
class OperatorPages:
    """The handlers of the listener for operators."""

    administration: Administration
    guard: Guard
    files: Files
    history: History
    test: ConnectivityTest
    unix_time: Callable[[], float]

    def application(self, credentials: CredentialEndpoint | None) -> web.Application:
        """All of it, behind the guard."""
        application = web.Application(
            middlewares=[self.guard.middleware()], client_max_size=LARGEST_BODY
        )
        add = application.router
        add.add_get("/", self._file("status.html"))
        add.add_get("/test", self._file("test.html"))
        add.add_get(SIGN_IN, self._file("sign-in.html"))
        add.add_get("/static/{name}", self._static)
        add.add_get("/healthz", alive)
        add.add_get("/readyz", self._ready)
        add.add_get("/metrics", self._metrics)
        add.add_get("/api/status", self._status)
        add.add_get("/api/history", self._history)
        add.add_get("/api/sessions", self._sessions)
        add.add_post("/api/disconnect", self._disconnect)
        add.add_post("/api/drain", self._drain)
        add.add_post("/api/reload", self._reload)
        add.add_post(SIGN_IN, self._sign_in)
        add.add_post("/sign-out", self._sign_out)
        add.add_post("/test/credentials", self.test.credentials)
        if credentials is not None:
            credentials.register(application)
        return application

    def _file(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            return self.files.answer(request, name)

        return answer

    async def _static(self, request: web.Request) -> web.Response:
        return self.files.answer(request, request.match_info["name"])

    async def _ready(self, request: web.Request) -> web.Response:
        """Whether new clients may come; with ``?store``, whether new users can be looked up too."""
        status = await self.administration.status()
        lacking = []
        if status.drain is not None:
            lacking.append("it drains")
        if not status.listeners:
            lacking.append("no listener is open")
        if "store" in request.query and status.store.failure is not None:
            lacking.append("the store of users is down")
        if lacking or not status.is_ready:
            return problem(503, f"not ready: {', '.join(lacking) or status.phase}")
        return web.Response(text="ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        status = await self.administration.status()
        text, kind = exposition(FAMILIES, status, request.headers.get("Accept"))
        return web.Response(body=text, headers={"Content-Type": kind})

    async def _status(self, _: web.Request) -> web.Response:
        status = await self.administration.status()
        return json_answer(
            {
                "now": self.unix_time(),
                "ready": status.is_ready,
                "signed_in": self.guard.rules.token is not None,
                "test": self.test.issuer.is_able,
                "status": STATUS.dump_python(status, mode="json"),
            }
        )

    async def _history(self, _: web.Request) -> web.Response:
        samples = [asdict(each) for each in self.history.samples()]
        return json_answer({"interval": INTERVAL, "samples": samples})

    async def _sessions(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", str(SHOWN_SESSIONS))
        if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_SESSIONS):
            return problem(400, f"limit is a number from 1 to {MOST_SESSIONS}")
        sessions = await self.administration.sessions(int(text))
        return json_answer({"sessions": SESSIONS.dump_python(sessions, mode="json")})

    async def _disconnect(self, request: web.Request) -> web.Response:
        session = (await body(request)).get("session")
        if not isinstance(session, str):
            return problem(400, 'say which: {"session": ID}')
        if not await self.administration.disconnect(session):
            return problem(404, "there is no such session, or no longer")
        return json_answer({"disconnected": session})

    async def _drain(self, request: web.Request) -> web.Response:
        limit = (await body(request)).get("limit")
        if limit is not None and not (
            isinstance(limit, int | float) and 0 <= limit <= LONGEST_DRAIN
        ):
            return problem(400, f"limit is a number of seconds, {LONGEST_DRAIN} at most")
        drain = await self.administration.drain(None if limit is None else float(limit))
        return json_answer({"drain": DRAIN.dump_python(drain, mode="json")})

    async def _reload(self, request: web.Request) -> web.Response:
        await body(request)
        report = await self.administration.reload()
        return json_answer({"reload": RELOAD.dump_python(report, mode="json")})

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


def public_application(
    guard: Guard, files: Files, test: ConnectivityTest, credentials: CredentialEndpoint | None
) -> web.Application:
    """What everybody gets: the connectivity test, and the credentials for who has their token."""
    application = web.Application(middlewares=[guard.middleware()], client_max_size=LARGEST_BODY)

    async def page(request: web.Request) -> web.Response:
        return files.answer(request, "test.html")

    async def static(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in _TEST_FILES:
            raise web.HTTPNotFound
        return files.answer(request, name)

    add = application.router
    add.add_get("/", page)
    add.add_get("/test", page)
    add.add_get("/static/{name}", static)
    add.add_get("/healthz", alive)
    add.add_post("/test/credentials", test.credentials)
    if credentials is not None:
        credentials.register(application)
    return application
