"""Work that several wait for at once is done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["UnderWay"]

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class _Shared(Generic[R]):
    """A task, and how many wait for it."""

    task: asyncio.Task[R]
    waiting: int = 0


class UnderWay(Generic[K, R]):
    """Tasks by key.  Belongs to one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[K, _Shared[R]] = {}

    async def join(self, key: K, start: Callable[[], Coroutine[object, None, R]]) -> R:
        """The result of the task under ``key``, which ``start`` begins when there is none.

        The task is cancelled with the last of those who wait for it, and has ended when they go.
        """
        shared = self._tasks.get(key)
        if shared is None:
            shared = self._tasks[key] = _Shared(asyncio.get_running_loop().create_task(start()))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if self._tasks.get(key) is shared and (shared.task.done() or not shared.waiting):
                # Whoever comes from now on begins anew.
                del self._tasks[key]
                if not shared.task.done():
                    shared.task.cancel()
                    await asyncio.gather(shared.task, return_exceptions=True)
