"""Hostile messages into the proxy machine's one entry point.

Nothing but MalformedMessage is raised inside (so nothing comes out), garbage gets no reply,
strangers get no reply much larger than what they sent, and nothing grows.
"""

import gc
import tracemalloc
from itertools import islice

import pytest

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import Path, Transport
from natkit.sip import Response
from natkit.sip.framing import Expect, SipFraming
from natkit.sip.parser import DEFAULT_LIMITS
from tests.conftest import Sized
from tests.fuzz.sip_messages import HostileSip
from tests.fuzz.sip_seeds import SEEDS
from tests.fuzz.sip_target import (
    STRANGERS,
    Attacked,
    could_be_answered,
    message_of,
    replies,
)
from tests.sip_proxy.world import PROXY

SEED = 3261
LARGEST_UNPROVEN_REPLY = 1_000
"""Bytes by which answers may be longer than a request: a challenge for each algorithm, Allow."""

MOST_SENT = 100
"""Messages that one message may set off: a fork to the 20 contacts of a user, and its ends."""

ONE_DAY = 86_400.0
GROWTH_ALLOWED = 512 * 1024
"""Bytes: the hash tables for up to 2,000 transactions keep the size that they once had."""


def strangers() -> list[Path]:
    return [
        Path(Transport.UDP, PROXY, Address(f"203.0.113.{number}", 1024 + number))
        for number in range(1, STRANGERS + 1)
    ]


def attack(target: Attacked, hostile: HostileSip, count: int) -> None:
    """Send so many datagrams of strangers, and look at every reply."""
    sources = strangers()
    for data in islice(hostile, count):
        target.now += 0.01
        path = hostile.random.choice(sources)
        sent = target.receive(data, path)
        assert len(sent) <= MOST_SENT
        back = replies(sent, path)
        for reply in back:
            assert could_be_answered(data), f"garbage was answered: {data!r}"
            answer = message_of(reply)
            assert isinstance(answer, Response), data
            # Only who was let in hears all contacts of a user.
            if answer.status != 200:
                assert len(reply) <= len(data) + LARGEST_UNPROVEN_REPLY, data
        assert len(back) <= 2, data
        for transmit in sent:
            message_of(transmit.data)
        target.wait(0.0)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(8))
def test_strangers_messages_raise_nothing_and_garbage_gets_no_reply(
    seed: int, sized: Sized
) -> None:
    print("seed", seed)
    authenticate = seed % 2 == 1
    target = Attacked(seed, authenticate=authenticate)
    attack(target, HostileSip(seed, SEEDS), sized(quick=400, full=125_000))
    assert len(target.location) <= 300
    target.wait(ONE_DAY)
    assert target.is_idle
    print(sorted(target.answered))
    reached = {200, 400, 408, 480} if not authenticate else {400, 401, 403, 407}
    assert {status for _, status in target.answered} >= reached


@pytest.mark.timeout(1800)
def test_hostile_messages_leave_nothing_behind(
    sized: Sized, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is remembered of texts has its own bounds, which so few messages do not reach.
    monkeypatch.setattr("natkit.sip.remembering.LONGEST_TEXT", 0)
    count = sized(quick=300, full=60_000)
    tracemalloc.start()
    try:
        target = Attacked(SEED, authenticate=False)
        grown = []
        for part in range(2):
            attack(target, HostileSip(SEED + part, SEEDS), count)
            target.wait(ONE_DAY)
            target.location.forget_expired(target.now + 2e9)
            target.answered.clear()
            gc.collect()
            grown.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert target.is_idle
    assert len(target.location) == 0
    assert grown[1] - grown[0] < GROWTH_ALLOWED, f"{grown} bytes after {count} messages each"


@pytest.mark.parametrize("seed", range(4))
def test_hostile_streams_end_or_go_on_but_never_raise_anything_else(
    seed: int, sized: Sized
) -> None:
    print("seed", seed)
    target = Attacked(seed, authenticate=False)
    hostile = HostileSip(seed, SEEDS)
    path = Path(Transport.TCP, PROXY, Address("203.0.113.9", 40_000))
    framing = SipFraming(Expect.PINGS)
    ended = 0
    for data in islice(hostile, sized(quick=300, full=20_000)):
        target.now += 0.01
        cut = hostile.random.randrange(len(data) + 1)
        try:
            messages = [*framing.receive(data[:cut]), *framing.receive(data[cut:])]
        except MalformedMessage:
            target.proxy.disconnected(path, target.now)
            path = path._replace(remote=Address("203.0.113.9", 40_000 + ended % 20_000))
            framing = SipFraming(Expect.PINGS)
            ended += 1
            target.drain()
            continue
        assert framing.buffered <= DEFAULT_LIMITS.message + len(data)
        for one in messages:
            for transmit in target.receive(one, path):
                message_of(transmit.data)
    target.proxy.disconnected(path, target.now)
    target.drain()
    target.wait(ONE_DAY)
    assert ended
    assert target.is_idle
