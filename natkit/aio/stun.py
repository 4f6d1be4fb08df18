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
from natkit.aio.secure import ALPN_NAT_DISCOVERY, SYSTEM_TRUST, Trust, client_streams
from natkit.aio.system_locator import SystemLocator
from natkit.aio.udp import DatagramSockets, source_address
from natkit.errors import MisuseError, TransactionTimeout, UnreachableError
from natkit.locate import Locator, Target
from natkit.machine import Path, Transport
from natkit.stun.binding import BindingClient, BindingEvent, BindingFailed, Bound
from natkit.stun.uri import Scheme, ServerUri

__all__ = ["Binding", "binding", "examine", "server_uri"]


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
    dtls: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109 - a limit of its own, with an error of its own
    locator: Locator | None = None,
    trust: Trust = SYSTEM_TRUST,
) -> Address:
    """The address under which ``server`` sees us: the mapped address (RFC 8489 §3).

    ``server`` is a name or address with or without a port, a ``stun:`` or ``stuns:`` URI, or an
    Address.  A ``stuns:`` URI is asked over TLS, or with ``dtls`` over DTLS, and its certificate
    must be for the URI's host and one that ``trust`` believes; all others are asked over UDP, or
    with ``tcp`` over TCP.  ``timeout`` is in seconds and holds for all; without it only the
    transaction's own 39.5 s do.
    Raises TransactionTimeout, UnreachableError, LocateError, ErrorResponse, MalformedMessage by
    what went wrong, MisuseError for a wrong ``server``.
    """
    found = await examine(server, tcp=tcp, dtls=dtls, timeout=timeout, locator=locator, trust=trust)
    return found.mapped


async def examine(
    server: str | Address,
    *,
    tcp: bool = False,
    dtls: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109 - a limit of its own, with an error of its own
    locator: Locator | None = None,
    trust: Trust = SYSTEM_TRUST,
    source: str | None = None,
) -> Binding:
    """The same with all that there is to know; errors as for :func:`binding`.

    Over UDP ``source`` is the local host to ask from, and only addresses of its family are asked.
    """

    async def ask(target: Target) -> Binding:
        return await _ask(target, trust, source)

    try:
        async with asyncio.timeout(timeout):
            targets = await _targets(server, locator or SystemLocator(), tcp=tcp, dtls=dtls)
            if source is not None:
                family = Address.of(source, 0).family
                targets = [each for each in targets if each.address.family is family]
                if not targets:
                    raise UnreachableError(f"{server} has no address of the family of {source}")
            return await first_success(targets, ask, _keep_nothing)
    except TimeoutError as error:
        if isinstance(error, TransactionTimeout):
            raise
        raise TransactionTimeout(f"no answer from {server} within {timeout:g} s") from None


async def _targets(
    server: str | Address, locator: Locator, *, tcp: bool, dtls: bool
) -> list[Target]:
    plain = Transport.TCP if tcp else Transport.UDP
    if isinstance(server, Address):
        if dtls:
            raise MisuseError("DTLS needs the name that the server's certificate is for")
        return [Target(plain, server, server.host, server.host)]
    uri = server_uri(server)
    if uri.scheme.is_secure:
        transport = Transport.DTLS if dtls else Transport.TLS
    elif dtls:
        raise MisuseError(f"'{uri}' is not asked over DTLS; stuns: is")
    else:
        transport = plain
    return [
        # A STUN URI says nothing about the transport (RFC 7064 §3.1).
        Target(transport, target.address, target.host, target.tls_name)
        for target in await locator.locate(str(uri))
    ]


def server_uri(server: str) -> ServerUri:
    """A ``stun:`` or ``stuns:`` URI, or what would stand behind the colon of ``stun:``."""
    scheme = server.partition(":")[0].lower()
    uri = ServerUri.parse(server if scheme in tuple(Scheme) else f"{Scheme.STUN}:{server}")
    if uri.scheme.is_turn:
        scheme = Scheme.STUNS if uri.scheme.is_secure else Scheme.STUN
        raise MisuseError(f"'{uri}' is a TURN server's; as a STUN server it is {scheme}:{uri.host}")
    return uri


async def _ask(target: Target, trust: Trust, source: str | None) -> Binding:
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
    streams = client_streams(target, (ALPN_NAT_DISCOVERY,), trust)
    try:
        if target.transport is Transport.UDP:
            local = datagrams.open(
                source_address(target.address) if source is None else Address.of(source, 0)
            )
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
