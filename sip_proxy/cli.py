"""The command ``sip-proxy``; what it does is in :mod:`sip_proxy.shell.commands`."""

from natkit.cli.entry import run as run_application
from sip_proxy.shell.commands import app

__all__ = ["run"]


def run() -> int:
    """The entry point; gives the exit status."""
    return run_application(app, "sip-proxy", server=True)
