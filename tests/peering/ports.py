"""Free ports for servers that must be told theirs.

Picked at random below the range that the kernel hands to clients (32768-60999) and below that of
relayed addresses (49152-65535), so that no socket opened meanwhile takes them; tried by binding.
Each of the processes that run tests side by side picks from a part that is its own.
"""

import os
import random
import socket

PARTS = 4
"""So many processes may run tests side by side without a chance of picking the same port."""


def _part(ports: range) -> range:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    size = len(ports) // PARTS
    first = ports.start + int(worker.removeprefix("gw")) % PARTS * size
    return range(first, first + size)


LISTENING = _part(range(20_000, 26_000))
RELAYING = _part(range(26_000, 32_000))
ATTEMPTS = 200
_pick = random.SystemRandom()


def free_port(host: str) -> int:
    """A port free for UDP and TCP on ``host``."""
    for _ in range(ATTEMPTS):
        port = _pick.choice(LISTENING)
        if _is_free(host, port, socket.SOCK_DGRAM) and _is_free(host, port, socket.SOCK_STREAM):
            return port
    raise OSError(f"no port is free on {host} from {LISTENING.start} to {LISTENING.stop}")


def free_block(host: str, size: int) -> range:
    """``size`` neighbouring ports free for UDP on ``host``, beginning with an even one."""
    for _ in range(ATTEMPTS):
        first = _pick.randrange(RELAYING.start, RELAYING.stop - size, 2)
        block = range(first, first + size)
        if all(_is_free(host, port, socket.SOCK_DGRAM) for port in block):
            return block
    raise OSError(f"no {size} neighbouring ports are free on {host}")


def _is_free(host: str, port: int, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
