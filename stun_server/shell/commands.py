"""The command line of ``stun-server``: its flags, and what they start."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from natkit.cli.entry import application, console
from natkit.errors import ConfigError
from natkit.server import log
from natkit.server.event_loop import run_loop
from natkit.stun.registry import DEFAULT_PORT
from stun_server.config import Flag, contents, validated
from stun_server.shell import (
    accounts,
    directory,
    operating,
    plane_command,
    planes,
    quickstart,
    running,
    serving,
    state,
    supervising,
    token_command,
)
from stun_server.shell.log import EVERY_LINE

__all__ = ["app"]

app = application(
    "A STUN and TURN server (RFC 8489, RFC 8656).",
    example="stun-server --listen 0.0.0.0:3478 --user alice:secret",
)
accounts.register(app)
operating.register(app)
app.command("plane")(plane_command.plane)
app.command("token")(token_command.token)


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read a TOML configuration. A flag beats the file."),
    ] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Check file and flags, then leave.")
    ] = False,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[udp:|tcp:|tls:|dtls:]ADDRESS:PORT",
            help="Serve clients here; repeatable. Without a prefix: UDP and TCP. "
            "0.0.0.0 and [::] stand for each local address, port 0 for a free one. "
            "Default: 0.0.0.0:3478 and [::]:3478.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The certificate for TLS and DTLS with those above it, in PEM. "
            "A reload reads it again.",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's private key, in PEM.")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:PASSWORD", help="Let this user allocate; repeatable."),
    ] = None,
    realm: Annotated[
        str | None, typer.Option(metavar="REALM", help="The realm of the users. Default: natkit.")
    ] = None,
    allow_peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR[ port PORTS]",
            help="Let clients reach peers in this special-purpose network; repeatable. "
            "Private, loopback and other such ranges are refused otherwise.",
        ),
    ] = None,
    deny_peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR[ port PORTS]",
            help="Let no client reach peers in this network; repeatable. "
            "Of two networks that hold a peer the narrower one decides.",
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Serve by this many processes, on the same ports; auto for one a processor. "
            "Default: 1.",
        ),
    ] = None,
    relay_ports: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST-LAST", help="Take relayed addresses from these. Default: 49152-65535."
        ),
    ] = None,
    external_from: Annotated[
        str | None,
        typer.Option(
            metavar="STUN-URI",
            help="Behind a one-to-one NAT: ask this server outside, like stun:stun.example.org, "
            "for the address that clients are told of.",
        ),
    ] = None,
    relay_plane: Annotated[
        str | None,
        typer.Option(metavar="PLANE", help="userspace, kernel or auto. Default: userspace."),
    ] = None,
    strict_channels: Annotated[
        bool | None,
        typer.Option(
            "--strict-channels/--no-strict-channels",
            help="Accept only the channels of RFC 8656, 0x4000 to 0x4FFF.",
            show_default=False,
        ),
    ] = None,
    strict_permissions: Annotated[
        bool | None,
        typer.Option(
            "--strict-permissions/--no-strict-permissions",
            help="Let a permission end after 300 s though a channel to the peer lives.",
            show_default=False,
        ),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS:PORT",
            help="Serve the status page and metrics here, by HTTP; off loopback only with "
            "admin.token in the configuration.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep keys and users here. Default: $STATE_DIRECTORY, "
            "else $XDG_STATE_HOME/natkit/stun-server.",
        ),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option(
            "--log-json/--no-log-json", help="Log JSON objects, one a line.", show_default=False
        ),
    ] = None,
    _version: plane_command.VersionOption = False,
) -> None:
    """Serve until SIGTERM, which lets allocations end, or Ctrl-C. SIGHUP reloads."""
    given = (
        ("--listen", ("listeners", "listen"), listen),
        ("--certificate", ("listeners", "certificate"), certificate),
        ("--key", ("listeners", "key"), key),
        ("--realm", ("users", "realm"), realm),
        ("--allow-peer", ("policy", "allow_peer"), allow_peer),
        ("--deny-peer", ("policy", "deny_peer"), deny_peer),
        ("--workers", ("listeners", "workers"), _number(workers)),
        ("--relay-ports", ("listeners", "relay_ports"), relay_ports),
        ("--external-from", ("listeners", "external_from"), external_from),
        ("--relay-plane", ("listeners", "relay_plane"), relay_plane),
        ("--strict-channels", ("policy", "strict_channels"), strict_channels),
        ("--strict-permissions", ("policy", "strict_permissions"), strict_permissions),
        ("--admin", ("admin", "listen"), admin),
        ("--data-dir", ("data_dir",), data_dir),
        ("--log-json", ("log", "json"), log_json),
    )
    if context.invoked_subcommand is not None:
        if config or check_config or user or any(value is not None for _, _, value in given):
            raise ConfigError(f"{context.invoked_subcommand} takes only options that follow it")
        return
    flags = [Flag(*each) for each in given if each[2] is not None]
    flags += [_user_flag(each) for each in user or ()]

    def read() -> supervising.Written:
        content = contents(config, flags)
        return supervising.Written(validated(content, config, flags), content)

    written = read()
    options = written.config
    planes.check(options)
    supervising.check(options)
    directory.check_users(options)
    running.open_certificates(options)
    if check_config:
        typer.echo(f"{config or 'the flags'}: good")
        return
    data = options.data_dir or state.default_data_dir()
    keys = state.load_keys(data)
    logger = log.configure(options.log.level, as_json=options.log.as_json, every_line=EVERY_LINE)
    if options.workers() > 1:
        # It moves no packets; and uvloop starts no process in a group of its own.
        asyncio.run(supervising.supervise(written, keys, logger, data, read))
    else:
        run_loop(serving.serve(options, keys, logger, data_dir=data, reread=lambda: read().config))


@app.command("quickstart")
def try_out(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port, for UDP and TCP; 0 for a free one.")
    ] = DEFAULT_PORT,
    admin: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS:PORT", help="Serve the status page here, on loopback; port 0 is free."
        ),
    ] = None,
) -> None:
    """Try it: a server on loopback, with a user made up and a command that tests it."""
    account = quickstart.Account.generate()
    options = quickstart.configuration(port, account, admin)
    logger = log.configure("warning", as_json=False, every_line=EVERY_LINE)

    def show(server: running.RunningServer) -> None:
        page = server.http.url if server.http is not None else None
        quickstart.banner(console(), server.listeners, account, page)

    run_loop(serving.serve(options, state.ephemeral_keys(), logger, show))


def _number(text: str | None) -> int | str | None:
    """A number if it is one; what else it may be is the configuration's to say."""
    return int(text) if text is not None and text.isdecimal() else text


def _user_flag(text: str) -> Flag:
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        # The text may hold a password, so it is not repeated.
        raise ConfigError("--user: a user is written NAME:PASSWORD")
    return Flag("--user", ("users", "passwords", name), password)
