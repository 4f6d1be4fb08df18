"""The process of a server: its open files, and its garbage collector."""

import gc
import resource
from pathlib import Path

from natkit.server.reports import Descriptors

__all__ = ["descriptors", "raise_descriptor_limit", "spare_the_collector"]


def raise_descriptor_limit() -> int:
    """Raise RLIMIT_NOFILE as far as allowed without privilege; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def descriptors() -> Descriptors:
    """Of this process; 0 used where the system does not tell."""
    try:
        used = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        used = 0
    return Descriptors(used, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def spare_the_collector(objects: int) -> None:
    """Let the garbage collector run once in so many new objects, and pass over what there is.

    For a server whose objects are many, live long and hold no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(objects, *gc.get_threshold()[1:])
