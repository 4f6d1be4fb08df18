"""``[users]``: who may allocate."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from natkit.server.config.tables import Table
from natkit.server.config.values import Seconds, Secret, StoreUrl, Switch
from natkit.stun.tokens import TokenKey
from natkit.turn.credentials import Digest
from stun_server.config.tables import DEFAULT
from stun_server.config.values import Algorithm, Password, RealmName, TokenSecret

__all__ = ["UserOptions", "Users"]


class UserOptions(Table):
    """Who may allocate in a realm."""

    passwords: Mapping[str, Password] = Field(default_factory=dict)
    """Users by their names, each with a password or with keys."""
    store: StoreUrl = "sqlite"
    """Where more users and secrets are; ``sqlite`` alone is a file in the data directory."""
    cache_fresh: Seconds = 10
    """Seconds for which a user of the store is not looked up again."""
    cache_lifetime: Seconds = 3_600
    """Seconds for which such a user is known while the store is down."""
    secrets: tuple[Secret, ...] = ()
    """Secrets that make time-limited credentials, the newest first."""
    secret_digest: Digest = Digest.SHA1
    """The digest of time-limited credentials: "sha1" or "sha256"."""
    oauth_keys: Mapping[str, TokenSecret] = Field(default_factory=dict)
    """By name, the keys with which authorization servers seal access tokens (RFC 7635): the base64
    of 32 bytes each for AES-256-GCM, or of 16 for AES-128-GCM, and the times between which tokens
    are taken where that is to end."""
    oauth_server_name: Annotated[str, Field(max_length=127)] = DEFAULT.token_server_name
    """For whom tokens are made, as THIRD-PARTY-AUTHORIZATION says; the realm if it is empty."""
    strict_expiry: Switch = DEFAULT.strict_expiry
    """Whether an allocation ends with the credential that opened it."""
    password_algorithms: tuple[Algorithm, ...] = DEFAULT.password_algorithms
    """What clients are offered, in this order; none: only what RFC 5389
    clients know."""
    username_anonymity: Switch = DEFAULT.username_anonymity
    """Whether clients may send USERHASH in place of USERNAME; never where secrets make time-limited
    credentials or access tokens are taken, for nobody could tell whose hash it is."""
    nonce_lifetime: Seconds = int(DEFAULT.nonce_lifetime)
    """Seconds after which a client must take a new nonce."""

    @property
    def token_keys(self) -> tuple[TokenKey, ...]:
        """The keys of access tokens, as the machine takes them."""
        return tuple(
            TokenKey(kid, each.key, each.not_before, each.until)
            for kid, each in self.oauth_keys.items()
        )


class Users(UserOptions):
    """Who may allocate."""

    realm: RealmName = DEFAULT.realm
    """The realm of these users; in it are all clients that no further realm takes."""
