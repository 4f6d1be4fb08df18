"""``stun-server``: its options, and what they start."""

from pathlib import Path
from typing import Annotated

import typer

from natkit.cli.entry import JsonOption, application
from natkit.errors import ConfigError
from natkit.server.serving_options import (
    CheckConfigOption,
    ConfigFileOption,
    KeyOption,
    LogJsonOption,
)
from natkit.stun.registry import DEFAULT_PORT
from stun_server.shell import accounts, operating, token_command
from stun_server.shell.accounts import ConfigOption

__all__ = ["app"]

app = application(
    "A STUN and TURN server (RFC 8489, RFC 8656).",
    example="stun-server --listen 0.0.0.0:3478 --user alice:secret",
)
accounts.register(app)
operating.register(app)
app.command("token")(token_command.token)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        # Here, so that commands load only what they need; so below.
        from stun_server.shell.plane_command import version  # noqa: PLC0415

        typer.echo(version())
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Show the versions of natkit, Python and the platform, and the relay planes here.",
    ),
]


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    *,
    config: ConfigFileOption = None,
    check_config: CheckConfigOption = False,
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
    key: KeyOption = None,
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
    log_json: LogJsonOption = None,
    _version: VersionOption = False,
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
    values = [each for each in given if each[2] is not None]
    if context.invoked_subcommand is not None:
        if config or check_config or user or values:
            raise ConfigError(f"{context.invoked_subcommand} takes only options that follow it")
        return
    from stun_server.shell.starting import serve_as_told  # noqa: PLC0415

    serve_as_told(config, values, user or (), check_only=check_config)


@app.command("plane")
def explain_plane(*, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Explain which relay plane serves here, and what the one in the kernel needs."""
    from stun_server.shell.plane_command import explain  # noqa: PLC0415

    explain(config, as_json=as_json)


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
    from stun_server.shell.starting import serve_on_loopback  # noqa: PLC0415

    serve_on_loopback(port, admin)


def _number(text: str | None) -> int | str | None:
    """A number if it is one; what else it may be is the configuration's to say."""
    return int(text) if text is not None and text.isdecimal() else text
