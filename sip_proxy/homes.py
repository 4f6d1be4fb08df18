"""Domains of others whose users come through this proxy as their edge (RFC 5626 §3.4).

This proxy does not know their passwords: whatever they send goes to the proxy of their own domain,
which asks for them, and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from natkit.sip import NameAddress, Parameter, Request, SipUri
from natkit.sip.grammar import domain_name
from natkit.sip.kinds import FROM, ROUTE

__all__ = ["Home", "Homes"]


@dataclass(frozen=True, slots=True)
class Home:
    """A ``domain``, and the proxy that its users' requests go to; None: the domain's own."""

    domain: str
    proxy: SipUri | None = None

    @property
    def route(self) -> NameAddress:
        """The Route that leads there."""
        base = self.proxy or SipUri.build(self.domain)
        if base.loose_routing:
            return NameAddress(base)
        return NameAddress(replace(base, parameters=(*base.parameters, Parameter("lr", None))))

    def has(self, host: str) -> bool:
        """Whether a server of that name is of the domain, or is its proxy."""
        name = domain_name(host)
        if self.proxy is not None and name == domain_name(self.proxy.host):
            return True
        return name == self.domain or name.endswith("." + self.domain)


class Homes:
    """The domains that this proxy is an edge for."""

    def __init__(self, homes: Sequence[Home]) -> None:
        self._homes = {home.domain: home for home in homes}

    def of_sender(self, request: Request) -> Home | None:
        """The home of who sent a request, as its From claims."""
        sender = request.headers.get(FROM)
        if sender is None or not isinstance(sender.uri, SipUri):
            return None
        return self._homes.get(domain_name(sender.uri.host))

    def leads_home(self, request: Request) -> bool:
        """Whether a visitor's request goes to its home: by its Route, or since it has none."""
        home = self.of_sender(request)
        if home is None:
            return False
        route = request.headers.first(ROUTE)
        if route is None:
            return True
        return isinstance(route.uri, SipUri) and home.has(route.uri.host)
