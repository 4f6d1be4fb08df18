"""Two planes in two networks that are alike: the one in user space, and the one in the kernel.

Both are told the same, frames arrive at both, and what leaves both is compared.
"""

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from natkit.relay.attaching import Mode
from natkit.relay.plane import Counters
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import MAGIC_COOKIE_BYTES, Method
from tests.natkit.relay.cabled import CLIENTS, MACS, PATIENCE, PEERS, RELAYS, Cabled, inside
from tests.natkit.relay.frames import Reader, Seen
from tests.netlab.namespaces import Host, Lab, run

SENTINEL_PORT = 9
_ETH_P_ALL = 3
_SOL_PACKET, _IGNORE_OUTGOING, _AUXDATA, _HAS_HEADER = 263, 23, 8, 15
_CHECKSUM_NOT_READY = 1 << 3
# <linux/virtio_net.h>: what stands before a frame that leaves something to a card.
_VIRTIO_HEADER = struct.Struct("=BBHHHH")
_NEEDS_CHECKSUM = 1
_CHECKSUM_AT = 6  # in a UDP header
_MACS = {key: bytes.fromhex(mac.replace(":", "")) for key, mac in MACS.items()}
NEAR = {"left": _MACS["server", "clients"], "right": _MACS["server", "peers"]}
FAR = {"left": _MACS["left", "eth0"], "right": _MACS["right", "eth0"]}


@contextmanager
def on_one_processor() -> Iterator[None]:
    """What is sent in order arrives in order: packets wait on the processor that sent them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Twin:
    """One of the two networks, with its wires in hand."""

    def __init__(self, lab: Lab, mode: Mode | None, *, dscp: int = 0) -> None:
        self.cabled = Cabled(lab, mode, dscp=dscp)
        self._count = 0
        self._ends: list[socket.socket] = []
        self._wires: dict[str, socket.socket] = {}
        self._senders: dict[str, socket.socket] = {}
        self._readers: dict[str, Reader] = {}
        self._near: dict[str, socket.socket] = {}
        self._far: dict[str, socket.socket] = {}
        cabled = self.cabled
        for name, host, near, far in (
            ("left", cabled.left, "10.1.0.1", CLIENTS[socket.AF_INET][0]),
            ("right", cabled.right, RELAYS[socket.AF_INET], PEERS[socket.AF_INET][0]),
        ):
            self._wires[name] = _wire(host)
            self._senders[name] = _sender(host)
            # Each datagram by itself, where a wire shows several alike in one.
            interface = "clients" if name == "left" else "peers"
            run(cabled.server, "ethtool", "-K", interface, "tx-udp-segmentation", "off")
            self._readers[name] = Reader()
            self._near[name] = cabled.socket_on(cabled.server, near, SENTINEL_PORT)
            self._far[name] = cabled.socket_on(host, far, SENTINEL_PORT)

    def put(self, side: str, frame: bytes, sum_from: int = 0) -> None:
        """Put a frame on the wire at the far end.

        ``sum_from``: where that begins whose checksum is left to a card, or 0.
        """
        flags = _NEEDS_CHECKSUM if sum_from else 0
        header = _VIRTIO_HEADER.pack(flags, 0, 0, 0, sum_from, _CHECKSUM_AT if sum_from else 0)
        self._senders[side].send(header + frame)

    def settle(self) -> dict[str, list[Seen]]:
        """Let everything arrive, and give what the far ends saw, in some order.

        Frames keep their order on a wire, so what came before a mark is through when it is.
        """
        self._count += 1
        mark = self._count.to_bytes(4, "big")
        for name, far in self._far.items():
            far.sendto(mark, self._near[name].getsockname())
        for near in self._near.values():
            while near.recv(100) != mark:
                pass
        self.cabled.turn()
        for name, near in self._near.items():
            near.sendto(mark, self._far[name].getsockname())
        return {name: sorted(self._until(name, mark)) for name in self._wires}

    def unhandled(self) -> list[tuple[str, bytes]]:
        """What was handed up since the last call."""
        taken = sorted((str(path), data) for data, path in self.cabled.unhandled)
        self.cabled.unhandled.clear()
        return taken

    def close(self) -> None:
        self.cabled.close()
        for wire in (*self._wires.values(), *self._senders.values()):
            wire.close()

    def _until(self, name: str, mark: bytes) -> Iterator[Seen]:
        wire = self._wires[name]
        while True:
            frame, ancillary, _, _ = wire.recvmsg(70_000, 100)
            status = struct.unpack_from("=I", ancillary[0][2])[0]
            seen = self._readers[name].read(
                frame, may_be_partial=bool(status & _CHECKSUM_NOT_READY)
            )
            if seen is None:
                continue
            if seen.body[:2] == SENTINEL_PORT.to_bytes(2, "big"):
                if seen.body[8:] == mark:
                    return
                continue
            yield _without_transaction(seen)


class Twins:
    """Both, the one in user space first."""

    def __init__(self, lab: Lab, mode: Mode, *, dscp: int = 0) -> None:
        self.user = Twin(lab, None, dscp=dscp)
        self.kernel = Twin(lab, mode, dscp=dscp)

    def both(self, do: Callable[[Cabled], object]) -> None:
        """Do the same to both."""
        do(self.user.cabled)
        do(self.kernel.cabled)

    def put(self, side: str, frame: bytes, sum_from: int = 0) -> None:
        """Put a frame on both wires, as one puts it on one."""
        self.user.put(side, frame, sum_from)
        self.kernel.put(side, frame, sum_from)

    def compare(self) -> dict[str, list[Seen]]:
        """What both did since the last time, which is the same; what left them."""
        one, other = self.user.settle(), self.kernel.settle()
        for name, seen in one.items():
            only_user = [each for each in seen if each not in other[name]]
            only_kernel = [each for each in other[name] if each not in seen]
            assert only_user == only_kernel == [], f"{name}: {only_user}\n{only_kernel}"
        assert other == one
        unhandled, by_kernel = self.user.unhandled(), self.kernel.unhandled()
        assert by_kernel == unhandled, f"{unhandled=} {by_kernel=}"
        return one

    def compare_counters(self, number: int) -> Counters:
        """What both counted for an allocation, which is the same."""
        one = self.user.cabled.plane.counters(number)
        other = self.kernel.cabled.plane.counters(number)
        assert asdict(other) == asdict(one), _differences(one, other)
        return one

    def compare_totals(self) -> Counters:
        """What both counted in all, which is the same."""
        one, other = self.user.cabled.plane.totals(), self.kernel.cabled.plane.totals()
        assert asdict(other) == asdict(one), _differences(one, other)
        return one

    def counted_behind(self) -> Counters:
        """What user space counted in the network of the kernel's plane."""
        return self.kernel.cabled.behind.totals()

    def close(self) -> None:
        self.user.close()
        self.kernel.close()


