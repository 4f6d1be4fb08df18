"""Measure the kernel's program alone: nanoseconds of processor for a packet of each kind.

The kernel runs it again and again on one packet (BPF_PROG_TEST_RUN), so everything it touches is in
the processor's caches, and what others do on the machine disturbs little.  What a packet costs
besides, on its way from a card and to another, is measured by benchmarks.relay.cables.
"""

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AddressFamily, if_nametoindex
from time import monotonic

from benchmarks.relay.turn_client import BenchmarkError
from natkit.address import Address
from natkit.relay.attaching import Mode
from natkit.relay.libbpf import Program, load
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import CHANNEL_FIRST, TRANSACTION_ID_LENGTH, Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import CLIENTS, IPV4, IPV6, LISTENERS, PEERS, Cabled, inside
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.rig import address_of
from tests.natkit.relay.twins import FAR, NEAR
from tests.netlab.namespaces import lab

CLANG = "clang-14"
PORT, PEER_PORT = 3478, 40_000
LIFETIME = 3_600.0
SIZE = 172
BEST_OF = 50

_ORIGINAL = struct.Struct("=Iii128s")
_DESCRIPTOR = struct.Struct("=I")
_ONLY = bytes(4)
_TRANSACTION = bytes(TRANSACTION_ID_LENGTH)
_NAMES = {IPV4: "IPv4", IPV6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Case:
    """A packet, where it comes in, and by how many bytes its end moves on its way."""

    title: str
    families: str
    side: str
    frame: bytes
    end_moves: int = 0


class Again:
    """Has a program treat one packet again and again."""

    def __init__(self, directory: Path) -> None:
        if shutil.which(CLANG) is None:
            raise BenchmarkError(f"{CLANG} is not installed: apt-get install {CLANG} libbpf-dev")
        compiled = directory / "again.bpf.o"
        command = [CLANG, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-c"]
        command += [f"-I/usr/include/{os.uname().machine}-linux-gnu", "-o", str(compiled)]
        command.append(str(Path(__file__).with_name("again.bpf.c")))
        subprocess.run(command, check=True)
        sizes = {"original": 1, "measured": 1}
        self._tables, programs = load(compiled.read_bytes(), sizes, ("run_again",))
        self._program = programs["run_again"]

    def nanoseconds(self, program: Program, case: Case, interface: int, repeat: int) -> int:
        """What one run takes, without what it takes to put the packet back."""
        once = program.run(case.frame, interface)
        start_moves = len(case.frame) + case.end_moves - len(once.packet)
        original = _ORIGINAL.pack(
            len(case.frame), -start_moves, -case.end_moves, case.frame[:128].ljust(128, b"\0")
        )
        self._tables["original"].put(_ONLY, original)
        self._tables["measured"].remove(_ONLY)
        alone = self._least(case.frame, interface, repeat)
        self._tables["measured"].put(_ONLY, _DESCRIPTOR.pack(program.descriptor))
        third = self._program.run(case.frame, interface, repeat=3)
        if (third.verdict, len(third.packet)) != (once.verdict, len(once.packet)):
            raise BenchmarkError(f"{case.title}: what is put back is another packet")
        return self._least(case.frame, interface, repeat) - alone

    def close(self) -> None:
        """Let go of it."""
        self._program.close()
        for table in self._tables.values():
            table.close()

    def _least(self, frame: bytes, interface: int, repeat: int) -> int:
        return min(
            self._program.run(frame, interface, repeat=repeat).duration for _ in range(BEST_OF)
        )


class _Options(argparse.Namespace):
    size: int
    repeat: int


def main() -> int:
    """Run; 0 when all could be measured, 2 wrong use or something is missing."""
    options = _options()
    found: dict[str, dict[str, int]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="natkit-program-") as name, lab() as made:
            world = Cabled(made, Mode.NATIVE)
            again = Again(Path(name))
            try:
                for case in _cases(world, options.size):
                    with inside(world.server):
                        interface = if_nametoindex("clients" if case.side == "left" else "peers")
                        took = again.nanoseconds(
                            world.relay.program, case, interface, options.repeat
                        )
                    found.setdefault(case.title, {})[case.families] = took
            finally:
                again.close()
                world.close()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for title, by_families in found.items():
        cells = ", ".join(f"{families} {took} ns" for families, took in by_families.items())
        print(f"{title}: {cells}")
    return 0


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay.program", description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help=f"bytes of data ({SIZE})")
    parser.add_argument("--repeat", type=int, default=5_000, help="runs at a time (5000)")
    options = parser.parse_args(namespace=_Options())
    if options.size not in range(0, 1401, 4) or options.repeat < 1:
        parser.error("a size that is a multiple of four up to 1400, and one run at least")
    return options


def _cases(world: Cabled, size: int) -> Iterator[Case]:
    assert world.tables is not None
    world.now = monotonic()
    world.tables.stand_still(0)  # its clock goes, and is asked
    for family in (IPV4, IPV6):
        world.listen(family, PORT)
        yield _binding(family)
    for client in (IPV4, IPV6):
        for peer in (IPV4, IPV6):
            yield from _relaying(world, client, peer, size)


def _binding(family: AddressFamily) -> Case:
    request = Message.request(Method.BINDING, _TRANSACTION).encode()
    client, listener = Address(CLIENTS[family][0], PEER_PORT), Address(LISTENERS[family], PORT)
    frame = _frame("left", client, listener, request)
    # All of its data is replaced.
    return Case("Binding request", _NAMES[family], "left", frame, -len(request))


def _relaying(
    world: Cabled, client: AddressFamily, peer: AddressFamily, size: int
) -> Iterator[Case]:
    listener, data = Address(LISTENERS[client], PORT), bytes(range(256)) * 6
    data = data[:size]
    with_channel, without = (Address(host, PEER_PORT) for host in PEERS[peer])
    first, here, relayed = _open(world, client, peer)
    second, there, relayed_too = _open(world, client, peer)
    _allow(world, first, (with_channel, relayed_too))
    _allow(world, second, (relayed,))
    world.plane.permit(first, without.host, world.now + LIFETIME)
    up, down = f"{_NAMES[client]} to {_NAMES[peer]}", f"{_NAMES[peer]} to {_NAMES[client]}"
    on_channel = ChannelData(CHANNEL_FIRST, data).encode(padded=False)
    send = Message.indication(Method.SEND, _TRANSACTION, XorPeerAddress(without), Data(data))
    stranger = Address(with_channel.host + "9", PEER_PORT)
    yield Case("ChannelData", up, "left", _frame("left", here, listener, on_channel))
    yield Case("Send indication", up, "left", _frame("left", here, listener, send.encode()))
    yield Case(
        "to a peer that is a relayed address",
        up,
        "left",
        _frame("left", there, listener, on_channel),
    )
    yield Case("data on a channel", down, "right", _frame("right", with_channel, relayed, data))
    yield Case("data without a channel", down, "right", _frame("right", without, relayed, data))
    yield Case("data without a permission", down, "right", _frame("right", stranger, relayed, data))


def _open(
    world: Cabled, client: AddressFamily, peer: AddressFamily
) -> tuple[int, Address, Address]:
    """An allocation: its identifier, its client and its relayed address."""
    sock = world.socket_on(world.left, CLIENTS[client][0])
    number, relayed = world.allocate(sock, Address(LISTENERS[client], PORT), peer)
    world.plane.extend(number, world.now + LIFETIME)
    return number, address_of(sock), relayed


def _allow(world: Cabled, number: int, peers: Sequence[Address]) -> None:
    """Let an allocation have channels to peers."""
    for channel, peer in enumerate(peers, CHANNEL_FIRST):
        world.plane.permit(number, peer.host, world.now + LIFETIME)
        world.plane.bind_channel(number, channel, peer, world.now + LIFETIME)


def _frame(side: str, source: Address, destination: Address, data: bytes) -> bytes:
    return Frame(NEAR[side], FAR[side], source[:2], destination[:2], data).encode()


if __name__ == "__main__":
    sys.exit(main())
