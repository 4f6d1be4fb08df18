"""What a gatherer must know of this host: its addresses, and the ways to its gateways."""

from contextlib import suppress
from typing import Final

from natkit.address import Address, Family
from natkit.aio.system_errors import unreachable
from natkit.gather.mapped import RouteToGateway
from natkit.gather.settings import HostAddress
from natkit.net.gateways import default_gateways
from natkit.net.local_addresses import local_addresses
from natkit.net.routes import source_for
from natkit.portmap.registry import SERVER_PORT

__all__ = ["gateway_routes", "host_addresses"]

# Documentation's own (RFC 5737, RFC 3849): they have no route but the default one.
_ELSEWHERE: Final = {
    Family.IPV4: Address("192.0.2.1", 9),
    Family.IPV6: Address("2001:db8::1", 9),
}


def host_addresses() -> tuple[HostAddress, ...]:
    """The addresses of all interfaces.  Raises UnreachableError when the system does not say."""
    defaults = set()
    for remote in _ELSEWHERE.values():
        with suppress(OSError):
            # Nothing is sent: the system only says from where it would.
            defaults.add(source_for(remote).host)
    try:
        found = local_addresses()
    except OSError as error:
        raise unreachable("read the addresses of this host", error) from error
    return tuple(
        HostAddress(
            interface=each.address.interface,
            host=each.host,
            is_default=each.host in defaults,
            temporary=each.temporary,
            deprecated=each.deprecated,
            tentative=each.tentative,
        )
        for each in found
    )


def gateway_routes() -> tuple[RouteToGateway, ...]:
    """The preferred default gateway of each family, with our address towards it."""
    routes: dict[Family, RouteToGateway] = {}
    for gateway in default_gateways():
        with suppress(OSError):
            local = source_for(Address(gateway.host, SERVER_PORT)).host
            routes.setdefault(gateway.family, RouteToGateway(gateway.host, local))
    return tuple(routes.values())
