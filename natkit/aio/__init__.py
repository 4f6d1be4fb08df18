"""natkit on asyncio: a driver that runs any protocol machine, and awaitable faces on top of it."""

import logging

__all__: list[str] = []

# A library says nothing unless its program wants to hear it.
logging.getLogger("natkit").addHandler(logging.NullHandler())
