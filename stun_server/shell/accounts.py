"""``stun-server user``, ``secret`` and ``credentials``: what the store holds, and what it gives.

They open the same store as a server with the same options, and a running server sees the change.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from natkit.cli.entry import JsonOption, print_json
from natkit.errors import ConfigError, MisuseError
from natkit.server.asking import read_hidden, read_key
from natkit.server.stores.opening import store_at
from natkit.server.stores.store import Store, UserKeys
from natkit.stun.credentials import opaque_string
from natkit.turn.credentials import Digest, time_limited
from stun_server.config import Flag, load
from stun_server.shell.state import default_data_dir

__all__ = ["ConfigOption", "RealmOption", "register"]

T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
class _Place:
    """The store of a server, and what of its configuration matters for it."""

    realm: str
    url: str
    data_dir: Path
    users: frozenset[str]
    secrets: tuple[str, ...]
    digest: Digest

    @classmethod
    def find(cls, config: Path | None, realm: str | None, data_dir: Path | None) -> "_Place":
        flags = []
        if realm is not None:
            flags.append(Flag("--realm", ("users", "realm"), realm))
        if data_dir is not None:
            flags.append(Flag("--data-dir", ("data_dir",), data_dir))
        options = load(config, flags)
        users = options.users
        return cls(
            users.realm,
            users.store,
            options.data_dir or default_data_dir(),
            frozenset(users.passwords),
            users.secrets,
            users.secret_digest,
        )

    def run(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Do something with the store; ConfigError when there is none."""

        async def main() -> T:
            async with self.opened() as store:
                if store is None:
                    raise ConfigError("users.store: the configuration says that there is no store")
                return await work(store)

        return asyncio.run(main())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store | None]:
        store = store_at(self.url, self.data_dir)
        try:
            if store is not None:
                await store.open()
            yield store
        finally:
            if store is not None:
                await store.aclose()


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
    place = _Place.find(config, realm, data_dir)
    if name in place.users:
        raise ConfigError(f"user {name!r}: stands in {config}, and what stands there counts first")
    try:
        prepared = opaque_string(name)
        if md5 is None and sha256 is None:
            user = UserKeys.derive(name, place.realm, read_hidden("Password", "--md5 or --sha256"))
        else:
            user = UserKeys(prepared, read_key("--md5", md5, 16), read_key("--sha256", sha256, 32))
    except MisuseError as error:
        raise ConfigError(f"user {name!r}: {error}") from error
    is_new = place.run(lambda store: store.put(place.realm, user))
    typer.echo(f"{user.username}: {'added to' if is_new else 'changed in'} realm {place.realm}")


@user_app.command("remove")
def remove_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The username.")],
    *,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Remove a user; allocations that it has go on until they expire."""
    place = _Place.find(config, realm, data_dir)
    try:
        prepared = opaque_string(name)
    except MisuseError as error:
        raise ConfigError(f"user {name!r}: {error}") from error
    if not place.run(lambda store: store.remove(place.realm, prepared)):
        raise ConfigError(f"user {name!r}: not in realm {place.realm} of the store")
    typer.echo(f"{prepared}: removed from realm {place.realm}")


@user_app.command("list")
def list_users(
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    realm: RealmOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the users in the store, one a line."""
    place = _Place.find(config, realm, data_dir)
    users = place.run(lambda store: store.users(place.realm))
    if as_json:
        listed = [
            {
                "username": user.username,
                "md5": user.md5 is not None,
                "sha256": user.sha256 is not None,
            }
            for user in users
        ]
        print_json({"realm": place.realm, "users": listed})
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
    place = _Place.find(config, realm, data_dir)
    if from_input:
        secret = read_hidden("Secret", "no --given")
    else:
        secret = secrets.token_urlsafe(SECRET_BYTES)
    if not place.run(lambda store: store.add_secret(place.realm, secret)):
        raise ConfigError(f"realm {place.realm} has this secret already")
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
    place = _Place.find(config, realm, data_dir)

    async def remove(store: Store) -> bool:
        for secret in await store.secrets(place.realm):
            if _fingerprint(secret) == fingerprint:
                return await store.remove_secret(place.realm, secret)
        return False

    if not place.run(remove):
        raise ConfigError(f"no secret of realm {place.realm} has the fingerprint {fingerprint!r}")
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
    place = _Place.find(config, realm, data_dir)
    found = [_fingerprint(each) for each in place.run(lambda store: store.secrets(place.realm))]
    if as_json:
        print_json({"realm": place.realm, "secrets": found})
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
    place = _Place.find(config, realm, data_dir)
    made = time_limited(
        place.secrets[0] if place.secrets else asyncio.run(_newest_secret(place)),
        now=time.time(),
        lifetime=lifetime,
        name=name,
        digest=place.digest,
    )
    if as_json:
        print_json({"username": made.username, "password": made.password, "ttl": lifetime})
        return
    typer.echo(f"username {made.username}\npassword {made.password}")


async def _newest_secret(place: _Place) -> str:
    async with place.opened() as store:
        found: Sequence[str] = await store.secrets(place.realm) if store is not None else ()
    if not found:
        raise ConfigError(
            f"realm {place.realm} has no secret: `stun-server secret add`, or [users] secrets"
        )
    return found[0]


def _fingerprint(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()[:FINGERPRINT_DIGITS]
