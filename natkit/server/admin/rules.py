"""Who may ask an administrative listener for what: decisions without I/O.

What threatens such a listener is a browser on the operator's own machine: any page that it shows
can send requests here.  A page whose name was made to point here (DNS rebinding) gives itself away
by the Host header, one of another origin by the Origin header; what changes anything is also asked
for in a way that a page of another origin cannot have.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from natkit.address import Address, split_host_port
from natkit.errors import MisuseError
from natkit.stun.credentials import secrets_equal

__all__ = ["SHORTEST_TOKEN", "Rules", "is_loopback"]

SHORTEST_TOKEN = 16
"""Characters of a token: what is shorter could be guessed, however slowly."""

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Rules:
    """What a listener lets pass.

    ``token``: what callers have to show; None lets all in who reach the listener.  ``names``: the
    host names, in lower case, by which it is reached besides addresses and ``localhost``; None for
    any, where nothing behind it is worth a rebinding.  ``secure``: it speaks HTTPS.
    """

    token: str | None
    names: frozenset[str] | None = frozenset()
    secure: bool = False

    def knows_host(self, host: str | None) -> bool:
        """Whether a Host header names this listener.

        An address does always: it cannot have been made to point here by somebody's DNS.
        """
        if not host:
            return False
        try:
            name, _ = split_host_port(host)
        except MisuseError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            name = name.lower().removesuffix(".")
            return self.names is None or name == "localhost" or name in self.names
        return True

    def is_own_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a request was made by a page of this listener, or by none (RFC 6454 §7).

        A page that came by HTTPS is its own too where it speaks HTTP: a proxy may stand before it.
        """
        if origin is None:
            return True
        schemes = ("https",) if self.secure else ("http", "https")
        return origin.lower() in {f"{scheme}://{host}".lower() for scheme in schemes}

    def may_change(self, headers: Mapping[str, str]) -> bool:
        """Whether a request that changes something may be followed.

        Browsers let a page of another origin send JSON only after they have asked the listener,
        which never agrees; and they say themselves where a request comes from (Fetch Metadata).
        """
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        site = headers.get("Sec-Fetch-Site", "same-origin")
        return kind == "application/json" and site == "same-origin"

    def is_token(self, shown: str) -> bool:
        """Whether this is the token; the time that takes tells nothing of it."""
        return self.token is not None and secrets_equal(shown.encode(), self.token.encode())

    def bears_token(self, authorization: str | None) -> bool | None:
        """Whether an Authorization header carries the token (RFC 6750 §2.1); None without one."""
        if authorization is None or not authorization.lower().startswith(_BEARER):
            return None
        return self.is_token(authorization[len(_BEARER) :].strip())


def is_loopback(address: Address) -> bool:
    """Whether only programs of the same machine reach a listener there."""
    return address.ip.is_loopback
