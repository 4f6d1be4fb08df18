"""``[[homes]]``: domains of others whose users come through this proxy."""

from natkit.server.config.tables import Table
from sip_proxy.config.values import Domain, SipServer
from sip_proxy.homes import Home

__all__ = ["HomeOptions"]


class HomeOptions(Table):
    """A domain whose registrar is elsewhere, for whose phones this is the edge (RFC 5626).

    Their registrations and requests go to their own proxy, which asks for their credentials.
    """

    domain: Domain
    """The domain, like ``example.net``."""
    proxy: SipServer | None = None
    """Where its users' requests go, like ``sip:10.0.0.9;transport=tcp``; none: where its DNS
    says."""

    def home(self) -> Home:
        """What the machine is told."""
        return Home(self.domain, self.proxy)
