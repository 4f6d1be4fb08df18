"""The :class:`~stun_server.administration.Administration` of a server of several workers."""

from dataclasses import replace
from typing import TypeVar

from natkit.errors import UnreachableError
from natkit.server.handover import Parcel
from natkit.server.reloading import Reloading
from natkit.server.reports import Drain, Reload
from natkit.server.supervisor import Supervisor
from stun_server.administration import Session, Status, session_place
from stun_server.combining import combined
from stun_server.config import Config
from stun_server.shell.crossing import (
    AskSessions,
    AskStatus,
    Disconnect,
    Disconnected,
    Sessions,
)
from stun_server.shell.ending import Ending

__all__ = ["ManyProcesses"]

M = TypeVar("M")


class ManyProcesses:
    """Asks the workers, and puts together what they say.

    A worker that is being started again is not heard.  UnreachableError when none serves.
    """

    def __init__(
        self, supervisor: Supervisor, reloading: Reloading[Config], ending: Ending
    ) -> None:
        self._supervisor = supervisor
        self._reloading = reloading
        self._ending = ending

    async def status(self) -> Status:
        """How the server fares now."""
        status = combined(await self._all(AskStatus(), Status))
        restarts = self._supervisor.restarts
        return replace(
            status,
            workers=tuple(replace(each, restarts=restarts(each.number)) for each in status.workers),
        )

    async def sessions(self, limit: int) -> tuple[Session, ...]:
        """The live allocations of all workers, the oldest first."""
        answers = await self._all(AskSessions(limit), Sessions)
        found = [session for each in answers for session in each.sessions]
        return tuple(sorted(found, key=lambda session: session.since)[:limit])

    async def disconnect(self, session: str) -> bool:
        """End an allocation by its id, which says whose it is."""
        place = session_place(session)
        if place is None or place[0] not in self._supervisor.serving:
            return False
        answer = await self._supervisor.ask(place[0], Disconnect(session))
        return isinstance(answer.message, Disconnected) and answer.message.was_there

    async def drain(self, limit: float | None = None) -> Drain:
        """Grant no more allocations anywhere, and end once there are none."""
        return await self._ending.drain(limit)

    async def reload(self) -> Reload:
        """Read the configuration again, and have all workers apply it, or none."""
        return await self._reloading.reload()

    async def _all(self, message: object, kind: type[M]) -> list[M]:
        answers = await self._supervisor.ask_all(message)
        found = [
            answer.message
            for answer in answers.values()
            if isinstance(answer, Parcel) and isinstance(answer.message, kind)
        ]
        if not found:
            raise UnreachableError("no worker serves at the moment")
        return found
