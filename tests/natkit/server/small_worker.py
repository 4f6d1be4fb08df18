"""A worker of the tests: ``python -m tests.natkit.server.small_worker NUMBER DESCRIPTOR``."""

import asyncio
import contextlib
import os
import socket
import sys
from dataclasses import dataclass

from natkit.errors import ConfigError
from natkit.server.envelope import SUPERVISOR, Envelope, Vocabulary
from natkit.server.handover import Correspondence, Link, Parcel


@dataclass(frozen=True, slots=True)
class Begin:
    """What a worker is to do: ``serve``, ``refuse``, ``die`` or ``hang``."""

    behaviour: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch a socket from worker ``owner`` and give it to who asks."""

    owner: int


@dataclass(frozen=True, slots=True)
class Give:
    """Give away a socket."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer, by the process that did it."""

    process: int


VOCABULARY = Vocabulary({1: Begin, 2: Fetch, 3: Give, 4: Done})


async def main(number: int, descriptor: int) -> None:
    """Do what the supervisor says."""
    ended = asyncio.Event()

    async def handle(_: int, parcel: Parcel) -> Parcel | None:
        match parcel.message:
            case Begin("die"):
                os._exit(7)
            case Begin("hang"):
                await asyncio.Event().wait()
            case Begin("refuse"):
                raise ConfigError(f"worker {number} would rather not")
            case Fetch(owner):
                got = await correspondence.ask(owner, Give())
                return Parcel(Done(os.getpid()), got.descriptors)
            case Give():
                sock = socket.socket(type=socket.SOCK_DGRAM)
                sock.bind(("127.0.0.1", 0))
                return Parcel(Done(os.getpid()), (sock.detach(),))
        return Parcel(Done(os.getpid()))

    def send(envelope: Envelope) -> None:
        link.send(envelope)

    correspondence = Correspondence(number, VOCABULARY, send, handle, lambda _: os._exit(8))
    link = Link(socket.socket(fileno=descriptor), correspondence.receive, ended.set)
    await ended.wait()
    correspondence.lost(SUPERVISOR)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
