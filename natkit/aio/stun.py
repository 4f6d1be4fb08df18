"""STUN on asyncio: the address under which a server sees us.

::

    mapped = await binding("stun.example.org")
"""

import asyncio
import os
from dataclasses import dataclass

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.race import first_success
from natkit.aio.system_locator import SystemLocator
from natkit.aio.tcp import StreamConnections
from natkit.aio.udp import DatagramSockets, source_address
from natkit.errors import MisuseError, TransactionTimeout
from natkit.locate import Locator, Target
from natkit.machine import Path, Transport
from natkit.stun.binding import BindingClient, BindingEvent, BindingFailed, Bound
from natkit.stun.framing import StunFraming
from natkit.stun.uri import Scheme, ServerUri

__all__ = ["Binding", "binding", "examine"]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a Binding transaction tells.

    ``mapped`` is where the server saw the request come from, ``local`` where it left from;
    ``round_trip`` is seconds, retransmissions included.
    """

    mapped: Address
    local: Address
    server: Target
    round_trip: float


async def binding(
    server: str | Address,
    *,
    tcp: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109 - a limit of its own, with an error of its own
    locator: Locator | None = None,
) -> Address:
    """The address under which ``server`` sees us: the mapped address (RFC 8489 §3).

    ``server`` is a name or address with or without a port, a ``stun:`` URI, or an Address.
    ``timeout`` is in seconds and holds for all; without it only the transaction's own 39.5 s do.
    Raises TransactionTimeout, UnreachableError, LocateError, ErrorResponse, MalformedMessage by
    what went wrong, MisuseError for a wrong ``server``.
    """
    return (await examine(server, tcp=tcp, timeout=timeout, locator=locator)).mapped


async def examine(
    server: str | Address,
    *,
    tcp: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109 - a limit of its own, with an error of its own
    locator: Locator | None = None,
) -> Binding:
    """The same with all that there is to know; errors as for :func:`binding`."""
    transport = Transport.TCP if tcp else Transport.UDP
    try:
        async with asyncio.timeout(timeout):
            targets = await _targets(server, transport, locator or SystemLocator())
            return await first_success(targets, _ask, _keep_nothing)
    except TimeoutError as error:
        if isinstance(error, TransactionTimeout):
            raise
        raise TransactionTimeout(f"no answer from {server} within {timeout:g} s") from None


async def _targets(server: str | Address, transport: Transport, locator: Locator) -> list[Target]:
    if isinstance(server, Address):
        return [Target(transport, server, server.host, server.host)]
    uri = server_uri(server)
    return [
        # A stun: URI says nothing about the transport (RFC 7064 §3.1).
        Target(transport, target.address, target.host, target.tls_name)
        for target in await locator.locate(str(uri))
    ]


def server_uri(server: str) -> ServerUri:
    """A ``stun:`` URI, or what would stand behind the colon of one; MisuseError."""
    scheme = server.partition(":")[0].lower()
    uri = ServerUri.parse(server if scheme in tuple(Scheme) else f"{Scheme.STUN}:{server}")
    if uri.scheme is Scheme.STUN:
        return uri
    if uri.scheme is Scheme.STUNS:
        raise MisuseError(f"'{uri}' asks for TLS, which natkit does not speak yet; use stun:")
    raise MisuseError(f"'{uri}' is a TURN server's; as a STUN server it is stun:{uri.host}")


async def _ask(target: Target) -> Binding:
    """One transaction with one address."""
    answer: asyncio.Future[Bound] = asyncio.get_running_loop().create_future()

    def on_event(event: BindingEvent) -> None:
        if answer.done():
            return
        match event:
            case Bound():
                answer.set_result(event)
            case BindingFailed(error):
                answer.set_exception(error)

    datagrams = DatagramSockets()
    streams = StreamConnections(StunFraming)
    try:
        if target.transport is Transport.UDP:
            local = datagrams.open(source_address(target.address))
            path = Path(Transport.UDP, local, target.address)
        else:
            path = await streams.connect(target.transport, None, target.address)
        machine = BindingClient(path, random=os.urandom)
        driver: Driver[BindingEvent, object] = Driver(
            machine, on_event, datagrams=datagrams, streams=streams
        )
        try:
            driver.run(machine.start)
            bound = await answer
        finally:
            await driver.aclose()
    finally:
        datagrams.close()
        await streams.aclose()
    return Binding(bound.mapped, path.local, target, bound.round_trip)


async def _keep_nothing(_: Binding) -> None:
    """A second answer needs no cleaning up."""
