"""Which port the next relayed address gets: drawn at random, for nobody to guess (RFC 6056)."""

import struct
from collections.abc import Callable

from natkit.machine import RandomBytes
from stun_server.settings import PortRange

# Random draws before the range is walked through: enough until it is nearly full.
DRAWS = 8

# Random numbers are drawn in bulk, for each call may be one of the system.
_BULK = struct.Struct("!64I")


class PortChooser:
    """Draws ports of one range; who owns which port is the caller's knowledge."""

    def __init__(self, ports: PortRange, random: RandomBytes) -> None:
        self._ports = ports
        self._random = random
        self._drawn: list[int] = []

    def choose(self, taken: Callable[[int], bool], *, even: bool, pair: bool) -> int | None:
        """A free port, an even one if ``even``, whose successor is free too if ``pair``.

        None when there is none.
        """
        first = self._ports.first
        last = self._ports.last - 1 if pair else self._ports.last
        step = 1
        if even:
            first += first % 2
            step = 2
        count = (last - first) // step + 1
        if count < 1:
            return None
        index = 0
        for _ in range(DRAWS):
            index = self._draw() % count
            port = first + index * step
            if not taken(port) and not (pair and taken(port + 1)):
                return port
        for number in range(index + 1, index + count):
            port = first + number % count * step
            if not taken(port) and not (pair and taken(port + 1)):
                return port
        return None

    def _draw(self) -> int:
        """A random number of 32 bits."""
        if not self._drawn:
            self._drawn.extend(_BULK.unpack(self._random(_BULK.size)))
        return self._drawn.pop()
