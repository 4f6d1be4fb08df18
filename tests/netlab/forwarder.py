"""A line between hosts that is slow, narrow or loses packets: two TUN devices, and this between.

The kernel of many a machine that tests run on has no netem.  The program makes two devices in its
namespace, says ``ready``, and passes packets from one to the other; devices keep working when they
are moved to the namespaces of the hosts.  It needs nothing but Python::

    python forwarder.py NAME NAME --delay 0.1 --loss 0.05 --rate 125000 --seed 7
"""

import argparse
import fcntl
import os
import random
import selectors
import struct
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

# include/uapi/linux/if_tun.h
TUNSETIFF: Final = 0x400454CA
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000
LARGEST_PACKET: Final = 65_535
BATCH: Final = 64
"""Packets taken from one device before the other has its turn."""
QUEUE: Final = 64_000
"""Bytes that wait for a narrow line; what comes on top is lost, as at a router."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to packets, each way on its own: seconds, a probability, bytes a second."""

    delay: float = 0.0
    loss: float = 0.0
    rate: float | None = None
    seed: int = 1

    @property
    def arguments(self) -> tuple[str, ...]:
        """The same as flags of the program."""
        rate = () if self.rate is None else ("--rate", str(self.rate))
        return (
            *("--delay", str(self.delay), "--loss", str(self.loss), "--seed", str(self.seed)),
            *rate,
        )


class Line:
    """One direction: takes packets and gives them back when they have arrived.  No clock."""

    def __init__(self, weather: Weather, seed: str) -> None:
        self._weather = weather
        self._random = random.Random(seed)
        self._free_at = 0.0
        self._on_the_way: deque[tuple[float, bytes]] = deque()
        self.lost = 0

    def offer(self, packet: bytes, now: float) -> None:
        """A packet comes to the line."""
        weather = self._weather
        leaves = now
        if weather.rate is not None:
            begins = max(now, self._free_at)
            if (begins - now) * weather.rate + len(packet) > QUEUE:
                self.lost += 1
                return
            self._free_at = leaves = begins + len(packet) / weather.rate
        # It takes its time on the line though nobody will get it.
        if self._random.random() < weather.loss:
            self.lost += 1
            return
        self._on_the_way.append((leaves + weather.delay, packet))

    def arrived(self, now: float) -> list[bytes]:
        """Take what has arrived, in the order in which it was sent."""
        packets = []
        while self._on_the_way and self._on_the_way[0][0] <= now:
            packets.append(self._on_the_way.popleft()[1])
        return packets

    def next_arrival(self) -> float | None:
        """When the next packet is there."""
        return self._on_the_way[0][0] if self._on_the_way else None


def open_device(name: str) -> int:
    """The descriptor of a new TUN device, from which whole packets are read."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI)
    fcntl.ioctl(device, TUNSETIFF, request)
    return device


def forward(devices: tuple[int, int], weather: Weather) -> None:
    """Pass packets on for as long as the process lives."""
    ways = {
        source: (target, Line(weather, f"{weather.seed} {number}"))
        for number, (source, target) in enumerate((devices, devices[::-1]))
    }
    with selectors.DefaultSelector() as selector:
        for device in devices:
            selector.register(device, selectors.EVENT_READ)
        while True:
            waiting = [at for _, line in ways.values() if (at := line.next_arrival()) is not None]
            timeout = max(0.0, min(waiting) - monotonic()) if waiting else None
            for key, _ in selector.select(timeout):
                _take(key.fd, ways[key.fd][1])
            for target, line in ways.values():
                for packet in line.arrived(monotonic()):
                    _write(target, packet)


def _take(device: int, line: Line) -> None:
    for _ in range(BATCH):
        try:
            packet = os.read(device, LARGEST_PACKET)
        except OSError:
            # Nothing more, or the device is down.
            return
        line.offer(packet, monotonic())


def _write(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:
        # A device that is down loses packets, as a cable does that was pulled.
        return


def main(arguments: Sequence[str]) -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description="A slow, narrow or lossy line.")
    parser.add_argument("devices", metavar="NAME", nargs=2)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args(arguments)
    one, other = (open_device(name) for name in found.devices)
    print("ready", flush=True)
    forward((one, other), Weather(found.delay, found.loss, found.rate, found.seed))


if __name__ == "__main__":
    main(sys.argv[1:])
