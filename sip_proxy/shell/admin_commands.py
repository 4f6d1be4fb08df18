"""The administration through a Unix socket: both ends of it."""

from collections.abc import Mapping

from natkit.errors import MisuseError
from natkit.server.admin_socket import Handler, ask, ask_for
from natkit.server.steering import SocketSteering, steering_handlers
from sip_proxy.administration import (
    REGISTRATIONS,
    STATUS,
    Administration,
    Registration,
    Status,
)

__all__ = ["SocketAdministration", "handlers"]


def handlers(administration: Administration) -> Mapping[str, Handler]:
    """What the socket of a proxy does."""

    async def status(_: Mapping[str, object]) -> object:
        return STATUS.dump_python(await administration.status(), mode="json")

    async def registrations(arguments: Mapping[str, object]) -> object:
        limit, user = arguments.get("limit"), arguments.get("user")
        if not isinstance(limit, int) or limit < 1:
            raise MisuseError("limit is the number of registrations to list, 1 or more")
        if user is not None and not isinstance(user, str):
            raise MisuseError("user is a text")
        return REGISTRATIONS.dump_python(
            await administration.registrations(limit, user), mode="json"
        )

    async def unregister(arguments: Mapping[str, object]) -> object:
        return await administration.unregister(str(arguments.get("user")))

    return {
        "status": status,
        "registrations": registrations,
        "unregister": unregister,
        **steering_handlers(administration),
    }


class SocketAdministration(SocketSteering):
    """The :class:`~sip_proxy.administration.Administration` of the proxy of a data directory.

    Methods raise UnreachableError when no proxy answers, MisuseError when it refuses.
    """

    async def status(self) -> Status:
        """How the proxy fares now."""
        return await ask_for(STATUS, self.path, "status")

    async def registrations(self, limit: int, user: str | None = None) -> tuple[Registration, ...]:
        """Who is registered."""
        return await ask_for(REGISTRATIONS, self.path, "registrations", limit=limit, user=user)

    async def unregister(self, address_of_record: str) -> bool:
        """Forget an address of record's bindings."""
        return await ask(self.path, "unregister", user=address_of_record) is True
