"""Policies as they are loaded from files and modules, and run."""

import asyncio
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.errors import ConfigError
from natkit.machine import Failure, Transport
from natkit.machine import Path as FlowPath
from natkit.sip import HeaderField, NameAddress, Request, parse_uri
from natkit.sip.headers import Headers
from natkit.sip.kinds import FROM
from sip_proxy.config import load
from sip_proxy.events import RunHook
from sip_proxy.hooks import Answer, AskedRequest, Decision, Hooks, Point, Proceed
from sip_proxy.shell.hook_running import HookRunner, hook_runner, load_hooks
from sip_proxy.standing import Standing

GOOD = """
from dataclasses import dataclass
from sip_proxy.hooks import Answer, Hooks

@dataclass
class Table:
    status: "int" = 603

TABLE = Table()

class Own(Hooks):
    async def on_request(self, asked):
        return Answer(TABLE.status)

hooks = Own()
"""

ASKED = AskedRequest(
    Request(
        "INVITE",
        "sip:bob@example.org",
        Headers([HeaderField.of(FROM, NameAddress(parse_uri("sip:alice@example.org;a=b")))]),
    ),
    FlowPath(Transport.UDP, Address("192.0.2.1", 5060), Address("192.0.2.2", 5060)),
    Standing.STRANGER,
)


def run(hooks: Hooks, deadline: float = 5.0) -> Decision | Failure:
    runner = HookRunner(hooks, deadline)
    return asyncio.run(runner.run(RunHook(1, Point.REQUEST, ASKED)))


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "policy.py"
    file.write_text(text)
    return file


def test_a_file_is_loaded_and_asked_for_what_it_has(tmp_path: Path) -> None:
    hooks = load_hooks(written(tmp_path, GOOD))
    assert HookRunner(hooks, 1.0).points == {Point.REQUEST}
    assert run(hooks) == Answer(603)


def test_a_module_is_loaded_by_its_name() -> None:
    runner = hook_runner("sip_proxy.examples.hunt_group", 1.0)
    assert runner is not None
    assert runner.points == {Point.REQUEST, Point.BRANCH_FAILURE}


def test_without_a_source_there_are_no_hooks() -> None:
    assert hook_runner(None, 1.0) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "has no hooks = …"),
        ("hooks = 1", "has no hooks = …"),
        ("hooks = (", "SyntaxError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_hooks(file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the hooks in .*none\.py: No such file"):
        load_hooks(tmp_path / "none.py")
    with pytest.raises(ConfigError, match=r"nothing\.here: ModuleNotFoundError"):
        load_hooks("nothing.here")


def test_none_lets_the_request_go_on() -> None:
    assert run(Hooks()) == Proceed()


def test_a_hook_that_raises_is_a_failure_and_its_traceback_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Hooks):
        async def on_request(self, asked: AskedRequest) -> Decision | None:
            raise KeyError(asked.caller)

    assert run(Broken()) == Failure("KeyError: 'sip:alice@example.org'")
    (record,) = caplog.records
    assert record.exc_info is not None


def test_a_hook_that_takes_too_long_is_a_failure() -> None:
    class Slow(Hooks):
        async def on_request(self, asked: AskedRequest) -> Decision | None:
            del asked
            await asyncio.Event().wait()
            return None

    assert run(Slow(), 0.01) == Failure("it took longer than 0.01 s")


def test_a_timeout_of_the_hook_s_own_is_not_taken_for_that() -> None:
    class Impatient(Hooks):
        async def on_request(self, asked: AskedRequest) -> Decision | None:
            del asked
            raise TimeoutError("the database")

    assert run(Impatient()) == Failure("TimeoutError: the database")


def test_what_is_no_decision_is_a_failure() -> None:
    class Odd(Hooks):
        async def on_request(self, asked: AskedRequest) -> Decision | None:
            del asked
            return 603  # type: ignore[return-value]

    assert run(Odd()) == Failure("it gave int in place of a decision")


def test_the_configuration_names_one_place(tmp_path: Path) -> None:
    file = tmp_path / "sip.toml"
    file.write_text('[hooks]\nfile = "/etc/policy.py"\ndeadline = 1.5\n')
    options = load(file).hooks
    assert (options.source, options.deadline) == (Path("/etc/policy.py"), 1.5)
    file.write_text('[hooks]\nfile = "a.py"\nmodule = "a"\n')
    with pytest.raises(ConfigError, match="file and module are two places for the same"):
        load(file)
