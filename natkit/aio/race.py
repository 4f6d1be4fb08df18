"""Tries the addresses of a server one after the other, without waiting long for the slow ones."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from natkit.errors import ErrorResponse, NatkitError, NoService, TlsFailed
from natkit.locate import Target

__all__ = ["first_success"]

STAGGER: Final = 0.3
"""Seconds of a head start that each address has over the next (RFC 8305 §5, RFC 8656 §3.9)."""

T = TypeVar("T")


async def first_success(
    targets: Sequence[Target],
    attempt: Callable[[Target], Awaitable[T]],
    discard: Callable[[T], Awaitable[None]],
) -> T:
    """The result of the first attempt that succeeds; later ones are cancelled, or discarded.

    The next target's attempt starts when one fails, or after STAGGER.  When all have failed, raises
    a server's own answer, a bad certificate included, rather than the silence of another.
    """
    waiting = list(targets)
    running: set[asyncio.Task[T]] = set()
    errors: list[NatkitError] = []
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_run(attempt, waiting.pop(0))))
            done, _ = await asyncio.wait(
                running,
                timeout=STAGGER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    running |= done - {task}
                    return task.result()
                if not isinstance(error, NatkitError):
                    raise error
                errors.append(error)
    finally:
        await _end(running, discard)
    answers = [error for error in errors if isinstance(error, ErrorResponse | TlsFailed)]
    raise next(iter(answers or errors), NoService("there is no address to try"))


async def _run(attempt: Callable[[Target], Awaitable[T]], target: Target) -> T:
    return await attempt(target)


async def _end(running: set[asyncio.Task[T]], discard: Callable[[T], Awaitable[None]]) -> None:
    for task in running:
        task.cancel()
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        if not isinstance(outcome, BaseException):
            await discard(outcome)
