"""What the listener for operators does to a server of any kind: drain it, and reload."""

from dataclasses import dataclass

from aiohttp import web

from natkit.server.admin.answers import body, json_answer
from natkit.server.admin.guard import problem
from natkit.server.reports import DRAIN, RELOAD, Steered

__all__ = ["SteeringPages"]

LONGEST_DRAIN = 7 * 86_400
"""Seconds."""


@dataclass(frozen=True, slots=True)
class SteeringPages:
    """The handlers."""

    server: Steered

    def register(self, application: web.Application) -> None:
        """Add them to the application of a guarded listener."""
        application.router.add_post("/api/drain", self._drain)
        application.router.add_post("/api/reload", self._reload)

    async def _drain(self, request: web.Request) -> web.Response:
        limit = (await body(request)).get("limit")
        if limit is not None and not (
            isinstance(limit, int | float) and 0 <= limit <= LONGEST_DRAIN
        ):
            return problem(400, f"limit is a number of seconds, {LONGEST_DRAIN} at most")
        drain = await self.server.drain(None if limit is None else float(limit))
        return json_answer({"drain": DRAIN.dump_python(drain, mode="json")})

    async def _reload(self, request: web.Request) -> web.Response:
        await body(request)
        report = await self.server.reload()
        return json_answer({"reload": RELOAD.dump_python(report, mode="json")})
