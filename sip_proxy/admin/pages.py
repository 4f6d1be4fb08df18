"""What the listener for operators answers, beside the way in: health, metrics, status as JSON."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from natkit.errors import StoreFailure
from natkit.server.admin.answers import body, json_answer, limit_of
from natkit.server.admin.entrance import Entrance
from natkit.server.admin.guard import problem
from natkit.server.admin.metrics import scraped
from natkit.server.admin.steering_pages import SteeringPages
from sip_proxy.admin.call_pages import CallPages
from sip_proxy.admin.metrics import FAMILIES
from sip_proxy.administration import REGISTRATIONS, STATUS, Administration

__all__ = ["OperatorPages"]

SHOWN_REGISTRATIONS = 200
MOST_REGISTRATIONS = 5_000


@dataclass(frozen=True, slots=True)
class OperatorPages:
    """Handlers; ``unix_time`` is a clock."""

    administration: Administration
    entrance: Entrance
    calls: CallPages
    unix_time: Callable[[], float]

    def application(self) -> web.Application:
        """All of it, behind the guard."""
        application = self.entrance.application()
        add = application.router
        add.add_get("/", self.entrance.page("proxy.html"))
        add.add_get("/readyz", self._ready)
        add.add_get("/metrics", self._metrics)
        add.add_get("/api/status", self._status)
        add.add_get("/api/registrations", self._registrations)
        add.add_post("/api/unregister", self._unregister)
        SteeringPages(self.administration).register(application)
        self.calls.register(application)
        return application

    async def _ready(self, request: web.Request) -> web.Response:
        """Whether new calls may come; with ``?store``, whether the stores answer too."""
        status = await self.administration.status()
        lacking = []
        if status.drain is not None:
            lacking.append("it drains")
        if not status.listeners:
            lacking.append("no listener is open")
        if "store" in request.query:
            if status.users.failure is not None:
                lacking.append("the store of users is down")
            if status.location.failure is not None:
                lacking.append("the location store is down")
        if lacking:
            return problem(503, f"not ready: {', '.join(lacking)}")
        return web.Response(text="ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        return scraped(request, FAMILIES, await self.administration.status())

    async def _status(self, _: web.Request) -> web.Response:
        status = await self.administration.status()
        return json_answer(
            {
                "now": self.unix_time(),
                "ready": status.is_ready,
                "signed_in": self.entrance.guard.rules.token is not None,
                "status": STATUS.dump_python(status, mode="json"),
            }
        )

    async def _registrations(self, request: web.Request) -> web.Response:
        limit = limit_of(request, SHOWN_REGISTRATIONS, MOST_REGISTRATIONS)
        user = request.query.get("user")
        try:
            found = await self.administration.registrations(limit, user)
        except StoreFailure as error:
            return problem(503, str(error))
        return json_answer({"registrations": REGISTRATIONS.dump_python(found, mode="json")})

    async def _unregister(self, request: web.Request) -> web.Response:
        address = (await body(request)).get("address_of_record")
        if not isinstance(address, str):
            return problem(400, 'say who: {"address_of_record": "sip:alice@example.org"}')
        try:
            was_there = await self.administration.unregister(address)
        except StoreFailure as error:
            return problem(503, str(error))
        if not was_there:
            return problem(404, "nobody of this address is registered, or no longer")
        return json_answer({"unregistered": address})
