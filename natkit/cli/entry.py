"""The one entry of all commands: errors as a line, exit statuses, ``--version``, output.

A command is a typer application made by :func:`application` and started by :func:`run`::

    app = application("what it does", example="natkit stun stun.example.org")

    @app.command()
    def stun(server: str) -> None: ...

    def main() -> int:
        return run(app, "natkit")

Exit statuses.  A command that diagnoses: 0 all is good, 1 it found a fault, 2 wrong use, 3 it could
not test.  A server: 0 clean stop, 1 failure at run time, 2 wrong use, configuration or busy port.
A command says which by raising :class:`natkit.errors.NatkitError`, or ``typer.Exit(status)`` after
it has printed its finding.  Ctrl-C ends the first kind with 130 and the second with 0.
"""

import errno
import ipaddress
import json
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import wraps
from typing import Annotated, Protocol, TypeVar, runtime_checkable

import typer
from rich.console import Console

import natkit
from natkit.address import Address, IPNetwork
from natkit.errors import (
    ConfigError,
    MisuseError,
    NatkitError,
    NoService,
    TransactionTimeout,
    UnreachableError,
)
from natkit.errors import DnsFailure as _DnsFailure

__all__ = [
    "JSON_SCHEMA",
    "ExitStatus",
    "JsonOption",
    "VersionOption",
    "application",
    "argument",
    "console",
    "extra",
    "network",
    "print_json",
    "report_error",
    "run",
    "socket_address",
    "version_line",
]

JSON_SCHEMA = 1
"""The value of ``"schema"`` in every JSON object that a command prints."""

T = TypeVar("T")


class ExitStatus(IntEnum):
    """How a command ended, for the caller's script."""

    GOOD = 0
    FAULT = 1
    """A fault was found; of a server: it failed at run time."""
    WRONG_USE = 2
    NOT_TESTED = 3
    INTERRUPTED = 130
    """Ctrl-C, as shells report SIGINT."""
    BROKEN_PIPE = 141
    """The reader of our output went away, as shells report SIGPIPE."""


def application(purpose: str, *, example: str) -> typer.Typer:
    """A typer application with this distribution's habits; ``example`` is a line to paste."""
    app = typer.Typer(
        help=purpose,
        epilog=_example_text(example),
        add_completion=False,
        pretty_exceptions_enable=False,
        # The tables of the other modes cut the names of options in a terminal of 80 columns.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_only_version)
    return app


def _example_text(example: str) -> str:
    # \\b keeps typer from breaking the line, which is there to be pasted.
    return f"\b\nExample: {example}"


def version_line() -> str:
    """The versions of natkit, Python and the platform."""
    return (
        f"natkit {natkit.__version__}, {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()} {platform.release()} "
        f"{platform.machine()}"
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_line())
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Show the versions of natkit, Python and the platform.",
    ),
]
"""``--version`` for an application that writes its own callback."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def _only_version(version: VersionOption = False) -> None:
    """Typer handles --version before any command; nothing is left to do."""


def run(
    app: typer.Typer, program: str, *, server: bool = False, arguments: Sequence[str] | None = None
) -> int:
    """Run ``app`` and give its exit status; nothing escapes but SystemExit of others.

    ``arguments`` replaces ``sys.argv[1:]``.  With ``server`` the statuses are those of a server.
    """
    try:
        status = _invoke(app, program, list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        status = ExitStatus.INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at exit and would complain about it then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = ExitStatus.BROKEN_PIPE
    except NatkitError as error:
        report_error(str(error))
        status = _server_status(error) if server else _diagnosis_status(error)
    except OSError as error:
        report_error(_os_error_line(error))
        status = ExitStatus.FAULT if server else ExitStatus.NOT_TESTED
    except Exception as error:  # noqa: BLE001 - typer's own errors, and the last line of defence
        if isinstance(error, _CommandLineError):
            report_error(
                f"{_clause(error.format_message())} (see '{_command(error, program)} --help')"
            )
            status = ExitStatus.WRONG_USE
        else:
            traceback.print_exception(error)
            report_error(f"this is a defect of {program}; please report the lines above")
            status = ExitStatus.FAULT if server else ExitStatus.NOT_TESTED
    if server and status == ExitStatus.INTERRUPTED:
        return ExitStatus.GOOD
    return status


@runtime_checkable
class _Context(Protocol):
    """Where on the command line typer was."""

    command_path: str


@runtime_checkable
class _CommandLineError(Protocol):
    """What typer raises for wrong arguments; its class has had several homes, so by its shape."""

    exit_code: int

    def format_message(self) -> str: ...


def _command(error: _CommandLineError, program: str) -> str:
    """The command that the error is about, whose --help tells more than that of the program."""
    context: object = getattr(error, "ctx", None)
    return context.command_path if isinstance(context, _Context) else program


def _invoke(app: typer.Typer, program: str, arguments: list[str]) -> int:
    try:
        result: object = app(args=arguments, prog_name=program, standalone_mode=False)
    except SystemExit as stop:
        # typer turns a broken pipe into a plain exit.
        cause = stop.__context__
        if isinstance(cause, OSError) and cause.errno == errno.EPIPE:
            raise BrokenPipeError from cause
        raise
    return result if isinstance(result, int) else ExitStatus.GOOD


def _diagnosis_status(error: NatkitError) -> ExitStatus:
    match error:
        case NoService():
            return ExitStatus.FAULT
        case ConfigError() | MisuseError():
            return ExitStatus.WRONG_USE
        case UnreachableError() | TransactionTimeout() | _DnsFailure():
            return ExitStatus.NOT_TESTED
        case _:
            return ExitStatus.FAULT


def _server_status(error: NatkitError) -> ExitStatus:
    wrong_use = isinstance(error, (ConfigError, MisuseError))
    return ExitStatus.WRONG_USE if wrong_use else ExitStatus.FAULT


def _os_error_line(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _clause(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def report_error(text: str) -> None:
    """Print one ``error:`` line on stderr; line ends inside ``text`` become blanks."""
    print("error:", " ".join(text.split()), file=sys.stderr)


def console() -> Console:
    """Where text for people goes: colours on a terminal without NO_COLOR, plain lines elsewhere."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(result: Mapping[str, object]) -> None:
    """Print ``result`` as the one JSON object of a command, ``"schema"`` first."""
    typer.echo(json.dumps({"schema": JSON_SCHEMA, **result}, indent=2, ensure_ascii=False))


@contextmanager
def extra(name: str, program: str) -> Iterator[None]:
    """Around imports that need ``natkit[name]``: ConfigError tells how to get what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("natkit", "sip_proxy", "sipdns", "stun_server"):
            raise
        raise ConfigError(
            f"{program} needs the Python package {missing!r}: pip install 'natkit[{name}]'"
        ) from error


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make ``parse`` a typer ``parser=`` whose NatkitError is reported with the argument's name."""

    @wraps(parse)
    def parser(text: str) -> T:
        try:
            return parse(text)
        except NatkitError as error:
            raise typer.BadParameter(str(error)) from error

    return parser


@argument
def socket_address(text: str) -> Address:
    """``ADDRESS:PORT`` or ``[ADDRESS]:PORT``."""
    return Address.parse(text)


@argument
def network(text: str) -> IPNetwork:
    """``CIDR``: an IPv4 or IPv6 network, or one address."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise MisuseError(
            f"{text!r} is no network; write it as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    raise MisuseError(f"{text!r} has bits set right of the prefix; {meant} would be valid")
