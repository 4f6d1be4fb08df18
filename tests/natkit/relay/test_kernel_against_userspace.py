"""The plane in the kernel does what the one in user space does, whatever happens."""

from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from random import Random

import pytest

from natkit.address import IPNetwork
from natkit.relay.attaching import Mode
from natkit.relay.kernel import KernelPlane
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.settings import Settings
from stun_server.strangers import Strangers
from tests.conftest import Sized
from tests.natkit.relay.cabled import CLIENTS, IPV4, IPV6, LISTENERS, NOW, Cabled
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.kernel_modes import MODES
from tests.natkit.relay.twin_story import Story
from tests.natkit.relay.twins import FAR, NEAR, twins
from tests.netlab.namespaces import Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

FRAMES_AT_ONCE = 6
# Around clients, or not.
NETWORKS: tuple[tuple[IPNetwork, ...], ...] = (
    (),
    (),
    *(
        tuple(map(ip_network, networks))
        for networks in (
            ("10.1.0.2/32",),
            ("0.0.0.0/0",),
            ("10.1.0.0/31", "fd01::/16"),
            ("fd01::2/128", "10.0.0.0/8", "10.1.0.0/24"),
            ("10.1.0.0/24", "fd01::/64", "::/0"),
        )
    ),
)
BINDING = Message.request(Method.BINDING, b"0123456789ab").encode()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_frame_tells_the_planes_apart(lab: Lab, mode: Mode, seed: int, sized: Sized) -> None:
    print("seed", seed)
    with twins(lab, mode, dscp=46) as both:
        story = Story(both, seed, is_local=mode is Mode.TC)
        relayed = 0
        for _ in range(sized(quick=120, full=5_000)):
            story.command()
            for _ in range(FRAMES_AT_ONCE):
                story.frame()
            relayed += sum(map(len, both.compare().values()))
            for each in story.allocations:
                both.compare_counters(each.number)
            both.compare_totals()
        counted, behind = both.compare_totals(), both.counted_behind()
        assert relayed > counted.bindings_answered > 0
        # What the kernel left to user space is the smaller part.
        assert behind.packets_to_peers < counted.packets_to_peers / 2
        assert behind.packets_to_clients < counted.packets_to_clients / 2
        assert behind.bindings_answered < counted.bindings_answered / 2
        assert behind.dropped_no_permission < counted.dropped_no_permission / 2


@pytest.mark.parametrize("seed", [1, 2])
def test_no_more_passes_one_plane_than_the_other_where_bandwidth_is_limited(
    lab: Lab, seed: int, sized: Sized
) -> None:
    print("seed", seed)
    with twins(lab, Mode.NATIVE) as both:
        story = Story(both, seed, is_limited=True)
        for _ in range(sized(quick=100, full=5_000)):
            story.command()
            for _ in range(FRAMES_AT_ONCE):
                # One at a time: user space takes those of one allocation together.
                story.frame()
                both.compare()
            for each in story.allocations:
                both.compare_counters(each.number)
            both.compare_totals()
        counted, behind = both.compare_totals(), both.counted_behind()
        assert counted.dropped_over_rate > 0
        assert behind.dropped_over_rate < counted.dropped_over_rate / 2
        assert behind.packets_to_peers < counted.packets_to_peers / 2
        assert behind.packets_to_clients < counted.packets_to_clients / 2


def _set_clock(now: float, world: Cabled) -> None:
    world.set_clock(now)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_source_has_more_bindings_answered_by_one_plane_than_by_the_other(
    lab: Lab, seed: int, sized: Sized
) -> None:
    print("seed", seed)
    draw = Random(seed)
    with twins(lab, Mode.NATIVE) as both:
        strangers = []
        settings = Settings(
            "example.org",
            bytes(32),
            (),
            relay_ipv4="10.2.0.1",
            packets_per_source=8,
            answer_burst=20,
        )
        for world in (both.user.cabled, both.kernel.cabled):
            strangers.append(Strangers(settings, Random(7).randbytes))
            for family in (IPV4, IPV6):
                world.listen(family, 3478, strangers[-1])
        now = NOW
        for _ in range(sized(quick=250, full=5_000)):
            # One at a time: user space counts what comes at once together.
            family = draw.choice((IPV4, IPV6))
            source, listener = (CLIENTS[family][0], 50_000), (LISTENERS[family], 3478)
            both.put("left", Frame(NEAR["left"], FAR["left"], source, listener, BINDING).encode())
            both.compare()
            both.compare_totals()
            if draw.random() < 0.1:
                now += draw.choice((0.125, 0.875, 1.0, 61.0))
                both.both(partial(_set_clock, now))
            if draw.random() < 0.05:
                allowed, denied = (draw.choice(NETWORKS) for _ in range(2))
                policy = replace(settings, allowed_clients=allowed, denied_clients=denied)
                for each in strangers:
                    each.configure(policy)
        limits = [each.limits for each in strangers]
        plane = both.kernel.cabled.plane
        assert isinstance(plane, KernelPlane)
        packets, answers, unserved = plane.refused_bindings()
        assert limits[0].packets_dropped == limits[1].packets_dropped + packets > 0
        assert limits[0].answers_dropped == limits[1].answers_dropped + answers > 0
        assert packets > limits[1].packets_dropped
        assert strangers[0].denied == unserved > strangers[1].denied == 0
        answered = both.compare_totals().bindings_answered
        assert 0 < both.counted_behind().bindings_answered < answered / 10
