"""Options that the commands of both servers begin with."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["CheckConfigOption", "ConfigFileOption", "KeyOption", "LogJsonOption"]

ConfigFileOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Read a TOML configuration. A flag beats the file."
    ),
]
CheckConfigOption = Annotated[
    bool, typer.Option("--check-config", help="Check file and flags, then leave.")
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The certificate's private key, in PEM."),
]
LogJsonOption = Annotated[
    bool | None,
    typer.Option(
        "--log-json/--no-log-json", help="Log JSON objects, one a line.", show_default=False
    ),
]
