"""Which of many sockets have something to read, told by an event loop that watches few itself."""

import select
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

__all__ = ["READABLE", "Event", "Reactor", "Readiness", "watch"]

PASSES = 8
"""How often one wake-up looks for more before it leaves the event loop to others."""

_AT_ONCE = 256
READABLE = 1
"""EPOLLIN of <linux/eventpoll.h>, also where there is no epoll."""

Event = tuple[int, int]
"""A descriptor, and what epoll says of it."""

Ready = Callable[[Sequence[Event]], None]

Failed = Callable[[Sequence[int]], None]
"""Takes the errors that descriptors have."""


class Reactor(Protocol):
    """What is asked of an event loop; asyncio's and uvloop's have it."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object:
        """Call back whenever ``fd`` has something to read."""
        ...

    def remove_reader(self, fd: int, /) -> object:
        """Stop that."""
        ...


class Readiness(Protocol):
    """Watches descriptors, and calls back with those that are ready to be read."""

    def add(self, descriptor: int) -> None:
        """Watch ``descriptor``."""
        ...

    def remove(self, descriptor: int) -> None:
        """Watch it no longer; due before it is closed."""
        ...

    def close(self) -> None:
        """Leave the event loop; nothing is watched then."""
        ...


def watch(reactor: Reactor, ready: Ready, failed: Failed, *, portable: bool) -> Readiness:
    """What suits this platform; ``portable`` asks for what runs everywhere.

    ``failed`` is told of descriptors with an error before ``ready`` is, but not by the portable
    one, which cannot see errors.
    """
    return _EachByItself(reactor, ready) if portable else _Together(reactor, ready, failed)


class _Together:
    """One epoll descriptor holds all the others, and is all that the event loop knows of them."""

    def __init__(self, reactor: Reactor, ready: Ready, failed: Failed) -> None:
        self._reactor = reactor
        self._ready = ready
        self._failed = failed
        self._epoll = select.epoll()
        reactor.add_reader(self._epoll.fileno(), self._wake)

    def add(self, descriptor: int) -> None:
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        if not self._epoll.closed:
            self._reactor.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _wake(self) -> None:
        for _ in range(PASSES):
            if self._epoll.closed:
                return
            events = self._epoll.poll(0, _AT_ONCE)
            if not events:
                return
            failed = [descriptor for descriptor, mask in events if mask & select.EPOLLERR]
            if failed:
                self._failed(failed)
            self._ready(events)


class _EachByItself:
    """Every descriptor is added to the event loop."""

    def __init__(self, reactor: Reactor, ready: Ready) -> None:
        self._reactor = reactor
        self._ready = ready
        self._watched: set[int] = set()

    def add(self, descriptor: int) -> None:
        self._watched.add(descriptor)
        self._reactor.add_reader(descriptor, partial(self._ready, ((descriptor, READABLE),)))

    def remove(self, descriptor: int) -> None:
        self._watched.remove(descriptor)
        self._reactor.remove_reader(descriptor)

    def close(self) -> None:
        while self._watched:
            self._reactor.remove_reader(self._watched.pop())
