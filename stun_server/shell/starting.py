"""From file and flags to a server that serves, or to what is wrong with them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import typer

from natkit.cli.entry import console
from natkit.server import log
from natkit.server.event_loop import run_loop
from stun_server.config import Flag, contents, validated
from stun_server.shell import directory, planes, quickstart, running, serving, state, supervising
from stun_server.shell.log import EVERY_LINE

__all__ = ["serve_as_told", "serve_on_loopback"]


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

    def read() -> supervising.Written:
        content = contents(config, flags)
        return supervising.Written(validated(content, config, flags), content)

    written = read()
    options = written.config
    planes.check(options)
    supervising.check(options)
    directory.check_users(options)
    running.open_certificates(options)
    if check_only:
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


def serve_on_loopback(port: int, admin: str | None) -> None:
    """Serve there with a user made up, and show how to try it; ``admin`` is for the page."""
    account = quickstart.Account.generate()
    options = quickstart.configuration(port, account, admin)
    logger = log.configure("warning", as_json=False, every_line=EVERY_LINE)

    def show(server: running.RunningServer) -> None:
        page = server.http.url if server.http is not None else None
        quickstart.banner(console(), server.listeners, account, page)

    run_loop(serving.serve(options, state.ephemeral_keys(), logger, show))
