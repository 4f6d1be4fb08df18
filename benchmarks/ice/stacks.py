"""The agents that are compared, each in the hands of one small interface."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, Protocol

import aioice

from benchmarks import cpu
from natkit.aio.ice import Agent
from natkit.gather import GatherSettings, HostAddress
from natkit.gather.endpoint import CandidateFound
from natkit.gather.events import GatheringEnded
from natkit.ice.candidate_attribute import write_candidate
from natkit.ice.events import PairSelected
from natkit.ice.sdp import parse_description
from natkit.ice.settings import IceSettings
from tests.peering.libnice import Libnice, libnice

__all__ = ["PACING", "STACKS", "Endpoint"]

PACING: Final = 0.020
"""Ta in seconds of all: aioice's, which has no other."""

OnCandidate = Callable[[str | None], None]
"""Told each line of a candidate as it is found, and None at the end."""


class Endpoint(Protocol):
    """One agent of one component on loopback."""

    async def gather(self, on_candidate: OnCandidate) -> None:
        """Begin to gather; what does not trickle tells all at its end."""
        ...

    @property
    def credentials(self) -> tuple[str, str]:
        """Username fragment and password."""
        ...

    async def meet(self, credentials: tuple[str, str]) -> None:
        """Try to reach the peer; ends when data may be sent."""
        ...

    async def add(self, line: str | None) -> None:
        """One of the peer's candidates, or their end."""
        ...

    async def selected(self) -> None:
        """Wait until a pair is selected."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a datagram."""
        ...

    async def receive(self) -> bytes:
        """Take the next one."""
        ...

    def cpu_seconds(self) -> float:
        """Processor time of the process that the agent lives in, so far."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


class Natkit:
    """natkit.aio.ice."""

    def __init__(self, controlling: bool, server: tuple[str, int] | None) -> None:  # noqa: FBT001
        self._agent = Agent(
            [f"stun:{server[0]}:{server[1]}"] if server else [],
            controlling=controlling,
            gathering=GatherSettings(loopback=True),
            settings=IceSettings(pacing=PACING),
            # Given, as to the others: nobody looks at the interfaces.
            addresses=[HostAddress(interface="lo", host="127.0.0.1")],
        )
        self._selected = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._peer: tuple[str, str] | None = None
        self._early: list[str | None] = []

    @property
    def credentials(self) -> tuple[str, str]:
        (media,) = parse_description(self._agent.local_description).media
        if media.parameters is None:
            raise RuntimeError("a description of ours without parameters")
        return media.parameters.username_fragment, media.parameters.password

    async def gather(self, on_candidate: OnCandidate) -> None:
        self._watching = asyncio.ensure_future(self._watch(on_candidate))
        self._agent.start_gathering()

    async def _watch(self, on_candidate: OnCandidate) -> None:
        async for event in self._agent:
            match event:
                case CandidateFound(_, candidate):
                    on_candidate(f"a={write_candidate(candidate)}")
                case GatheringEnded():
                    on_candidate(None)
                case PairSelected():
                    self._selected.set()

    async def meet(self, credentials: tuple[str, str]) -> None:
        self._peer = credentials
        for line in self._early:
            await self.add(line)
        self._early.clear()
        await self._agent.connect()

    async def add(self, line: str | None) -> None:
        if self._peer is None:
            self._early.append(line)
            return
        fragment, password = self._peer
        lines = "" if line is None else f"{line}\r\n"
        self._agent.add_remote(
            "a=ice-options:trickle ice2\r\na=ice-pacing:20\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
            f"a=ice-ufrag:{fragment}\r\na=ice-pwd:{password}\r\n"
            + (lines or "a=end-of-candidates\r\n")
        )

    async def selected(self) -> None:
        await self._selected.wait()

    async def send(self, data: bytes) -> None:
        await self._agent.send(data)

    async def receive(self) -> bytes:
        return await self._agent.receive()

    def cpu_seconds(self) -> float:
        return time.process_time()

    async def close(self) -> None:
        await self._agent.close()
        if self._watching is not None:
            await self._watching


class _Loopback(aioice.Connection):
    """aioice leaves 127.0.0.1 out by itself."""

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 - aioice's
    ) -> list[aioice.Candidate]:
        del addresses
        return await super().get_component_candidates(component, ["127.0.0.1"], timeout)


class Aioice:
    """aioice, which tells its candidates when all of them are there."""

    def __init__(self, controlling: bool, server: tuple[str, int] | None) -> None:  # noqa: FBT001
        self._connection = _Loopback(controlling, stun_server=server, use_ipv6=False)
        self._selected = asyncio.Event()
        self._gathered = asyncio.Event()

    @property
    def credentials(self) -> tuple[str, str]:
        return self._connection.local_username, self._connection.local_password

    async def gather(self, on_candidate: OnCandidate) -> None:
        await self._connection.gather_candidates()
        for candidate in self._connection.local_candidates:
            on_candidate(f"a=candidate:{candidate.to_sdp()}")
        on_candidate(None)
        self._gathered.set()

    async def meet(self, credentials: tuple[str, str]) -> None:
        self._connection.remote_username, self._connection.remote_password = credentials
        await self._gathered.wait()
        await self._connection.connect()
        self._selected.set()

    async def add(self, line: str | None) -> None:
        candidate = None
        if line is not None:
            candidate = aioice.Candidate.from_sdp(line.partition(":")[2])
        await self._connection.add_remote_candidate(candidate)

    async def selected(self) -> None:
        await self._selected.wait()

    async def send(self, data: bytes) -> None:
        await self._connection.send(data)

    async def receive(self) -> bytes:
        await self._selected.wait()
        return await self._connection.recv()

    def cpu_seconds(self) -> float:
        return time.process_time()

    async def close(self) -> None:
        await self._connection.close()


class LibniceEndpoint:
    """libnice, in a process of its own, trickling, with regular nomination."""

    def __init__(self, controlling: bool, server: tuple[str, int] | None) -> None:  # noqa: FBT001
        self._options = {
            "controlling": controlling,
            "trickle": True,
            "pacing": round(PACING * 1000),
            "stun": list(server) if server else None,
        }
        self._stack = AsyncExitStack()
        self._agent: Libnice
        self._tasks: list[asyncio.Task[None]] = []
        self._began = 0.0

    async def start(self) -> None:
        """Start the process; not measured, for libnice is used as a library."""
        self._agent = await self._stack.enter_async_context(libnice(self._options))
        self._began = cpu.process_seconds(self._agent.pid)

    @property
    def credentials(self) -> tuple[str, str]:
        return self._agent.fragment, self._agent.password

    async def gather(self, on_candidate: OnCandidate) -> None:
        self._agent.do("gather")
        self._tasks.append(asyncio.ensure_future(self._follow(on_candidate)))

    async def _follow(self, on_candidate: OnCandidate) -> None:
        while True:
            event = await self._agent.wait_any("candidate", "gathered")
            if event["event"] == "gathered":
                on_candidate(None)
                return
            on_candidate(str(event["line"]))

    async def meet(self, credentials: tuple[str, str]) -> None:
        self._agent.remote(*credentials)
        await self._agent.wait("state", state="connected")

    async def add(self, line: str | None) -> None:
        if line is None:
            self._agent.do("end")
        else:
            self._agent.add([line])

    async def selected(self) -> None:
        await self._agent.wait("selected")

    async def send(self, data: bytes) -> None:
        self._agent.send(data)

    async def receive(self) -> bytes:
        return await self._agent.receive()

    def cpu_seconds(self) -> float:
        return cpu.process_seconds(self._agent.pid) - self._began

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()


Make = Callable[[bool, tuple[str, int] | None], Awaitable[Endpoint]]


async def _natkit(controlling: bool, server: tuple[str, int] | None) -> Endpoint:  # noqa: FBT001
    return Natkit(controlling, server)


async def _aioice(controlling: bool, server: tuple[str, int] | None) -> Endpoint:  # noqa: FBT001
    return Aioice(controlling, server)


async def _libnice(controlling: bool, server: tuple[str, int] | None) -> Endpoint:  # noqa: FBT001
    endpoint = LibniceEndpoint(controlling, server)
    await endpoint.start()
    return endpoint


STACKS: Final[dict[str, Make]] = {"natkit": _natkit, "aioice": _aioice, "libnice": _libnice}
