"""The command ``stun-server``; what it does is in :mod:`stun_server.shell.commands`."""

from natkit.cli.entry import ExitStatus, extra, report_error
from natkit.cli.entry import run as run_application
from natkit.errors import ConfigError

__all__ = ["run"]

PROGRAM = "stun-server"


def run() -> int:
    """The entry point; gives the exit status."""
    try:
        with extra("server", PROGRAM):
            # Here, so that a bare installation can say what is missing.
            from stun_server.shell.commands import app  # noqa: PLC0415
    except ConfigError as error:
        report_error(str(error))
        return ExitStatus.WRONG_USE
    return run_application(app, PROGRAM, server=True)
