"""What a wire carried, kept in a file that Wireshark reads."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import Host

__all__ = ["Recording", "Wire", "wire"]

_ETH_P_ALL = 3
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
_LARGEST = 1 << 16
# <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>
_FILE = struct.Struct("=IHHiIII")
_FRAME = struct.Struct("=IIII")
_MAGIC, _ETHERNET = 0xA1B2C3D4, 1


class Wire:
    """The frames that came in by the interface eth0 of a host."""

    def __init__(self, host: Host) -> None:
        with inside(host):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self._socket.bind(("eth0", _ETH_P_ALL))
        self._socket.setblocking(False)

    def frames(self) -> Iterator[bytes]:
        """Those that came since the last time."""
        while True:
            try:
                yield self._socket.recv(_LARGEST)
            except BlockingIOError:
                return

    def close(self) -> None:
        self._socket.close()


@contextmanager
def wire(host: Host) -> Iterator[Wire]:
    """Listen on a wire."""
    made = Wire(host)
    try:
        yield made
    finally:
        made.close()


class Recording:
    """A file of frames, those of several wires one after the other."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._frames: list[bytes] = []

    def take(self, *wires: Wire) -> None:
        """Take what came by these wires."""
        for each in wires:
            self._frames += each.frames()

    def write(self) -> None:
        """Write the file."""
        with self.file.open("wb") as out:
            out.write(_FILE.pack(_MAGIC, 2, 4, 0, 0, _LARGEST, _ETHERNET))
            for number, frame in enumerate(self._frames):
                out.write(_FRAME.pack(number, 0, len(frame), len(frame)) + frame)
