"""Which event loop the servers run on."""

import asyncio
from collections.abc import Callable, Coroutine

try:
    import uvloop

    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ModuleNotFoundError:  # it does not exist for every platform, and nothing depends on it
    new_event_loop = asyncio.new_event_loop

__all__ = ["new_event_loop", "run_loop"]


def run_loop(main: Coroutine[None, None, None]) -> None:
    """Run a serving process on the fastest loop that there is."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)
