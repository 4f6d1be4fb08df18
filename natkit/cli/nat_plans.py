"""Whom ``natkit nat`` asks, and from which of this host's addresses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from natkit.address import Address, Family
from natkit.aio.stun import server_uri
from natkit.aio.udp import source_address
from natkit.behaviour import Plan
from natkit.cli.entry import report_error
from natkit.errors import LocateError, MalformedMessage, MisuseError, UnreachableError
from natkit.locate import Locator
from natkit.machine import Transport
from natkit.net.local_addresses import local_addresses
from natkit.sip import SipUri

__all__ = ["plans_for", "servers_of", "sip_servers_of", "sip_uri"]

MOST_SERVERS: Final = 8
"""Addresses of servers that one family is tested with: more show nothing new."""


async def servers_of(names: Sequence[str], locator: Locator) -> tuple[Address, ...]:
    """The addresses of all STUN servers; what cannot be found is reported, if others can.

    Raises LocateError when none is found, MisuseError for what is no STUN server over UDP.
    """
    uris = [server_uri(name) for name in names]
    for uri in uris:
        if uri.scheme.is_secure:
            raise MisuseError(f"'{uri}' is asked over TLS; behaviour is tested over UDP (stun:)")
    return await _located([str(uri) for uri in uris], locator)


async def sip_servers_of(uris: Sequence[str], locator: Locator) -> tuple[Address, ...]:
    """The same for SIP servers, by what :func:`sip_uri` gave."""
    return await _located(uris, locator) if uris else ()


def sip_uri(server: str) -> str:
    """What a locator is to find; MisuseError for what is not asked over UDP."""
    try:
        uri = SipUri.parse(server if server.lower().startswith("sip:") else f"sip:{server}")
    except MalformedMessage as error:
        raise MisuseError(f"--sip: {error}") from None
    if uri.transport not in (None, Transport.UDP):
        raise MisuseError(f"--sip: '{server}' cannot be asked over UDP, which is all it tests")
    return str(SipUri.build(uri.host, port=uri.port, parameters={"transport": "udp"}))


def plans_for(
    plan: Plan, servers: Sequence[Address], source: Address | None, *, may_be_none: bool
) -> list[Plan]:
    """One for each family that servers and this host have in common, from ``source`` if given.

    ``may_be_none``: something else will be asked.  Raises UnreachableError otherwise.
    """
    plans: list[Plan] = []
    unreachable: list[UnreachableError] = []
    for family in Family:
        mine = tuple(each for each in servers if each.family is family)[:MOST_SERVERS]
        if not mine or (source is not None and source.family is not family):
            continue
        try:
            local = source or source_address(mine[0])
        except UnreachableError as error:
            unreachable.append(error)
            continue
        plans.append(
            replace(
                plan,
                local_host=local.host,
                servers=mine,
                second_host=_neighbour_of(local),
                sip_servers=tuple(each for each in plan.sip_servers if each.family is family),
            )
        )
    if plans or may_be_none:
        return plans
    if unreachable:
        raise unreachable[0]
    raise UnreachableError(f"no server has an address of the family of {source}")


async def _located(uris: Sequence[str], locator: Locator) -> tuple[Address, ...]:
    found: dict[Address, None] = {}
    problems: list[LocateError] = []
    for uri in uris:
        try:
            found.update((each.address, None) for each in await locator.locate(uri))
        except LocateError as error:
            problems.append(error)
    if not found and problems:
        raise problems[0]
    for problem in problems:
        report_error(str(problem))
    return tuple(found)


def _neighbour_of(local: Address) -> str | None:
    """Another address of the same interface, which then is behind the same NAT."""
    mine = local_addresses()
    interfaces = {each.address.interface for each in mine if each.host == local.host}
    others = (
        each.host
        for each in mine
        if each.address.interface in interfaces
        and each.host != local.host
        and each.address.family is local.family
        and not each.address.is_link_local
        and not each.deprecated
    )
    return next(others, None)
