"""Clients on this very machine leave checksums to a card, which none of the virtual ones is."""

import pytest

from natkit.relay.attaching import Mode
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import CLIENTS, IPV4, NOW, PEERS, Cabled
from tests.natkit.relay.kernel_modes import MODES
from tests.natkit.relay.rig import address_of
from tests.netlab.namespaces import Lab, run

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

BEYOND, NETWORK = "10.3.0.2", "10.3.0.0/24"
COUNT = 3


@pytest.mark.parametrize("mode", MODES)
def test_data_of_a_local_client_arrives_whole_at_a_peer_beyond_a_router(
    lab: Lab, mode: Mode
) -> None:
    """Whoever puts the packet on a real wire finishes the sum where the packet says it begins."""
    cabled = Cabled(lab, mode)
    try:
        run(cabled.left, "ethtool", "-K", "eth0", "tx", "on")
        router, beyond = cabled.right, lab.host("beyond")
        lab.cable((router, "out", "10.3.0.1/24"), (beyond, "eth0", f"{BEYOND}/24"))
        run(router, "ethtool", "-K", "out", "tx", "off")
        run(router, "tee", "/proc/sys/net/ipv4/ip_forward", text="1")
        beyond.configure("route", "add", "default", "via", "10.3.0.1")
        cabled.server.configure("route", "add", NETWORK, "via", PEERS[IPV4][0])
        listener = cabled.listen(IPV4)
        client = cabled.socket_on(cabled.left, CLIENTS[IPV4][0])
        peer = cabled.socket_on(beyond, BEYOND)
        number, relayed = cabled.allocate(client, listener, IPV4)
        cabled.plane.permit(number, BEYOND, NOW + 600)
        cabled.plane.bind_channel(number, 0x4000, address_of(peer), NOW + 600)
        for each in range(COUNT):
            data = bytes([each]) * 172
            client.sendto(ChannelData(0x4000, data).encode(padded=False), listener)
            if mode is Mode.GENERIC:
                while cabled.reactor.idle:
                    pass
                cabled.turn()
            assert peer.recvfrom(2000) == (data, relayed)
        assert cabled.plane.counters(number).packets_to_peers == COUNT
        by_user_space = COUNT if mode is Mode.GENERIC else 0
        assert cabled.behind.counters(number).packets_to_peers == by_user_space
    finally:
        cabled.close()
