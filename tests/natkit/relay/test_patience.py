"""Strangers have their share of a plane's time, whatever they cost, and clients all of it."""

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.relay.patience import LONGEST, SHARE, Patience
from natkit.relay.plane import BindingPolicy
from natkit.relay.userspace import UserspacePlane
from tests.natkit.relay.rig import HandReactor, Rig, address_of

REQUEST = bytes.fromhex("00030000 2112a442") + bytes(12)


@pytest.mark.parametrize("cost", [0.000_01, 0.001, 0.02])
def test_strangers_have_their_share_and_no_more(cost: float) -> None:
    patience, now, heard = Patience(), 1_000.0, 0.0
    end = now + 60.0
    while now < end:
        if patience.has_time(now):
            patience.spend(cost)
            heard += cost
            now += cost
        # Each is followed by another as soon as it is done with.
        now += 0.000_5
    assert heard <= SHARE * 60.0 + LONGEST + cost
    assert heard >= min(SHARE, cost / (cost + 0.000_6)) * 60.0 * 0.9


def test_a_plane_drops_the_flood_and_hears_its_clients() -> None:
    """Each message takes the machine a hundredth of a second, by the stopwatch."""
    rig = Rig()
    elapsed = 0.0
    heard: list[Address] = []

    def on_unhandled(data: bytes, path: Path, now: float) -> None:
        nonlocal elapsed
        assert (data, now) == (REQUEST, 1_000.0)
        heard.append(path.remote)
        elapsed += 0.01

    reactor = HandReactor()
    plane = UserspacePlane(
        reactor,
        on_unhandled,
        random=bytes,
        clock=lambda: 1_000.0,
        stopwatch=lambda: elapsed,
    )
    try:
        listener = rig.new_socket()
        plane.listen(listener, BindingPolicy())
        client, stranger = rig.new_socket(), rig.new_socket()
        path = Path(Transport.UDP, address_of(listener), address_of(client))
        plane.open(1, path, rig.new_socket(), 2_000.0)
        for _ in range(100):
            stranger.sendto(REQUEST, address_of(listener))
            reactor.turn()
        for _ in range(100):
            client.sendto(REQUEST, address_of(listener))
            reactor.turn()
        strangers = heard.count(address_of(stranger))
        assert heard.count(address_of(client)) == 100
        assert 10 <= strangers <= 25
        assert plane.totals().dropped_strangers == 100 - strangers
        # The time that the client took is time in which strangers earn theirs.
        stranger.sendto(REQUEST, address_of(listener))
        reactor.turn()
        assert heard.count(address_of(stranger)) == strangers + 1
    finally:
        plane.stop()
        reactor.close()
        rig.close()
