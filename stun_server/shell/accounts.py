"""``stun-server user``, ``secret`` and ``credentials``: what the store holds, and what it gives.

They open the same store as a server with the same options, and a running server sees the change.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from natkit.cli.entry import JsonOption, print_json
from natkit.errors import ConfigError, MisuseError
from natkit.server.account_store import AccountStore, prepared_name
from natkit.server.asking import read_hidden, read_key
from natkit.server.stores.store import Store, UserKeys
from natkit.turn.credentials import time_limited
from stun_server.shell.state import default_data_dir

if TYPE_CHECKING:
    from stun_server.config import Config

__all__ = ["ConfigOption", "RealmOption", "register"]

SECRET_BYTES = 32
"""Of a secret that is made here: it cannot be guessed from a password that it made."""

FINGERPRINT_DIGITS = 8

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The server's configuration.")
]
RealmOption = Annotated[
    str | None,
    typer.Option("--realm", metavar="REALM", help="The realm. Default: the configuration's."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="The server's data directory."),
]

user_app = typer.Typer(help="Add, remove and list the users in the store.")
secret_app = typer.Typer(help="Add, remove and list the secrets of time-limited credentials.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(user_app, name="user")
    app.add_typer(secret_app, name="secret")
    app.command("credentials")(credentials)


def _options(config: Path | None, realm: str | None, data_dir: Path | None) -> "Config":
    # Here, so that other commands need not load what a configuration is made of.
    from stun_server.config import Flag, load  # noqa: PLC0415

    flags = []
    if realm is not None:
        flags.append(Flag("--realm", ("users", "realm"), realm))
    if data_dir is not None:
        flags.append(Flag("--data-dir", ("data_dir",), data_dir))
    return load(config, flags)


def _store(config: Path | None, realm: str | None, data_dir: Path | None) -> AccountStore:
    """The store of a server with these options."""
    return _store_of(_options(config, realm, data_dir))


def _store_of(options: "Config") -> AccountStore:
    users = options.users
    data_dir = options.data_dir or default_data_dir()
    return AccountStore(users.realm, users.store, data_dir, frozenset(users.passwords))


@user_app.command("add")
def add_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The username.")],
    *,
    md5: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The MD5 key, as other servers keep it."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="The SHA-256 key.")
    ] = None,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Add a user, or change its password.

    The password is asked for, or read from the standard input: one line.
    """
    kept = _store(config, realm, data_dir)
    kept.refuse_configured(name, config)
    prepared = prepared_name(name)
    try:
        if md5 is None and sha256 is None:
            user = UserKeys.derive(name, kept.realm, read_hidden("Password", "--md5 or --sha256"))
        else:
            user = UserKeys(prepared, read_key("--md5", md5, 16), read_key("--sha256", sha256, 32))
    except MisuseError as error:
        raise ConfigError(f"user {name!r}: {error}") from error
    is_new = kept.run(lambda store: store.put(kept.realm, user))
    typer.echo(f"{user.username}: {'added to' if is_new else 'changed in'} realm {kept.realm}")


@user_app.command("remove")
def remove_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The username.")],
    *,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Remove a user; allocations that it has go on until they expire."""
    kept = _store(config, realm, data_dir)
    prepared = prepared_name(name)
    if not kept.run(lambda store: store.remove(kept.realm, prepared)):
        raise ConfigError(f"user {name!r}: not in realm {kept.realm} of the store")
    typer.echo(f"{prepared}: removed from realm {kept.realm}")


@user_app.command("list")
def list_users(
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the users in the store, one a line."""
    kept = _store(config, realm, data_dir)
    users = kept.run(lambda store: store.users(kept.realm))
    if as_json:
        listed = [
            {
                "username": user.username,
                "md5": user.md5 is not None,
                "sha256": user.sha256 is not None,
            }
            for user in users
        ]
        print_json({"realm": kept.realm, "users": listed})
        return
    for user in users:
        typer.echo(user.username)


@secret_app.command("add")
def add_secret(
    *,
    from_input: Annotated[
        bool,
        typer.Option("--given", help="Ask for the secret, or read it from the standard input."),
    ] = False,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Add a secret, made up and shown if none is given.

    Credentials are made with the newest; those that older ones made stay good.
    """
    kept = _store(config, realm, data_dir)
    if from_input:
        secret = read_hidden("Secret", "no --given")
    else:
        secret = secrets.token_urlsafe(SECRET_BYTES)
    if not kept.run(lambda store: store.add_secret(kept.realm, secret)):
        raise ConfigError(f"realm {kept.realm} has this secret already")
    typer.echo(secret if not from_input else f"{_fingerprint(secret)}: added")


@secret_app.command("remove")
def remove_secret(
    fingerprint: Annotated[
        str, typer.Argument(metavar="FINGERPRINT", help="As `secret list` shows it.")
    ],
    *,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Remove a secret; credentials that it made allocate no more."""
    kept = _store(config, realm, data_dir)

    async def remove(store: Store) -> bool:
        for secret in await store.secrets(kept.realm):
            if _fingerprint(secret) == fingerprint:
                return await store.remove_secret(kept.realm, secret)
        return False

    if not kept.run(remove):
        raise ConfigError(f"no secret of realm {kept.realm} has the fingerprint {fingerprint!r}")
    typer.echo(f"{fingerprint}: removed")


@secret_app.command("list")
def list_secrets(
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the fingerprints of the secrets in the store, the newest first."""
    kept = _store(config, realm, data_dir)
    found = [_fingerprint(each) for each in kept.run(lambda store: store.secrets(kept.realm))]
    if as_json:
        print_json({"realm": kept.realm, "secrets": found})
        return
    for fingerprint in found:
        typer.echo(fingerprint)


def credentials(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Whose they are, for quotas and logs.")
    ] = "",
    *,
    lifetime: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long they are good.")
    ] = 3600,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make time-limited credentials with the newest secret."""
    options = _options(config, realm, data_dir)
    users = options.users
    made = time_limited(
        users.secrets[0] if users.secrets else asyncio.run(_newest_secret(_store_of(options))),
        now=time.time(),
        lifetime=lifetime,
        name=name,
        digest=users.secret_digest,
    )
    if as_json:
        print_json({"username": made.username, "password": made.password, "ttl": lifetime})
        return
    typer.echo(f"username {made.username}\npassword {made.password}")


async def _newest_secret(kept: AccountStore) -> str:
    async with kept.opened() as store:
        found: Sequence[str] = await store.secrets(kept.realm) if store is not None else ()
    if not found:
        raise ConfigError(
            f"realm {kept.realm} has no secret: `stun-server secret add`, or [users] secrets"
        )
    return found[0]


def _fingerprint(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()[:FINGERPRINT_DIGITS]
