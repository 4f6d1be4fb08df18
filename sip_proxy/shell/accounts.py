"""``sip-proxy user``: who is in the store of users.

The commands open the same store as a proxy with the same options, and a running proxy sees the
change.
"""

from pathlib import Path
from typing import Annotated

import typer

from natkit.cli.entry import ExitStatus, JsonOption, print_json, report_error
from natkit.errors import ConfigError
from natkit.server.account_store import AccountStore, prepared_name
from natkit.server.asking import read_hidden, read_key
from natkit.server.stores.store import UserKeys
from natkit.sip.grammar import domain_name
from sip_proxy.shell.state import default_data_dir

__all__ = ["register"]

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The proxy's configuration.")
]
DomainOption = Annotated[
    str | None,
    typer.Option(
        "--domain", metavar="DOMAIN", help="The domain. Default: the configuration's, if it is one."
    ),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="The proxy's data directory.")
]

user_app = typer.Typer(help="Add, remove and list the users in the store.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(user_app, name="user")


def _store(config: Path | None, domain: str | None, data_dir: Path | None) -> AccountStore:
    """The store of a proxy with these options; its realm is the domain."""
    # Here, so that other commands need not load what a configuration is made of.
    from sip_proxy.config import Flag, load  # noqa: PLC0415

    flags = []
    if data_dir is not None:
        flags.append(Flag("--data-dir", ("data_dir",), data_dir))
    if domain is not None and config is None:
        flags.append(Flag("--domain", ("domains",), [domain]))
    options = load(config, flags)
    if domain is None:
        if len(options.domains) != 1:
            raise ConfigError("say of which domain: --domain example.org")
        (domain,) = options.domains
    elif domain_name(domain) not in options.domains:
        raise ConfigError(f"--domain: {domain} is none of {', '.join(options.domains)}")
    else:
        domain = domain_name(domain)
    accounts = options.users.accounts(options.domains)
    return AccountStore(
        domain,
        options.users.store,
        options.data_dir or default_data_dir(),
        frozenset(name for name, realm in accounts if realm == domain),
    )


@user_app.command("add")
def add_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The part before the @.")],
    *,
    md5: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="HA1 by MD5, as other proxies keep it."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="HA1 by SHA-256.")
    ] = None,
    sha512_256: Annotated[
        str | None, typer.Option("--sha512-256", metavar="HEX", help="HA1 by SHA-512/256.")
    ] = None,
    config: ConfigOption = None,
    domain: DomainOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Add a user, or change its password.

    The password is asked for, or read from the standard input: one line. In its place stand the
    hashes of NAME:DOMAIN:PASSWORD that another proxy has; challenges offer what all users have.
    """
    from sip_proxy.shell.users import keys_of  # noqa: PLC0415 - as above

    kept = _store(config, domain, data_dir)
    kept.refuse_configured(name, config)
    if "@" in name or ":" in name:
        raise ConfigError(f"user {name!r}: a name has neither @ nor :, the domain goes to --domain")
    if md5 is None and sha256 is None and sha512_256 is None:
        given = "--md5, --sha256 or --sha512-256"
        user = keys_of(name, kept.realm, read_hidden("Password", given))
    else:
        user = UserKeys(
            prepared_name(name),
            read_key("--md5", md5, 16),
            read_key("--sha256", sha256, 32),
            read_key("--sha512-256", sha512_256, 32),
        )
    is_new = kept.run(lambda store: store.put(kept.realm, user))
    typer.echo(f"{user.username}@{kept.realm}: {'added' if is_new else 'changed'}")


@user_app.command("remove")
def remove_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The part before the @.")],
    *,
    config: ConfigOption = None,
    domain: DomainOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Remove a user; where it is registered it stays so until that expires."""
    kept = _store(config, domain, data_dir)
    prepared = prepared_name(name)
    if not kept.run(lambda store: store.remove(kept.realm, prepared)):
        report_error(f"user {name!r}: not of {kept.realm} in the store")
        raise typer.Exit(ExitStatus.WRONG_USE)
    typer.echo(f"{prepared}@{kept.realm}: removed")


@user_app.command("list")
def list_users(
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    domain: DomainOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the users in the store, one a line."""
    kept = _store(config, domain, data_dir)
    users = kept.run(lambda store: store.users(kept.realm))
    if as_json:
        listed = [
            {
                "username": user.username,
                "md5": user.md5 is not None,
                "sha256": user.sha256 is not None,
                "sha512_256": user.sha512_256 is not None,
            }
            for user in users
        ]
        print_json({"domain": kept.realm, "users": listed})
        return
    for user in users:
        typer.echo(user.username)
