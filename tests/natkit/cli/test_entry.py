"""The entry that all commands share, run as its users run it: in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from natkit import __version__
from natkit.cli.entry import argument, network, run, socket_address
from natkit.errors import MisuseError

PROGRAM = '''
import sys
from typing import Annotated
import typer
from natkit.cli import entry
from natkit.errors import (
    ConfigError, DnsFailure, ErrorResponse, MalformedMessage, MisuseError, NoService,
    TransactionTimeout, UnreachableError,
)

RAISES = {
    "config": ConfigError("the file is wrong"),
    "misuse": MisuseError("the caller is wrong"),
    "unreachable": UnreachableError("nothing there"),
    "timeout": TransactionTimeout("no answer\\nfrom it"),
    "dns": DnsFailure("no nameserver"),
    "no-service": NoService("the DNS answered: none"),
    "response": ErrorResponse.of(401, "Unauthenticated"),
    "malformed": MalformedMessage("garbage"),
    "interrupt": KeyboardInterrupt(),
    "os": FileNotFoundError(2, "No such file or directory", "/nowhere"),
    "defect": ZeroDivisionError("a bug"),
    "exit": typer.Exit(3),
    "package": ModuleNotFoundError("No module named 'structlog'", name="structlog.dev"),
    "own": ModuleNotFoundError("No module named 'natkit.gone'", name="natkit.gone"),
}
app = entry.application("Fails on request.", example="program fail timeout")

@app.command()
def fail(how: str) -> None:
    """Raise it."""
    with entry.extra("server", "program"):
        raise RAISES[how]

@app.command()
def show(
    server: Annotated[str, typer.Argument(parser=entry.socket_address, metavar="ADDRESS:PORT")],
    *,
    allow_peer: Annotated[
        list[str] | None, typer.Option("--allow-peer", parser=entry.network, metavar="CIDR")
    ] = None,
    as_json: entry.JsonOption = False,
) -> None:
    """Print the arguments."""
    if as_json:
        entry.print_json({"server": str(server), "networks": [str(n) for n in allow_peer or ()]})
    else:
        entry.console().print(f"[bold]{server}[/bold] " + "long " * 40)

@app.command()
def flood() -> None:
    """Print without end."""
    while True:
        print("line")

arguments = sys.argv[1:]
server = "--as-server" in arguments
sys.exit(entry.run(app, "program", server=server, arguments=arguments[server:]))
'''


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("entry") / "program.py"
    path.write_text(PROGRAM)
    return path


def start(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("how", "diagnosis", "server", "line"),
    [
        ("config", 2, 2, "the file is wrong"),
        ("misuse", 2, 2, "the caller is wrong"),
        ("unreachable", 3, 1, "nothing there"),
        ("timeout", 3, 1, "no answer from it"),
        ("dns", 3, 1, "no nameserver"),
        ("no-service", 1, 1, "the DNS answered: none"),
        ("response", 1, 1, "401 Unauthenticated"),
        ("malformed", 1, 1, "garbage"),
        ("os", 3, 1, "/nowhere: No such file or directory"),
        (
            "package",
            2,
            2,
            "program needs the Python package 'structlog': pip install 'natkit[server]'",
        ),
    ],
)
def test_an_error_is_one_line_and_a_status(
    program: Path, how: str, diagnosis: int, server: int, line: str
) -> None:
    for arguments, status in ((("fail", how), diagnosis), (("--as-server", "fail", how), server)):
        ended = start(program, *arguments)
        assert (ended.returncode, ended.stdout) == (status, "")
        assert ended.stderr == f"error: {line}\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "missing command"),
        (("nosuch",), "no such command 'nosuch'"),
        (("show",), "missing argument 'ADDRESS:PORT'"),
        (("show", "--nosuch"), "no such option: --nosuch"),
        (("show", "127.0.0.1"), "invalid value for 'ADDRESS:PORT': '127.0.0.1' has no port"),
        (("show", "127.0.0.1:x"), "'127.0.0.1:x' has no port between 0 and 65535"),
        (("show", "localhost:1"), "'localhost' is not an IP address"),
        (
            ("show", "127.0.0.1:1", "--allow-peer", "10.0.0.1/8"),
            "'--allow-peer': '10.0.0.1/8' has bits set right of the prefix; 10.0.0.0/8 would",
        ),
        (("show", "127.0.0.1:1", "--allow-peer", "10/8/8"), "'10/8/8' is no network"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it_and_status_2(
    program: Path, arguments: tuple[str, ...], part: str
) -> None:
    ended = start(program, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert part in ended.stderr
    assert ended.stderr.endswith("(see 'program --help')\n")


def test_ctrl_c_is_quiet_and_a_clean_stop_for_a_server(program: Path) -> None:
    ended = start(program, "fail", "interrupt")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
    ended = start(program, "--as-server", "fail", "interrupt")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_commands_own_status_is_kept(program: Path) -> None:
    assert start(program, "fail", "exit").returncode == 3


@pytest.mark.parametrize("how", ["defect", "own"])
def test_a_defect_shows_where_it_is_and_is_not_taken_for_a_finding(program: Path, how: str) -> None:
    ended = start(program, "fail", how)
    assert ended.returncode == 3
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: this is a defect of program")


def test_a_reader_that_goes_away_is_no_error(program: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(program), "flood"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_version_names_natkit_python_and_platform(program: Path) -> None:
    ended = start(program, "--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"natkit {__version__}, CPython {sys.version_info.major}.")
    assert ended.stdout.count("\n") == 1


def test_help_has_an_example_and_no_boxes_off_a_terminal(program: Path) -> None:
    ended = start(program, "--help")
    assert ended.returncode == 0
    assert "Example: program fail timeout" in ended.stdout
    assert ended.stdout.isascii()


def test_json_is_one_object_with_its_schema(program: Path) -> None:
    ended = start(program, "show", "[::1]:3478", "--allow-peer", "fd00::/8", "--json")
    assert json.loads(ended.stdout) == {
        "schema": 1,
        "server": "[::1]:3478",
        "networks": ["fd00::/8"],
    }


def test_text_off_a_terminal_is_plain_and_unwrapped(program: Path) -> None:
    ended = start(program, "show", "127.0.0.1:3478")
    assert ended.stdout == "127.0.0.1:3478 " + "long " * 40 + "\n"


def test_argument_keeps_the_parsers_name_and_result() -> None:
    @argument
    def number(text: str) -> int:
        """A number."""
        if not text.isdigit():
            raise MisuseError(f"{text!r} is no number")
        return int(text)

    assert number("12") == 12
    assert number.__name__ == "number"
    assert str(socket_address("127.0.0.1:9")) == "127.0.0.1:9"
    assert str(network("::1")) == "::1/128"


def test_run_takes_its_arguments_from_the_caller_too(capsys: pytest.CaptureFixture[str]) -> None:
    from natkit.cli.entry import application

    app = application("Does nothing.", example="nothing")
    app.command()(lambda: None)
    assert run(app, "nothing", arguments=["--nosuch"]) == 2
    assert capsys.readouterr().err == "error: no such option: --nosuch (see 'nothing --help')\n"
