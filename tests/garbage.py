"""What only the garbage collector finds: objects that hold each other in a circle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["only_collected"]


@contextmanager
def only_collected() -> Iterator[list[object]]:
    """What becomes garbage of that kind while this lasts: filled by ``gc.collect()``."""
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
