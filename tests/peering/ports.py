"""Free ports for servers that must be told theirs.

Taken below the range that the kernel hands to clients (32768-60999) and below that of relayed
addresses (49152-65535), so that no socket opened meanwhile takes them; tried by binding. They are
handed out in turn from a random start, so that nobody is given one that was just promised to
another who has not bound it yet. Each of the processes that run tests side by side picks from a
part that is its own.
"""

import os
import random
import socket
from collections.abc import Iterator
from itertools import count, islice
from math import gcd

PARTS = 4
"""So many processes may run tests side by side without a chance of picking the same port."""


def _part(ports: range) -> range:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    size = len(ports) // PARTS
    first = ports.start + int(worker.removeprefix("gw")) % PARTS * size
    return range(first, first + size)


def _in_turn(ports: range, stride: int) -> Iterator[int]:
    assert gcd(stride, len(ports)) == 1, "every port has its turn"
    start = random.SystemRandom().randrange(len(ports))
    return (ports[turn * stride % len(ports)] for turn in count(start))


LISTENING = _part(range(20_000, 26_000))
RELAYING = _part(range(26_000, 32_000))
# Some servers take the port after theirs as well.
_listening, _relaying = _in_turn(LISTENING, stride=7), _in_turn(RELAYING, stride=1)


def free_port(host: str) -> int:
    """A port free for UDP and TCP on ``host``, and none that was given lately."""
    for port in islice(_listening, len(LISTENING)):
        if _is_free(host, port, socket.SOCK_DGRAM) and _is_free(host, port, socket.SOCK_STREAM):
            return port
    raise OSError(f"no port is free on {host} from {LISTENING.start} to {LISTENING.stop}")


def free_block(host: str, size: int) -> range:
    """``size`` neighbouring ports free for UDP on ``host``, beginning with an even one."""
    free = 0
    for port in islice(_relaying, 2 * len(RELAYING)):
        starts = free == 0 or port == RELAYING.start
        if not _is_free(host, port, socket.SOCK_DGRAM) or (starts and port % 2):
            free = 0
            continue
        free = 1 if starts else free + 1
        if free == size:
            return range(port + 1 - size, port + 1)
    raise OSError(f"no {size} neighbouring ports are free on {host}")


def _is_free(host: str, port: int, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
