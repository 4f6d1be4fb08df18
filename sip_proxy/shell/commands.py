"""``sip-proxy``: its options, and what they start."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from natkit.cli.entry import VersionOption, application
from natkit.errors import MisuseError
from natkit.sip.grammar import domain_name
from sip_proxy.settings import Settings
from sip_proxy.shell.listening import SERVED, ListenAddress, open_listeners
from sip_proxy.shell.running import serve
from sip_proxy.shell.stores import MemoryLocation, SqliteLocation
from sip_proxy.shell.users import Users
from sipdns import Locator

__all__ = ["app"]

DATABASE: Final = "sip-proxy.sqlite"

app = application(
    "A SIP proxy and registrar.",
    example="sip-proxy --domain example.org --listen udp:127.0.0.1:5060 --user alice:secret",
)


@app.callback(invoke_without_command=True)
def main(
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Be the proxy and registrar of it; repeatable."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[udp:|tcp:]ADDRESS:PORT",
            help="Serve there, by both without a prefix; repeatable. Default: 0.0.0.0:5060.",
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:PASSWORD", help="A user, of every domain; repeatable."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the registrations there. Without it they end with the server.",
        ),
    ] = None,
    _version: VersionOption = False,  # noqa: FBT002 - a flag of typer's
) -> None:
    """Serve until SIGINT or SIGTERM."""
    if not domain:
        raise MisuseError("name the domain of the users: --domain example.org")
    domains = frozenset(map(domain_name, domain))
    wanted = [ListenAddress.parse(each) for each in listen or ["0.0.0.0:5060"]]
    users = _users(user or [], domains)
    bound = open_listeners(wanted)
    settings = Settings(tuple(each.listener for each in bound), domains)

    def announce() -> None:
        names = [f"{each.listener.transport}:{each.listener.address}" for each in bound]
        typer.echo(f"serving {', '.join(sorted(domains))} on {', '.join(names)}")

    location = MemoryLocation() if data_dir is None else SqliteLocation(data_dir / DATABASE)
    asyncio.run(serve(settings, bound, users, Locator(transports=SERVED), location, announce))


def _users(texts: list[str], domains: frozenset[str]) -> Users:
    passwords = {}
    for text in texts:
        name, colon, password = text.partition(":")
        if not (name and colon and password):
            raise MisuseError("--user takes NAME:PASSWORD")
        passwords[name] = password
    return Users.of_passwords(passwords, domains)
