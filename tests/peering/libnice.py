"""A libnice agent in a process of its own."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from tests.peering.process import READY_LIMIT, STOP_LIMIT, PeerFailed

DRIVER = Path(__file__).with_name("libnice_driver.py")
SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's gi is for Debian's Python."""

Json = dict[str, object]


class Libnice:
    """One agent with one stream; what it tells is kept until somebody waits for it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.events: list[Json] = []
        self.candidates: list[str] = []
        """``a=candidate`` lines of its own, as far as it told them."""
        self._told = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())
        self.fragment = ""
        self.password = ""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def start(self) -> None:
        """Wait for its credentials."""
        event = await self.wait("credentials")
        self.fragment, self.password = str(event["fragment"]), str(event["password"])

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            event = cast("Json", json.loads(line))
            async with self._told:
                self.events.append(event)
                if event["event"] == "candidate":
                    self.candidates.append(str(event["line"]))
                self._told.notify_all()
        async with self._told:
            self.events.append({"event": "ended"})
            self._told.notify_all()

    async def wait(self, event: str, **values: object) -> Json:
        """Take the next event of that kind with these values."""
        return await self.wait_any(event, **values)

    async def wait_any(self, *kinds: str, **values: object) -> Json:
        """Take the next event of one of these kinds with these values."""

        def find() -> Json | None:
            for each in self.events:
                if each["event"] in kinds and all(each.get(k) == v for k, v in values.items()):
                    return each
            return None

        try:
            async with asyncio.timeout(READY_LIMIT), self._told:
                while (found := find()) is None:
                    if any(each["event"] == "ended" for each in self.events):
                        raise PeerFailed(f"libnice ended before {kinds}: {self.events}")
                    await self._told.wait()
        except TimeoutError:
            raise PeerFailed(f"libnice told no {kinds} {values}: {self.events}") from None
        self.events.remove(found)
        return found

    async def gather(self) -> list[str]:
        """Gather; all candidate lines."""
        self.do("gather")
        await self.wait("gathered")
        return self.candidates

    def remote(self, fragment: str, password: str) -> None:
        """Tell it the other side's credentials."""
        self.do("remote", fragment=fragment, password=password)

    def add(self, lines: Sequence[str]) -> None:
        """Tell it candidates of the other side, as ``a=candidate`` lines."""
        self.do("candidates", lines=list(lines))

    def send(self, data: bytes, component: int = 1) -> None:
        """Send over the selected pair."""
        self.do("send", data=data.hex(), component=component)

    async def receive(self, component: int = 1) -> bytes:
        """Take what arrived next."""
        event = await self.wait("data", component=component)
        return bytes.fromhex(str(event["data"]))

    def do(self, what: str, **values: object) -> None:
        """Any other command of the driver."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **values}).encode() + b"\n")

    async def stop(self) -> None:
        """End it: it goes when its input does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader


@asynccontextmanager
async def libnice(
    options: Mapping[str, object], prefix: Sequence[str] = ()
) -> AsyncIterator[Libnice]:
    """An agent with the driver's options; ``prefix`` is a command that runs it somewhere else."""
    process = await asyncio.create_subprocess_exec(
        *prefix,
        SYSTEM_PYTHON,
        str(DRIVER),
        json.dumps(dict(options)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
    )
    agent = Libnice(process)
    try:
        await agent.start()
        yield agent
    finally:
        await agent.stop()
