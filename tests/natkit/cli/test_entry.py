"""The entry that all commands share, by way of a program that fails on request."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Protocol

import pytest

from natkit import __version__
from natkit.cli.entry import application, argument, network, run, socket_address
from natkit.errors import MisuseError
from tests.natkit.cli import program


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended."""

    returncode: int
    stdout: str
    stderr: str


class Start(Protocol):
    """Type of the ``start`` fixture."""

    def __call__(self, *arguments: str) -> Ended: ...


@pytest.fixture
def start(capsys: pytest.CaptureFixture[str]) -> Start:
    """Run the program in this process."""

    def run_it(*arguments: str) -> Ended:
        status = program.main(list(arguments))
        printed = capsys.readouterr()
        return Ended(status, printed.out, printed.err)

    return run_it


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
    start: Start, how: str, diagnosis: int, server: int, line: str
) -> None:
    for arguments, status in ((("fail", how), diagnosis), (("--as-server", "fail", how), server)):
        ended = start(*arguments)
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
    start: Start, arguments: tuple[str, ...], part: str
) -> None:
    ended = start(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert part in ended.stderr
    command = " ".join(["program", *arguments[:1]]) if "show" in arguments else "program"
    assert ended.stderr.endswith(f"(see '{command} --help')\n")


def test_ctrl_c_is_quiet_and_a_clean_stop_for_a_server(start: Start) -> None:
    ended = start("fail", "interrupt")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
    ended = start("--as-server", "fail", "interrupt")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_commands_own_status_is_kept(start: Start) -> None:
    assert start("fail", "exit").returncode == 3


@pytest.mark.parametrize("how", ["defect", "own"])
def test_a_defect_shows_where_it_is_and_is_not_taken_for_a_finding(start: Start, how: str) -> None:
    ended = start("fail", how)
    assert ended.returncode == 3
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: this is a defect of program")


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, program.__file__, "flood"],
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


def test_version_names_natkit_python_and_platform(start: Start) -> None:
    ended = start("--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"natkit {__version__}, CPython {sys.version_info.major}.")
    assert ended.stdout.count("\n") == 1


def test_help_has_an_example_and_no_boxes_off_a_terminal(start: Start) -> None:
    ended = start("--help")
    assert ended.returncode == 0
    assert "Example: program fail timeout" in ended.stdout
    assert ended.stdout.isascii()


def test_json_is_one_object_with_its_schema(start: Start) -> None:
    ended = start("show", "[::1]:3478", "--allow-peer", "fd00::/8", "--json")
    assert json.loads(ended.stdout) == {
        "schema": 1,
        "server": "[::1]:3478",
        "networks": ["fd00::/8"],
    }


def test_text_off_a_terminal_is_plain_and_unwrapped(start: Start) -> None:
    ended = start("show", "127.0.0.1:3478")
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
    app = application("Does nothing.", example="nothing")
    app.command()(lambda: None)
    assert run(app, "nothing", arguments=["--nosuch"]) == 2
    assert capsys.readouterr().err == "error: no such option: --nosuch (see 'nothing --help')\n"
