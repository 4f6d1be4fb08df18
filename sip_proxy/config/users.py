"""``[users]``: who may register and call."""

from collections.abc import Collection, Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Seconds, StoreUrl, Switch
from natkit.server.stores.store import UserKeys
from natkit.stun.credentials import opaque_string
from sip_proxy.config.tables import DEFAULT
from sip_proxy.config.values import DigestAlgorithm, DigestQop, Password, ReadyKeys
from sip_proxy.shell.users import keys_of

__all__ = ["Users"]


class Users(Table):
    """Who may register and call."""

    passwords: Mapping[str, Password] = Field(default_factory=dict)
    """Users by their names, each with a password or with what it comes to; ``alice`` is a user of
    every domain, ``"alice@example.org"`` of one."""
    store: StoreUrl = "sqlite"
    """Where more users are; ``sqlite`` alone is a file in the data directory.  Databases have one
    table for the users of sip-proxy and of stun-server."""
    cache_fresh: Seconds = 10
    """Seconds for which a user of the store is not looked up again: so long an old password counts
    after it was changed."""
    cache_lifetime: Seconds = 3_600
    """Seconds for which such a user is known while the store is down."""
    authenticate: Switch = DEFAULT.authenticate
    """Whether users prove who they are; without it anybody registers and calls as anybody."""
    algorithms: Annotated[tuple[DigestAlgorithm, ...], Field(min_length=1)] = DEFAULT.algorithms
    """What challenges offer, in this order: a phone takes the first that it knows (RFC 8760)."""
    qop: Annotated[tuple[DigestQop, ...], Field(min_length=1)] = DEFAULT.qop
    """What a phone's proof protects: ``auth`` its method and URI, ``auth-int`` its body too, where
    nothing between here and the phone changes bodies.  Of both the phone chooses."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, password in self.passwords.items():
            user, at, domain = name.rpartition("@")
            if at and not (user and domain):
                raise MisuseError(f"passwords: {name!r} is written NAME or NAME@DOMAIN")
            opaque_string(user if at else name)
            if isinstance(password, str):
                opaque_string(password)
            if isinstance(password, ReadyKeys) and not at:
                raise MisuseError(
                    f"passwords: what {name!r}'s password comes to depends on the domain; "
                    "name the user NAME@DOMAIN"
                )
        return self

    def accounts(self, domains: Collection[str]) -> dict[tuple[str, str], UserKeys]:
        """The users by name and domain, with their keys; a domain is the realm of its users."""
        found: dict[tuple[str, str], UserKeys] = {}
        # Those of one domain last: they count before those of every domain.
        for written, password in sorted(self.passwords.items(), key=lambda item: "@" in item[0]):
            user, at, domain = written.rpartition("@")
            name = user if at else written
            for realm in (domain.lower(),) if at else domains:
                found[name, realm] = (
                    keys_of(name, realm, password)
                    if isinstance(password, str)
                    else password.of(name)
                )
        return found
