"""``sip-proxy``: its options, and what they start."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from natkit.cli.entry import VersionOption, application
from natkit.errors import ConfigError
from sip_proxy.config import Flag, load
from sip_proxy.shell.hook_running import hook_runner
from sip_proxy.shell.listening import SERVED, everywhere, open_listeners
from sip_proxy.shell.running import serve
from sip_proxy.shell.securing import Securing
from sip_proxy.shell.stores.configured import configured_location, configured_users
from sipdns import Locator

__all__ = ["app"]

app = application(
    "A SIP proxy and registrar.",
    example="sip-proxy --domain example.org --listen udp:127.0.0.1:5060 --user alice:secret",
)


@app.callback(invoke_without_command=True)
def main(
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read a TOML configuration. A flag beats the file."),
    ] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Check file and flags, then leave.")
    ] = False,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Be the proxy and registrar of it; repeatable."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[udp:|tcp:|tls:|ws:|wss:]ADDRESS:PORT",
            help="Serve phones here, by UDP and TCP without a prefix; repeatable. "
            "0.0.0.0 and [::] stand for each local address, port 0 for a free one. "
            "Default: 0.0.0.0:5060 and [::]:5060.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The certificate for TLS with those above it, in PEM."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's private key, in PEM.")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PASSWORD",
            help="A user, of every domain, or NAME@DOMAIN:PASSWORD of one; repeatable.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the registrations there. Without it they end with the server.",
        ),
    ] = None,
    _version: VersionOption = False,
) -> None:
    """Serve until SIGINT or SIGTERM."""
    given = (
        ("--domain", ("domains",), domain),
        ("--listen", ("listeners", "listen"), listen),
        ("--certificate", ("listeners", "certificate"), certificate),
        ("--key", ("listeners", "key"), key),
        ("--data-dir", ("data_dir",), data_dir),
    )
    flags = [Flag(*each) for each in given if each[2] is not None]
    flags += [_user_flag(each) for each in user or ()]
    options = load(config, flags)
    if not options.domains:
        raise ConfigError("name the domain of the users: --domain example.org")
    users = configured_users(options, options.data_dir)
    location = configured_location(options, options.data_dir)
    streams = options.streams()
    Securing(streams.tls)  # a wrong file ends the command before anything is bound
    hooks = hook_runner(options.hooks.source, options.hooks.deadline)
    if check_config:
        typer.echo(f"{config or 'the flags'}: good")
        return
    bound = open_listeners(options.listeners.listen or everywhere())
    settings = options.settings([each.listener for each in bound])

    def announce() -> None:
        names = [f"{each.listener.transport}:{each.listener.address}" for each in bound]
        typer.echo(f"serving {', '.join(sorted(options.domains))} on {', '.join(names)}")

    listened = {each.listener.transport for each in bound}
    locator = Locator(transports=[each for each in SERVED if each in listened])
    limits = options.limits
    asyncio.run(serve(settings, bound, users, locator, location, limits, announce, streams, hooks))


def _user_flag(text: str) -> Flag:
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        # The text may hold a password, so it is not repeated.
        raise ConfigError("--user: a user is written NAME:PASSWORD")
    return Flag("--user", ("users", "passwords", name), password)
