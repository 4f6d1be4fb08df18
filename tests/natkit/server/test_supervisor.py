"""The supervisor with workers that serve, refuse, die, and hand each other sockets."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.errors import ConfigError, HandoverRefused, UnreachableError, WorkersFailed
from natkit.server.envelope import Vocabulary
from natkit.server.handover import Parcel
from natkit.server.supervisor import PATIENCE, Supervisor
from tests.natkit.server.small_worker import VOCABULARY, Begin, Done, Fetch, Give

LIMIT = 30.0
_ROOT = Path(__file__).parents[3]
_SCRIPT = """
import runpy, sys
sys.path.insert(0, {root!r})
sys.argv[1:] = {arguments!r}
runpy.run_module("tests.natkit.server.small_worker", run_name="__main__")
"""


class Small:
    """A program whose workers do as they are told when they begin."""

    def __init__(self, behaviours: Mapping[int, str]) -> None:
        self._behaviours = behaviours
        self.dead: list[int] = []
        self.begun: list[int] = []

    @property
    def vocabulary(self) -> Vocabulary:
        return VOCABULARY

    def command(self, worker: int, link: int) -> Sequence[str]:
        script = _SCRIPT.format(root=str(_ROOT), arguments=[str(worker), str(link)])
        return (sys.executable, "-c", script)

    def descriptors(self, _: int) -> Sequence[int]:
        return ()

    def begin(self, worker: int) -> object:
        return Begin(self._behaviours.get(worker, "serve"))

    @property
    def sign_of_life(self) -> object:
        return Begin("serve")

    def serves(self, worker: int) -> None:
        self.begun.append(worker)

    def gone(self, worker: int) -> None:
        self.dead.append(worker)

    async def handle(self, _: int, __: Parcel) -> Parcel | None:
        return None


Lines = Sequence[Mapping[str, object]]


@asynccontextmanager
async def supervised(
    count: int, behaviours: Mapping[int, str] | None = None, *, patience: float = PATIENCE
) -> AsyncIterator[tuple[Supervisor, Small, Lines]]:
    program = Small(behaviours or {})
    with capture_logs() as log:
        supervisor = Supervisor(program, count, structlog.get_logger(), patience=patience)
        try:
            yield supervisor, program, log
        finally:
            await supervisor.aclose()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - other processes have no event to wait for
            await asyncio.sleep(0.01)


def process_of(message: object) -> int:
    assert isinstance(message, Done)
    return message.process


async def test_all_begin_and_each_is_a_process_of_its_own() -> None:
    async with supervised(3) as (supervisor, _, _):
        processes = set(map(process_of, await supervisor.start()))
        assert len(processes) == 3
        assert os.getpid() not in processes
        assert supervisor.serving == (0, 1, 2)
        answers = await supervisor.ask_all(Begin("serve"))
        assert {
            process_of(each.message) for each in answers.values() if isinstance(each, Parcel)
        } == processes
        supervisor.stop(signal.SIGTERM)
        await supervisor.wait()
        assert not supervisor.serving


async def test_one_that_refuses_to_begin_ends_all_and_its_reason_is_the_error() -> None:
    async with supervised(3, {1: "refuse"}) as (supervisor, _, log):
        with pytest.raises(ConfigError, match=r"^worker 1 would rather not$"):
            await supervisor.start()
        assert not [line for line in log if line["event"] == "worker died"]
        assert 1 not in supervisor.serving


async def test_one_that_dies_before_it_began_ends_all() -> None:
    async with supervised(2, {0: "die"}) as (supervisor, program, _):
        with pytest.raises(WorkersFailed, match=r"worker 0 did not begin .* ended with status 7"):
            await supervisor.start()
        assert 0 in program.dead


async def test_a_stop_while_they_begin_is_a_clean_end() -> None:
    async with supervised(2, {0: "hang", 1: "hang"}) as (supervisor, _, _):
        starting = asyncio.ensure_future(supervisor.start())
        await until(lambda: all(each.link is not None for each in supervisor._workers))
        supervisor.stop(signal.SIGTERM)
        assert await starting == (None, None)
        await supervisor.wait()


async def test_one_that_was_killed_is_started_again_and_what_it_held_is_free() -> None:
    async with supervised(2) as (supervisor, program, log):
        first, second = map(process_of, await supervisor.start())
        os.kill(first, signal.SIGKILL)
        await until(lambda: [line for line in log if line["event"] == "worker restarted"])
        (died,) = [line for line in log if line["event"] == "worker died"]
        assert (died["worker"], died["process"], died["how"]) == (0, first, "was killed by SIGKILL")
        assert program.dead == [0]
        assert supervisor.restarts(0) == 1
        answers = await supervisor.ask_all(Begin("serve"))
        now = [process_of(each.message) for each in answers.values() if isinstance(each, Parcel)]
        assert now[1] == second
        assert now[0] not in (first, second)


async def test_a_socket_goes_from_worker_to_worker() -> None:
    async with supervised(2) as (supervisor, _, _):
        processes = list(map(process_of, await supervisor.start()))
        got = await supervisor.ask(0, Fetch(1))
        assert process_of(got.message) == processes[0]
        with socket.socket(fileno=got.descriptors[0]) as moved:
            assert moved.getsockname()[0] == "127.0.0.1"


async def test_who_asks_a_worker_that_is_not_there_is_told() -> None:
    async with supervised(1) as (supervisor, _, _):
        await supervisor.start()
        for stranger in (1, 7, 254):
            with pytest.raises(HandoverRefused, match=f"worker {stranger} is not there"):
                await supervisor.ask(0, Fetch(stranger))
            with pytest.raises(UnreachableError, match=f"worker {stranger} is not there"):
                await supervisor.ask(stranger, Give())


async def test_the_third_signal_ends_what_does_not_end_by_itself() -> None:
    async with supervised(1) as (supervisor, _, _):
        (begun,) = await supervisor.start()
        os.kill(process_of(begun), signal.SIGSTOP)
        for _ in range(3):
            supervisor.stop(signal.SIGTERM)
        async with asyncio.timeout(LIMIT):
            await supervisor.wait()


async def test_one_that_stands_still_is_killed_and_started_again() -> None:
    async with supervised(1, patience=3.0) as (supervisor, program, log):
        (begun,) = await supervisor.start()
        os.kill(process_of(begun), signal.SIGSTOP)
        await until(lambda: len(program.begun) > 1)
        hangs = [line for line in log if line["event"] == "worker hangs"]
        assert (hangs[0]["worker"], hangs[0]["process"]) == (0, process_of(begun))
        assert process_of((await supervisor.ask(0, Begin("serve"))).message) != process_of(begun)


async def test_one_that_is_asked_to_end_has_a_successor() -> None:
    async with supervised(1) as (supervisor, program, log):
        await supervisor.start()
        supervisor.end(0)
        await until(lambda: len(program.begun) > 1)
        (died,) = [line for line in log if line["event"] == "worker died"]
        assert died["how"] == "ended with status 0"
