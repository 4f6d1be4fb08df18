"""What a Locator remembers from one lookup to the next."""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest

import sipdns.locator
from natkit.address import Address, Family
from natkit.errors import DnsFailure, MisuseError, NoService
from natkit.machine import Failure, Transport
from natkit.sip.via import SentBy, Via, response_destination
from sipdns.cache import Cache
from sipdns.locator import MOST_LOOKUPS, ROUTES_LAST, Locator
from sipdns.records import Answer, Question
from sipdns.resolution import Limits
from sipdns.targets import Source
from tests.sipdns.world import TTL, World

ZONE = """
example.org NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.example.org
_sip._tcp.example.org SRV 1 50 5060 a.example.org
_sip._tcp.example.org SRV 1 50 5060 b.example.org
a.example.org A 192.0.2.1
a.example.org AAAA 2001:db8::1
b.example.org A 192.0.2.2
"""


class Dns:
    """Answers from a World, unless told otherwise."""

    def __init__(self, text: str = ZONE) -> None:
        self.world = World(text)
        self.asked: list[Question] = []
        self.instead: Failure | None = None
        self.hold: asyncio.Event | None = None

    async def ask(self, question: Question) -> Answer | Failure:
        self.asked.append(question)
        if self.hold is not None:
            await self.hold.wait()
        return self.instead or self.world.answer(question)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until they have come this far."""
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sipdns.locator, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def dns() -> Dns:
    return Dns()


async def test_a_second_lookup_asks_nothing_and_starts_no_task(dns: Dns) -> None:
    locator = Locator(dns=dns, usable=tuple(Family))
    cold = await locator.locate("sip:alice@example.org")
    asked = len(dns.asked)
    started = 0
    loop = asyncio.get_running_loop()

    def factory(*arguments: object, **options: object) -> asyncio.Task[object]:
        nonlocal started
        started += 1
        raise AssertionError("no task is needed")

    loop.set_task_factory(factory)  # type: ignore[arg-type]
    try:
        warm = await locator.locate("sip:bob@example.org")
        explained = await locator.explain("sip:example.org")
    finally:
        loop.set_task_factory(None)
    assert {one.address for one in warm} == {one.address for one in cold}
    assert {one.address for one in explained.targets} == {one.address for one in cold}
    assert (len(dns.asked), started) == (asked, 0)
    assert explained.rounds == 0
    assert {one.source for one in explained.asked} == {Source.CACHE}
    assert locator.cache.statistics.plans_used == 1


async def test_what_nobody_has_to_be_asked_for_is_known_without_waiting(dns: Dns) -> None:
    locator = Locator(dns=dns, usable=tuple(Family))
    assert locator.locate_known("sip:example.org") is None
    (numeric,) = locator.locate_known("sip:alice@192.0.2.9:5070;transport=tcp") or ()
    assert (numeric.transport, numeric.address) == (Transport.TCP, Address("192.0.2.9", 5070))
    assert dns.asked == []
    found = await locator.locate("sip:example.org")
    known = locator.locate_known("sip:bob@example.org")
    assert known is not None
    assert {one.address for one in known} == {one.address for one in found}
    with pytest.raises(MisuseError):
        locator.locate_known("sip:")


async def test_chance_is_drawn_anew_each_time(dns: Dns) -> None:
    locator = Locator(dns=dns)
    firsts = Counter([(await locator.locate("sip:example.org"))[0].host for _ in range(400)])
    assert set(firsts) == {"a.example.org", "b.example.org"}
    # Within five standard deviations of 200.
    assert 150 < firsts["a.example.org"] < 250


async def test_what_was_found_ends_with_the_ttl(dns: Dns, clock: Clock) -> None:
    locator = Locator(dns=dns)
    await locator.locate("sip:example.org")
    asked = len(dns.asked)
    clock.now += TTL - 0.1
    await locator.locate("sip:example.org")
    assert len(dns.asked) == asked
    clock.now += 0.1
    dns.world = World(ZONE.replace("192.0.2.", "198.51.100."))
    found = await locator.locate("sip:example.org")
    assert {one.address.host for one in found} >= {"198.51.100.1", "198.51.100.2"}
    assert len(dns.asked) == 2 * asked


async def test_what_is_only_part_of_the_uri_makes_a_difference(dns: Dns) -> None:
    locator = Locator(dns=dns, transports=[Transport.UDP, Transport.TCP, Transport.TLS])
    plain = await locator.locate("sip:alice@example.org")
    secure = await locator.locate("sips:alice@192.0.2.7")
    port = await locator.locate("sip:alice@a.example.org:5070")
    again = await locator.locate("sip:bob@a.example.org:5070")
    assert plain[0].transport is Transport.TCP
    assert secure[0].transport is Transport.TLS
    assert {one.address.port for one in port} == {5070}
    assert set(again) == set(port)


@pytest.mark.parametrize("uri", ["sip:a b@example.org", "sip:%zz@example.org", "sip:@example.org"])
async def test_a_wrong_user_is_found_though_the_rest_is_known(dns: Dns, uri: str) -> None:
    locator = Locator(dns=dns)
    await locator.locate("sip:example.org")
    with pytest.raises(MisuseError):
        await locator.locate(uri)


async def test_locators_share_a_cache_but_not_their_plans(dns: Dns) -> None:
    cache = Cache()
    first = Locator(dns=dns, cache=cache, transports=[Transport.TCP])
    second = Locator(dns=dns, cache=cache, transports=[Transport.UDP])
    assert (await first.locate("sip:a.example.org"))[0].transport is Transport.TCP
    asked = len(dns.asked)
    assert (await second.locate("sip:a.example.org"))[0].transport is Transport.UDP
    new = [str(one) for one in dns.asked[asked:]]
    assert new == ["_sip._udp.a.example.org SRV"]


async def test_failures_are_not_remembered_and_denials_are(dns: Dns) -> None:
    locator = Locator(dns=dns)
    dns.instead = Failure("SERVFAIL")
    with pytest.raises(DnsFailure):
        await locator.locate("sip:example.org")
    dns.instead = None
    assert await locator.locate("sip:example.org")
    asked = len(dns.asked)
    for _ in range(2):
        with pytest.raises(NoService):
            await locator.locate("sip:nowhere.example")
    assert len(dns.asked) == asked + 6


async def test_a_cache_that_keeps_nothing_asks_each_time(dns: Dns) -> None:
    locator = Locator(dns=dns, cache=Cache(most_units=0))
    await locator.locate("sip:example.org")
    asked = len(dns.asked)
    await locator.locate("sip:example.org")
    assert len(dns.asked) == 2 * asked


async def test_routes_that_change_change_the_order(
    dns: Dns, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = (Family.IPV6,)
    monkeypatch.setattr(sipdns.locator, "usable_families", lambda: routes)
    locator = Locator(dns=dns)
    assert (await locator.locate("sip:a.example.org"))[0].family is Family.IPV6
    routes = (Family.IPV4,)
    assert (await locator.locate("sip:a.example.org"))[0].family is Family.IPV6
    clock.now += ROUTES_LAST
    assert (await locator.locate("sip:a.example.org"))[0].family is Family.IPV4


# -- RFC 8767


async def test_stale_answers_serve_while_the_dns_cannot_be_reached(dns: Dns, clock: Clock) -> None:
    locator = Locator(dns=dns, cache=Cache(stale_for=3600))
    fresh = await locator.locate("sip:example.org")
    clock.now += TTL + 1
    dns.instead = Failure("SERVFAIL")
    outcome = await locator.explain("sip:example.org")
    assert set(outcome.targets) == set(fresh)
    assert Source.STALE in {one.source for one in outcome.asked}
    asked = len(dns.asked)
    assert set(await locator.locate("sip:example.org")) == set(fresh)
    assert len(dns.asked) == asked
    clock.now += 31
    dns.instead = None
    dns.world = World("example.org A 192.0.2.77")
    found = await locator.locate("sip:example.org")
    assert [one.address for one in found] == [Address("192.0.2.77", 5060)]
    await locator.aclose()


async def test_without_the_option_what_is_over_does_not_serve(dns: Dns, clock: Clock) -> None:
    locator = Locator(dns=dns)
    await locator.locate("sip:example.org")
    clock.now += TTL + 1
    dns.instead = Failure("SERVFAIL")
    with pytest.raises(DnsFailure):
        await locator.locate("sip:example.org")


async def test_a_slow_dns_is_not_waited_for_and_still_renews_what_is_stale(
    dns: Dns, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sipdns.locator, "STALE_ANSWER_AFTER", 0.01)
    locator = Locator(dns=dns, cache=Cache(stale_for=3600))
    await locator.locate("sip:a.example.org:5060")
    clock.now += TTL + 1
    dns.hold = asyncio.Event()
    outcome = await locator.explain("sip:a.example.org:5060")
    assert {one.source for one in outcome.asked} == {Source.STALE}
    dns.hold.set()
    await until(lambda: locator.cache.statistics.stored == 4)
    outcome = await locator.explain("sip:a.example.org:5060")
    assert {one.source for one in outcome.asked} == {Source.CACHE}


async def test_closing_ends_what_goes_on_in_the_background(
    dns: Dns, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sipdns.locator, "STALE_ANSWER_AFTER", 0.01)
    async with Locator(dns=dns, cache=Cache(stale_for=3600)) as locator:
        await locator.locate("sip:a.example.org:5060")
        clock.now += TTL + 1
        dns.hold = asyncio.Event()
        await locator.locate("sip:a.example.org:5060")
        assert len(asyncio.all_tasks()) > 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_refreshes_in_the_background_are_bounded(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sipdns.locator, "STALE_ANSWER_AFTER", 0.0)
    monkeypatch.setattr(sipdns.locator, "MOST_REFRESHES", 10)
    names = [f"h{index}.example.org" for index in range(20)]
    dns = Dns("\n".join(f"{name} A 192.0.2.1" for name in names))
    async with Locator(dns=dns, cache=Cache(stale_for=3600)) as locator:
        for name in names:
            await locator.locate(f"sip:{name}:5060")
        clock.now += TTL + 1
        dns.hold = asyncio.Event()
        for name in names:
            assert await locator.locate(f"sip:{name}:5060")
        assert len(asyncio.all_tasks()) <= 11


# -- Many at once


async def test_lookups_that_ask_are_bounded_and_those_that_know_do_not_wait(dns: Dns) -> None:
    locator = Locator(dns=dns, limits=Limits(query=0.2, straggler=0.2, whole=0.2))
    await locator.locate("sip:example.org")
    dns.asked.clear()
    dns.hold = asyncio.Event()
    lookups = [
        asyncio.create_task(locator.explain(f"sip:d{index}.example:5060"))
        for index in range(3 * MOST_LOOKUPS)
    ]
    await until(lambda: len(dns.asked) == 2 * MOST_LOOKUPS)
    assert await locator.locate("sip:example.org")
    assert (await locator.explain("sip:example.org")).targets
    assert len({one.name for one in dns.asked}) == MOST_LOOKUPS
    outcomes = await asyncio.gather(*lookups)
    assert all(isinstance(one.error, DnsFailure) for one in outcomes)


async def test_those_who_look_for_one_domain_at_once_share_the_lookup(dns: Dns) -> None:
    locator = Locator(dns=dns)
    dns.hold = asyncio.Event()
    lookups = [
        asyncio.create_task(locator.locate(f"sip:user{index}@example.org")) for index in range(50)
    ]
    gone = [
        asyncio.create_task(locator.locate(f"sip:user{index}@gone.example")) for index in range(3)
    ]
    await until(lambda: len(dns.asked) == 12)
    lookups.pop(0).cancel()
    gone.pop(0).cancel()
    dns.hold.set()
    for targets in await asyncio.gather(*lookups):
        assert {one.host for one in targets} == {"a.example.org", "b.example.org"}
    errors = await asyncio.gather(*gone, return_exceptions=True)
    assert all(isinstance(error, NoService) for error in errors)
    assert errors[0] is not errors[1]
    assert len(dns.asked) == len(set(dns.asked)) == 12 + 4


async def test_a_shared_lookup_ends_with_the_last_who_waits_for_it(dns: Dns) -> None:
    locator = Locator(dns=dns)
    dns.hold = asyncio.Event()
    lookups = [asyncio.create_task(locator.locate("sip:example.org")) for _ in range(3)]
    await until(lambda: len(dns.asked) == 6)
    for lookup in lookups:
        lookup.cancel()
    await asyncio.gather(*lookups, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    dns.hold.set()
    assert await locator.locate("sip:example.org")


# -- Options


async def test_happy_eyeballs_lets_families_take_turns_cold_and_warm() -> None:
    dns = Dns(
        "\n".join(f"example.org AAAA 2001:db8::{index}" for index in range(1, 4))
        + "\nexample.org A 192.0.2.1"
    )
    locator = Locator(dns=dns, transports=[Transport.TLS], happy_eyeballs=True)
    for look in range(3):
        targets = await locator.locate("sip:example.org")
        families = [one.family for one in targets]
        assert families == [Family.IPV6, Family.IPV4, Family.IPV6, Family.IPV6], look


RESPONSE_ZONE = """
_sip._udp.client.example SRV 1 0 5070 a.client.example
_sips._tcp.client.example SRV 1 0 5071 a.client.example
client.example A 192.0.2.9
a.client.example A 192.0.2.1
client.example NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.client.example
"""


@pytest.mark.parametrize(
    ("via", "target"),
    [
        ("SIP/2.0/UDP client.example;branch=z9hG4bK1", "udp 192.0.2.1:5070"),
        ("SIP/2.0/TLS client.example;branch=z9hG4bK1", "tls 192.0.2.1:5071"),
        ("SIP/2.0/TCP client.example;branch=z9hG4bK1", "tcp 192.0.2.9:5060"),
        ("SIP/2.0/UDP client.example:5090;branch=z9hG4bK1", "udp 192.0.2.9:5090"),
        ("SIP/2.0/WS client.example;branch=z9hG4bK1", "ws 192.0.2.9:80"),
        ("SIP/2.0/TCP 192.0.2.5;received=192.0.2.6;branch=z9hG4bK1", "tcp 192.0.2.5:5060"),
        ("SIP/2.0/TLS [2001:db8::5]:99;received=192.0.2.6;branch=z", "tls [2001:db8::5]:99"),
    ],
)
async def test_a_response_whose_way_back_failed_is_sent_by_the_sent_by(
    via: str, target: str
) -> None:
    dns = Dns(RESPONSE_ZONE)
    destination = response_destination(Via.parse(via))
    sent_by = destination if isinstance(destination, SentBy) else destination.fallback
    assert sent_by is not None
    (found,) = await Locator(dns=dns).locate_response(sent_by)
    assert f"{found.transport} {found.address}" == target
    assert not any(one.type.value == "NAPTR" for one in dns.asked)


async def test_a_response_to_nowhere_is_no_service() -> None:
    sent_by = SentBy(Transport.UDP, "gone.example", None)
    with pytest.raises(NoService, match=r"SIP/2\.0/UDP gone\.example"):
        await Locator(dns=Dns()).locate_response(sent_by)


async def test_a_locator_of_the_system_closes_what_it_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[Callable[[], None]] = []

    class Nameservers(Dns):
        def __init__(self, *_: object) -> None:
            super().__init__()

        async def aclose(self) -> None:
            closed.append(lambda: None)

    monkeypatch.setattr(sipdns.locator, "Nameservers", Nameservers)
    async with Locator(nameservers=[Address("127.0.0.1", 53)]) as locator:
        await locator.locate("sip:example.org")
        assert not closed
    assert len(closed) == 1
