"""Values that several ``sipdns`` commands take as options."""

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Transport
from sipdns.services import SIP_SERVICES
from sipdns.system import DNS_PORT

__all__ = ["read_nameserver", "read_transports"]


def read_nameserver(text: str) -> Address:
    """``ADDRESS[:PORT]``; MisuseError for another text."""
    return Address.parse(text, DNS_PORT)


def read_transports(text: str) -> tuple[Transport, ...]:
    """Transports of SIP by commas, the order kept; MisuseError for any other word."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in SIP_SERVICES:
            known = ", ".join(SIP_SERVICES)
            raise MisuseError(f"--transports has {name!r}, which is not one of {known}")
    return tuple(Transport(name) for name in names)
