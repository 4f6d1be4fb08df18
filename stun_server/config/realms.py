"""``[realms.NAME]`` and ``[[redirects]]``: further realms, and clients that go elsewhere."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Network
from stun_server.config.policy import RealmLimits, RealmPolicy
from stun_server.config.users import UserOptions
from stun_server.config.values import Bound, Listen, Origin, ServerAddress
from stun_server.settings import Alternate, AlternateWhen

__all__ = ["Realm", "Redirect"]


class Realm(Table):
    """A realm besides that of [users], whose clients come to its listeners or from its origins."""

    listeners: tuple[Listen, ...] = ()
    """Which of listeners.listen lead to this realm; none: all do."""
    origins: tuple[Origin, ...] = ()
    """The web origins whose pages lead to this realm, like "https://shop.example"; none: all do,
    and clients that send no ORIGIN too."""
    users: UserOptions = UserOptions()
    policy: RealmPolicy = RealmPolicy()
    limits: RealmLimits = RealmLimits()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.listeners or self.origins):
            raise MisuseError("no client would come to this realm: give it listeners or origins")
        return self


class Redirect(Table):
    """Clients that are sent to another server by ALTERNATE-SERVER (RFC 8489 §10)."""

    servers: Annotated[tuple[ServerAddress, ...], Field(min_length=1, max_length=2)]
    """The other server's ADDRESS:PORT, one of each family at most; it is reached by the transport
    that the client used here."""
    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")] | None = None
    """The name on the other server's certificate, where that is not the name of this server."""
    clients: tuple[Network, ...] = ()
    """The networks of the clients that are meant; none: all clients."""
    listeners: tuple[Listen, ...] = ()
    """Which of listeners.listen the rule is for; none: all of them."""
    when: AlternateWhen = AlternateWhen.ALWAYS
    """Whether the rule holds "always", or only while this server is "draining"."""
    above: Annotated[int, Field(ge=0, strict=True)] = 0
    """How many allocations must live here for the rule to hold."""
    share: Annotated[int, Field(ge=1, le=100, strict=True)] = 100
    """The percentage of the clients that are sent away, chosen by their addresses; while this
    server drains it is all of them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({each.family for each in self.servers}) < len(self.servers):
            raise MisuseError("servers are the addresses of one server, one of each family")
        return self

    def rule(self, bound: Bound) -> Alternate:
        """What the machine is told."""
        return Alternate(
            self.servers,
            self.domain,
            self.clients,
            bound(self.listeners),
            self.when,
            self.above,
            self.share,
        )
