from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Path, Transport
from natkit.sip import HeaderField, Response, parse_message
from natkit.sip.kinds import RETRY_AFTER
from natkit.sip.transactions import SipTiming
from natkit.sip.transactions.matching import to_tag
from sip_proxy.sources import KNOWN, MOST_KNOWN, Sources, SourceSettings
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, Phone, ProxyHost, settings

MESSAGE = b"OPTIONS sip:example.org SIP/2.0\r\nUser-Agent: friendly-scanner 1.0\r\n\r\n"


def random(size: int) -> bytes:
    return bytes(range(7, 7 + size))


def path(host: str, transport: Transport = Transport.UDP) -> Path:
    return Path(transport, PROXY, Address(host, 5060))


def heard(sources: Sources, where: Path, count: int, now: float = 0.0) -> int:
    return sum(sources.hears(MESSAGE, where, now) for _ in range(count))


class TestFloods:
    @pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
    def test_one_source_is_heard_so_often_a_second_and_others_meanwhile(
        self, transport: Transport
    ) -> None:
        sources = Sources(SourceSettings(messages=100), random)
        assert heard(sources, path("198.51.100.1", transport), 10_000) == 100
        assert heard(sources, path("203.0.113.1", transport), 40) == 40
        assert heard(sources, path("198.51.100.1", transport), 10_000, now=1.0) == 100
        assert sources.flooded == 2 * 9_900

    def test_neighbours_whose_addresses_can_be_forged_together_are_one_source(self) -> None:
        sources = Sources(SourceSettings(messages=100), random)
        assert sum(heard(sources, path(f"198.51.100.{n}"), 10) for n in range(200)) == 100

    def test_networks_can_be_left_uncounted(self) -> None:
        unlimited = (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
        sources = Sources(SourceSettings(messages=10, unlimited=unlimited), random)
        for host in ("198.51.100.7", "2001:db8::7"):
            assert heard(sources, path(host), 1_000) == 1_000
        assert heard(sources, path("203.0.113.1"), 1_000) <= 10

    def test_0_counts_nobody(self) -> None:
        sources = Sources(SourceSettings(messages=0), random)
        assert heard(sources, path("198.51.100.1"), 10_000) == 10_000

    def test_other_settings_count_from_the_next_second_on(self) -> None:
        sources = Sources(SourceSettings(messages=10), random)
        assert heard(sources, path("198.51.100.1"), 100) == 10
        sources.configure(SourceSettings(messages=20))
        assert heard(sources, path("198.51.100.1"), 100, now=1.0) == 20


class TestStrangers:
    def forged(self, sources: Sources, count: int, now: float) -> int:
        """How many of so many messages are heard, each from another network."""
        return sum(
            sources.hears(MESSAGE, path(f"198.{18 + (n >> 8)}.{n & 255}.1"), now)
            for n in range(count)
        )

    def test_a_flood_from_everywhere_is_heard_so_often_and_those_who_are_known_meanwhile(
        self,
    ) -> None:
        sources = Sources(SourceSettings(messages=100, strangers=30), random)
        phone = path("203.0.113.1")
        sources.has_proven_itself(phone, 100, 0.0)
        for second in range(3):
            assert self.forged(sources, 500, float(second)) == 50 + 30
            assert heard(sources, phone, 40, now=float(second)) == 40
        assert sources.crowded_out == 3 * 420

    def test_where_little_comes_strangers_are_heard_like_others(self) -> None:
        sources = Sources(SourceSettings(messages=100, strangers=0), random)
        assert self.forged(sources, 50, 0.0) == 50
        assert self.forged(sources, 60, 1.0) == 50

    def test_whoever_was_silent_for_an_hour_is_a_stranger_again(self) -> None:
        sources = Sources(SourceSettings(messages=100, strangers=0), random)
        phone = path("203.0.113.1")
        for met in range(0, 7_200, 1_800):
            sources.meet(phone, float(met))
        for now, expected in ((8_000.0, 40), (5_400.0 + KNOWN, 0)):
            self.forged(sources, 100, now)
            assert heard(sources, phone, 40, now) == expected

    def test_those_who_are_known_are_bounded(self) -> None:
        sources = Sources(SourceSettings(messages=100, strangers=0), random)
        for number in range(MOST_KNOWN + 500):
            host = Address.from_packed(((number << 8) | (1 << 28)).to_bytes(4, "big"), 5060)
            sources.meet(path(host.host), 0.0)
        assert len(sources._known) == MOST_KNOWN

    def test_trusted_networks_are_not_counted(self) -> None:
        sources = Sources(
            SourceSettings(messages=10, strangers=0), random, (ip_network("198.51.100.0/24"),)
        )
        assert heard(sources, path("198.51.100.7"), 1_000) == 1_000

    def test_next_hops_that_answer_are_known(self, network: Network) -> None:
        proxy = ProxyHost(network, settings(sources=SourceSettings(messages=10, strangers=0)))
        bob = Phone(network, "bob", "192.0.2.77", answers=lambda one, ring: one.respond(ring, 486))
        alice = Phone(network, "alice", "192.0.3.10")
        alice.invite(f"sip:bob@{bob.local}")
        network.run_for(1.0)
        sources = proxy.machine.sources
        later = network.now + 1.0
        self.forged(sources, 100, later)
        assert heard(sources, path("192.0.2.77"), 5, later) == 5
        assert heard(sources, path("192.0.3.10"), 5, later) == 0


class TestScanners:
    @pytest.mark.parametrize(
        "head",
        [
            b"User-Agent: friendly-scanner",
            b"USER-AGENT:  The FRIENDLY-Scanner/9",
            b"User-agent : x friendly-scanner",
        ],
    )
    def test_a_program_that_says_what_it_is_gets_no_answer(self, head: bytes) -> None:
        sources = Sources(SourceSettings(scanners=("Friendly-Scanner",)), random)
        message = b"OPTIONS sip:example.org SIP/2.0\r\n" + head + b"\r\nTo: x\r\n\r\n"
        assert not sources.hears(message, path("198.51.100.1"), 0.0)
        assert sources.scanned == 1

    @pytest.mark.parametrize(
        "message",
        [
            b"OPTIONS sip:friendly-scanner SIP/2.0\r\nTo: friendly-scanner\r\n\r\n",
            b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: x\r\nSubject: friendly-scanner\r\n\r\n",
            b"MESSAGE sip:x SIP/2.0\r\nTo: x\r\n\r\n\r\nUser-Agent: friendly-scanner\r\n",
            b"",
        ],
    )
    def test_who_speaks_of_one_is_none(self, message: bytes) -> None:
        sources = Sources(SourceSettings(scanners=("friendly-scanner",)), random)
        assert sources.hears(message, path("198.51.100.1"), 0.0)

    def test_nobody_is_one_unless_it_was_said(self) -> None:
        assert Sources(SourceSettings(), random).hears(MESSAGE, path("198.51.100.1"), 0.0)
        with pytest.raises(MisuseError, match="scanner"):
            SourceSettings(scanners=(" ",))

    def test_the_proxy_keeps_nothing_of_it(self, network: Network) -> None:
        proxy = ProxyHost(network, settings(sources=SourceSettings(scanners=("sipvicious",))))
        eve = Phone(network, "eve", "192.0.2.66")
        agent = HeaderField.of_text("User-Agent", "SIPVicious 0.3")
        call = eve.send("OPTIONS", f"sip:{DOMAIN}", agent)
        network.run_for(10.0)
        assert call.responses == []
        assert proxy.is_idle


class TestChallenges:
    def test_a_stranger_over_udp_leaves_nothing_behind(self, network: Network) -> None:
        """RFC 3261 §8.2.7: its challenge is made without a transaction."""
        proxy = ProxyHost(network, settings(authenticate=True))
        eve = Phone(network, "eve", "192.0.2.66")
        call = eve.invite(f"sip:bob@{DOMAIN}")
        network.run_until(lambda: bool(call.responses), 1.0)
        assert call.statuses == [407]
        assert proxy.is_idle

    def test_an_invite_sent_again_is_challenged_again_with_the_same_tag(
        self, network: Network
    ) -> None:
        proxy = ProxyHost(network, settings(authenticate=True))
        eve = Phone(network, "eve", "192.0.2.66")
        request = bytes(eve.invite(f"sip:bob@{DOMAIN}").request)
        tags = set()
        for _ in range(2):
            proxy.machine.receive(request, path("192.0.2.66"), network.now)
            (answer,) = proxy.machine.transmits()
            response = parse_message(answer.data)
            assert isinstance(response, Response)
            assert response.status == 407
            tags.add(to_tag(response))
        assert len(tags) == 1

    @pytest.mark.parametrize(
        ("uri", "status"),
        [
            (f"sip:nobody@{DOMAIN}", 480),
            ("sip:nobody@elsewhere.example", 403),
            ("sip:192.0.2.5", 404),
        ],
    )
    def test_an_invite_of_a_stranger_is_refused_once_and_not_again_and_again(
        self, network: Network, uri: str, status: int
    ) -> None:
        """Timer G would send the answer ten times more, to a source that may be forged."""
        proxy = ProxyHost(network, settings(authenticate=True))
        eve = Phone(network, "eve", "192.0.2.66")
        eve.send("INVITE", uri, sender="<sip:eve@elsewhere.example>;tag=1")
        recorder = proxy.machine.recorder
        network.run_until(lambda: len(recorder) == 2, 1.0)
        eve.shell.stop()
        network.run_for(40.0)
        request, response = recorder.messages()
        answer = parse_message(response.data)
        assert isinstance(answer, Response)
        assert (request.is_sent, answer.status) == (False, status)
        assert proxy.is_idle

    def test_the_ack_of_such_an_answer_goes_nowhere(self, network: Network) -> None:
        ProxyHost(network, settings())
        eve = Phone(network, "eve", "192.0.2.66")
        bob = Phone(network, "bob", "192.0.2.11")
        gone = HeaderField.of_text("Proxy-Require", "unheard-of")
        call = eve.invite(f"sip:bob@{bob.local}", gone)
        network.run_for(1.0)
        assert call.statuses == [420]
        assert bob.acks == bob.received == []

    def test_challenges_are_no_longer_than_what_a_flood_pays_for(self, network: Network) -> None:
        burst = 2_000
        proxy = ProxyHost(
            network, settings(authenticate=True, sources=SourceSettings(challenge_burst=burst))
        )
        eve = Phone(network, "eve", "192.0.2.66")
        calls = [eve.register() for _ in range(100)]
        network.run_for(0.4)
        received = sum(len(bytes(each.request)) for each in calls)
        sent = sum(len(bytes(answer)) for each in calls for answer in each.responses)
        assert 0 < sent <= 2 * received + burst
        assert proxy.machine.sources.unchallenged > 0
        # Whoever is really there pays for the challenge by its answer.
        proxy.users["alice", DOMAIN] = "secret"
        network.run_for(60.0)
        alice = Phone(network, "alice", "192.0.2.10")
        for _ in range(20):
            first = alice.register()
            network.run_for(1.0)
            second = alice.authorized(first)
            network.run_for(1.0)
            assert second.statuses == [200]

    def test_over_tcp_where_nobody_is_forged_all_are_challenged(self, network: Network) -> None:
        ProxyHost(network, settings(authenticate=True, sources=SourceSettings(challenge_burst=0)))
        alice = Phone(network, "alice", "192.0.2.10", transport=Transport.TCP)
        calls = [alice.register() for _ in range(50)]
        network.run_for(1.0)
        assert all(each.statuses == [401] for each in calls)


def test_a_flood_leaves_room_for_others_calls(network: Network) -> None:
    proxy = ProxyHost(network, settings(sources=SourceSettings(messages=50)))
    eve = Phone(network, "eve", "198.51.100.66")
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.77", answers=lambda phone, ring: phone.respond(ring, 200))
    bob.register()
    network.run_for(1.0)
    for _ in range(5):
        for _ in range(200):
            eve.send("OPTIONS", f"sip:{DOMAIN}")
        call = alice.invite(bob.uri)
        network.run_for(1.0)
        assert call.statuses == [200]
        alice.acknowledge_after(network, call)
    assert proxy.machine.sources.flooded > 700


def test_a_full_table_of_transactions_says_when_to_come_back(network: Network) -> None:
    timing = SipTiming()
    ProxyHost(network, settings(largest_transactions=20, timing=timing))
    alice = Phone(network, "alice", "192.0.2.10")
    calls = [alice.send("OPTIONS", f"sip:{DOMAIN}") for _ in range(30)]
    network.run_for(1.0)
    statuses = [each.statuses[0] for each in calls]
    assert (statuses.count(200), statuses.count(503)) == (20, 10)
    full = next(each.responses[0] for each in calls if each.statuses == [503])
    wait = full.headers.get(RETRY_AFTER)
    assert wait is not None
    assert 0 < wait.seconds <= 60
    # Timer J over, there is room again.
    network.run_for(timing.timeout)
    later = alice.send("OPTIONS", f"sip:{DOMAIN}")
    network.run_for(1.0)
    assert later.statuses == [200]
