"""Finds STUN and TURN servers by the system's own resolver, for faces that are given no other."""

import asyncio
import socket
from collections.abc import Sequence

from natkit.address import Address
from natkit.errors import DnsFailure, MisuseError, NoService
from natkit.locate import Target
from natkit.stun.uri import ServerUri

__all__ = ["SystemLocator", "look_up"]


class SystemLocator:
    """Looks addresses up by ``getaddrinfo``; a :class:`natkit.locate.Locator`.

    It follows no NAPTR or SRV records: port and transport are those of the URI, or its defaults.
    """

    async def locate(self, uri: str) -> Sequence[Target]:
        """The addresses of a STUN or TURN URI, in the system's order of preference.

        Raises NoService when the name does not exist, DnsFailure when that can't be found out, and
        MisuseError for a wrong URI.
        """
        server = ServerUri.parse(uri)
        transport = server.wire_transport
        port = server.port or server.default_port
        addresses = await look_up(server.host, port)
        return [Target(transport, address, server.host, server.host) for address in addresses]


async def look_up(host: str, port: int) -> list[Address]:
    """The addresses of a host, each with ``port``; raises as :meth:`SystemLocator.locate`."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        reason = error.strerror or "no reason given"
        if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL):
            raise DnsFailure(f"cannot look up {host!r}: {reason}") from error
        raise NoService(f"there is no host {host!r}: {reason}") from error
    except UnicodeError as error:
        # A label that is empty or too long never reaches the resolver.
        raise MisuseError(f"{host!r} is no valid host name") from error
    return list(dict.fromkeys(Address.of(str(name[0]), port) for *_, name in found))
