"""From file and flags to a proxy that serves, or to what is wrong with them."""

from collections.abc import Sequence
from pathlib import Path

import typer

from natkit.errors import ConfigError
from natkit.server import log
from natkit.server.event_loop import run_loop
from sip_proxy.config import Config, Flag, load
from sip_proxy.shell.call_records import recording_at
from sip_proxy.shell.hook_running import hook_runner
from sip_proxy.shell.securing import Securing
from sip_proxy.shell.serving import Server, serve
from sip_proxy.shell.state import default_data_dir, load_keys
from sip_proxy.shell.stores.configured import configured_location, configured_users

__all__ = ["serve_as_told"]


def serve_as_told(
    config: Path | None,
    given: Sequence[tuple[str, tuple[str, ...], object]],
    users: Sequence[str],
    *,
    check_only: bool,
) -> None:
    """Serve by a file and flags until told to end; with ``check_only`` check them, and say so.

    ``given`` has flags with what they stand for and their values, ``users`` NAME:PASSWORD.
    """
    flags = [Flag(*each) for each in given] + [Flag.user(each) for each in users]

    def read() -> Config:
        options = load(config, flags)
        if not options.domains:
            raise ConfigError("name the domain of the users: --domain example.org")
        return options

    options = read()
    data = options.data_dir or default_data_dir()
    _check(options, data)
    if check_only:
        typer.echo(f"{config or 'the flags'}: good")
        return
    keys = load_keys(data, options.keys.main)
    logger = log.configure(options.log.level, as_json=options.log.as_json)
    run_loop(serve(options, keys, logger, data_dir=data, reread=read, on_ready=_announce))


def _check(options: Config, data_dir: Path) -> None:
    """What reading alone does not show; nothing is opened that lasts."""
    configured_users(options, data_dir)
    configured_location(options, data_dir)
    recording_at(options.calls.records)
    Securing(options.streams().tls)
    hook_runner(options.hooks.source, options.hooks.deadline)


def _announce(server: Server) -> None:
    names = [f"{each.transport}:{each.address}" for each in server.listeners]
    typer.echo(f"serving {', '.join(sorted(server.config.domains))} on {', '.join(names)}")
