"""What it means to find a server: the Locator protocol, and the Target that it yields.

The library's faces take ``locator=None`` for the system's resolver; ``sipdns.Locator`` follows
NAPTR and SRV records.  This module resolves nothing itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from natkit.address import Address
from natkit.machine import Transport


@dataclass(frozen=True, slots=True)
class Target:
    """One server to try: ``host`` is the name whose lookup gave ``address``.

    ``tls_name`` is the name that the server's certificate must carry: the domain that the user
    named, not what the DNS led to (RFC 5922 §7.1, RFC 8489 §8.1).
    """

    transport: Transport
    address: Address
    host: str
    tls_name: str


class Locator(Protocol):
    """Finds the servers of a URI, in the order to try them."""

    async def locate(self, uri: str) -> Sequence[Target]:
        """At least one Target; raises LocateError when there is none, MisuseError for a bad URI."""
        ...
