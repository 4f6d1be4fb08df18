"""The command ``sip-proxy``; what it does is in :mod:`sip_proxy.shell.commands`."""

from natkit.cli.entry import ExitStatus, extra, report_error
from natkit.cli.entry import run as run_application
from natkit.errors import ConfigError

__all__ = ["run"]

PROGRAM = "sip-proxy"


def run() -> int:
    """The entry point; gives the exit status."""
    try:
        with extra("proxy", PROGRAM):
            # Here, so that a bare installation can say what is missing.
            from sip_proxy.shell.commands import app  # noqa: PLC0415
    except ConfigError as error:
        report_error(str(error))
        return ExitStatus.WRONG_USE
    return run_application(app, PROGRAM, server=True)