@contextmanager
def twins(lab: Lab, mode: Mode, *, dscp: int = 0) -> Iterator[Twins]:
    """Both networks, until their test is over."""
    with on_one_processor():
        made = Twins(lab, mode, dscp=dscp)
        try:
            yield made
        finally:
            made.close()


def _differences(one: Counters, other: Counters) -> str:
    in_kernel = asdict(other)
    differing = {
        name: (count, in_kernel[name])
        for name, count in asdict(one).items()
        if in_kernel[name] != count
    }
    return f"user space's plane and the kernel's counted {differing}"


def _wire(host: Host) -> socket.socket:
    with inside(host):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    with inside(host):
        wire.bind(("eth0", _ETH_P_ALL))
    wire.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    wire.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    wire.settimeout(PATIENCE)
    return wire


def _sender(host: Host) -> socket.socket:
    with inside(host):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind(("eth0", 0))
    sender.setsockopt(_SOL_PACKET, _HAS_HEADER, 1)
    return sender


def _without_transaction(seen: Seen) -> Seen:
    """A Data indication's transaction id is random, and hides the peer's IPv6 address."""
    body = seen.body
    if len(body) < 28 or body[8:10] != b"\x00\x17":
        return seen
    if body[12:16] != MAGIC_COOKIE_BYTES:
        return seen
    message = Message.parse(body[8:])
    assert message.transaction_id != bytes(12)
    peer, data = message.get(XorPeerAddress), message.get(Data)
    assert peer is not None
    assert data is not None
    plain = Message.indication(Method.DATA, bytes(12), peer, data).encode()
    # Padding, lengths and order are right only where it is what we would have written.
    assert len(plain) == len(body) - 8
    return replace(seen, body=body[:8] + plain)
