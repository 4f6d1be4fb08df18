"""``sip-proxy``: its options, and what they start."""

from pathlib import Path
from typing import Annotated

import typer

from natkit.cli.entry import VersionOption, application
from natkit.errors import ConfigError
from natkit.server.serving_options import (
    CheckConfigOption,
    ConfigFileOption,
    KeyOption,
    LogJsonOption,
)
from sip_proxy.shell import accounts, operating
from sip_proxy.shell.call_commands import register as register_call_commands

__all__ = ["app"]

app = application(
    "A SIP proxy and registrar.",
    example="sip-proxy --domain example.org --listen udp:127.0.0.1:5060 --user alice:secret",
)
accounts.register(app)
operating.register(app)
register_call_commands(app)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    *,
    config: ConfigFileOption = None,
    check_config: CheckConfigOption = False,
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
    key: KeyOption = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PASSWORD",
            help="A user, of every domain, or NAME@DOMAIN:PASSWORD of one; repeatable.",
        ),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS:PORT",
            help="Serve metrics and pages for operators here, by HTTP; off loopback only with "
            "admin.token in the configuration.",
        ),
    ] = None,
    log_json: LogJsonOption = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep registrations, users and keys here. Default: $STATE_DIRECTORY, "
            "else $XDG_STATE_HOME/natkit/sip-proxy.",
        ),
    ] = None,
    _version: VersionOption = False,
) -> None:
    """Serve until SIGTERM, which lets transactions end, or Ctrl-C. SIGHUP reloads."""
    given = (
        ("--domain", ("domains",), domain),
        ("--listen", ("listeners", "listen"), listen),
        ("--certificate", ("listeners", "certificate"), certificate),
        ("--key", ("listeners", "key"), key),
        ("--admin", ("admin", "listen"), admin),
        ("--log-json", ("log", "json"), log_json),
        ("--data-dir", ("data_dir",), data_dir),
    )
    values = [each for each in given if each[2] is not None]
    if context.invoked_subcommand is not None:
        if check_config or values or user or config is not None:
            raise ConfigError(f"{context.invoked_subcommand} takes only options that follow it")
        return
    # Here, so that the commands that ask a running proxy need not load what serves.
    from sip_proxy.shell.starting import serve_as_told  # noqa: PLC0415

    serve_as_told(config, values, user or (), check_only=check_config)
