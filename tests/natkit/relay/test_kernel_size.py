"""Many allocations in the kernel's tables."""

import time

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.relay.attaching import Mode
from natkit.relay.kernel_tables import TableSizes
from natkit.turn.channel_data import ChannelData
from tests.conftest import Sized
from tests.natkit.relay.cabled import CLIENTS, IPV4, LISTENERS, NOW, PEERS, RELAYS, Cabled
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.twins import FAR, NEAR, on_one_processor
from tests.netlab.namespaces import Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

CHANNELS_EACH = 7
FIRST_RELAY_PORT, FIRST_CLIENT_PORT = 20_000, 20_000


def test_every_channel_of_many_allocations_relays_in_the_kernel(lab: Lab, sized: Sized) -> None:
    count = sized(quick=300, full=15_000)
    channels = count * CHANNELS_EACH
    sizes = TableSizes(halves=count + 1, permissions=count + 1, channels=channels + 1)
    with on_one_processor():
        cabled = Cabled(lab, Mode.NATIVE, sizes=sizes)
        try:
            listener = cabled.listen(IPV4, 3478)
            peers = [cabled.socket_on(cabled.right, PEERS[IPV4][0]) for _ in range(CHANNELS_EACH)]
            addresses = [Address(*each.getsockname()) for each in peers]
            relays = [
                cabled.relay_socket(IPV4, FIRST_RELAY_PORT + number)
                for number in range(1, count + 1)
            ]
            begin = time.perf_counter()
            for number, relay in enumerate(relays, 1):
                client = Address(CLIENTS[IPV4][0], FIRST_CLIENT_PORT + number)
                path = Path(Transport.UDP, listener, client)
                cabled.plane.open(number, path, relay, NOW + 600)
                cabled.plane.permit(number, PEERS[IPV4][0], NOW + 300)
                for index, peer in enumerate(addresses):
                    cabled.plane.bind_channel(number, 0x4000 + index, peer, NOW + 600)
            made = time.perf_counter() - begin
            assert cabled.full == 0
            wire = cabled.wire("left")
            for number in range(1, count + 1):
                for index, sock in enumerate(peers):
                    data = ChannelData(0x4000 + index, number.to_bytes(4, "big")).encode(
                        padded=False
                    )
                    source = (CLIENTS[IPV4][0], FIRST_CLIENT_PORT + number)
                    frame = Frame(NEAR["left"], FAR["left"], source, (LISTENERS[IPV4], 3478), data)
                    wire.send(frame.encode())
                    got, came_from = sock.recvfrom(100)
                    assert got == number.to_bytes(4, "big")
                    assert came_from == (RELAYS[IPV4], FIRST_RELAY_PORT + number)
            totals = cabled.plane.totals()
            assert totals.packets_to_peers == channels
            assert cabled.behind.totals().packets_to_peers == 0
            begin = time.perf_counter()
            for number in range(1, count + 1):
                cabled.plane.close(number)
            removed = time.perf_counter() - begin
            print(
                f"{count} allocations with {channels} channels: made in {made:.2f} s, "
                f"removed in {removed:.2f} s"
            )
            tables = cabled.tables
            assert tables is not None
            assert tables.channels.list_keys() == []
            assert all(flows.list_keys() == [] for flows in tables.flows)
            assert cabled.plane.totals().packets_to_peers == channels
        finally:
            cabled.close()
