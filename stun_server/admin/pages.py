"""The applications of the two listeners: one for operators, one for everybody."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from aiohttp import web

from natkit.server.admin.answers import body, json_answer, limit_of
from natkit.server.admin.entrance import Entrance, alive
from natkit.server.admin.files import Files
from natkit.server.admin.guard import Guard, problem
from natkit.server.admin.listener import LARGEST_BODY
from natkit.server.admin.metrics import scraped
from natkit.server.admin.steering_pages import SteeringPages
from stun_server.admin.connectivity import ConnectivityTest
from stun_server.admin.credentials import CredentialEndpoint
from stun_server.admin.history import INTERVAL, History
from stun_server.admin.metrics import FAMILIES
from stun_server.administration import SESSIONS, STATUS, Administration

__all__ = ["OperatorPages", "public_application"]

SHOWN_SESSIONS = 200
MOST_SESSIONS = 5_000

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
        entrance = Entrance(self.guard, self.files, self.unix_time)
        application = entrance.application()
        add = application.router
        add.add_get("/", entrance.page("status.html"))
        add.add_get("/test", entrance.page("test.html"))
        add.add_get("/readyz", self._ready)
        add.add_get("/metrics", self._metrics)
        add.add_get("/api/status", self._status)
        add.add_get("/api/history", self._history)
        add.add_get("/api/sessions", self._sessions)
        add.add_post("/api/disconnect", self._disconnect)
        SteeringPages(self.administration).register(application)
        add.add_post("/test/credentials", self.test.credentials)
        if credentials is not None:
            credentials.register(application)
        return application

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
        return scraped(request, FAMILIES, await self.administration.status())

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
        limit = limit_of(request, SHOWN_SESSIONS, MOST_SESSIONS)
        sessions = await self.administration.sessions(limit)
        return json_answer({"sessions": SESSIONS.dump_python(sessions, mode="json")})

    async def _disconnect(self, request: web.Request) -> web.Response:
        session = (await body(request)).get("session")
        if not isinstance(session, str):
            return problem(400, 'say which: {"session": ID}')
        if not await self.administration.disconnect(session):
            return problem(404, "there is no such session, or no longer")
        return json_answer({"disconnected": session})


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
