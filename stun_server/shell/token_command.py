"""``stun-server token``: an access token for a client, as an authorization server makes it.

With ``--json`` the object has the names of RFC 7635 §4.1.1, and ``"schema": 1``.
"""

import os
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Annotated

import typer

from natkit.cli.entry import JsonOption, print_json
from natkit.errors import ConfigError
from natkit.stun.tokens import SHA1_KEY_LENGTH, SHA256_KEY_LENGTH, TokenKey, grant
from stun_server.shell.accounts import ConfigOption, RealmOption

if TYPE_CHECKING:
    from stun_server.config import UserOptions

__all__ = ["token"]


def token(
    *,
    kid: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The key to seal it with. Default: the first valid one."),
    ] = None,
    lifetime: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long it is good.")
    ] = 3600,
    sha1: Annotated[
        bool, typer.Option("--sha1", help="For a client that signs by SHA-1, as most do.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    realm: RealmOption = None,
) -> None:
    """Make an access token (RFC 7635) with a key of the configuration."""
    # Here, so that other commands need not load what a configuration is made of.
    from stun_server.config import load  # noqa: PLC0415

    options = load(config)
    if realm is not None and realm != options.users.realm and realm not in options.realms:
        raise ConfigError(f"--realm {realm}: the configuration has no such realm")
    users = options.users_of(realm or options.users.realm)
    now = time.time()
    key = _key(users, kid, now)
    made = grant(
        key,
        users.oauth_server_name or users.realm,
        now=now,
        lifetime=lifetime,
        random=os.urandom,
        key_length=SHA1_KEY_LENGTH if sha1 else SHA256_KEY_LENGTH,
    )
    sealed, mac_key = (b64encode(each).decode() for each in (made.access_token, made.mac_key))
    if as_json:
        algorithm = "HMAC-SHA-1" if sha1 else "HMAC-SHA-256"
        print_json(
            {
                "access_token": sealed,
                "token_type": "pop",
                "expires_in": lifetime,
                "kid": made.kid,
                "key": mac_key,
                "alg": algorithm,
            }
        )
        return
    typer.echo(f"kid          {made.kid}\naccess token {sealed}\nkey          {mac_key}")


def _key(users: "UserOptions", kid: str | None, now: float) -> TokenKey:
    keys = users.token_keys
    if not keys:
        raise ConfigError("users.oauth_keys: the configuration has no key of access tokens")
    if kid is not None and all(key.kid != kid for key in keys):
        known = ", ".join(key.kid for key in keys)
        raise ConfigError(f"--kid {kid}: there is no such key; known are {known}")
    good = [key for key in keys if key.is_good(now) and kid in (None, key.kid)]
    if not good:
        raise ConfigError("users.oauth_keys: no such key is valid now; see not_before and until")
    return good[0]
