"""Names on a link: two or three hosts whose messages reach each other as multicast does."""

import random
from collections.abc import Callable

import pytest

from natkit.address import Address, Family
from natkit.errors import MisuseError
from natkit.ice.mdns import Link, MulticastDns, NameResolved, NameUnresolved, is_mdns_name
from natkit.ice.mdns.messages import MdnsMessage, answer, legacy_answer, parse, query
from natkit.ice.mdns.naming import (
    INTERVALS,
    MOST_HEARD,
    MOST_PUBLISHED,
    MOST_RESOLVING,
    MdnsEvent,
)
from natkit.ice.mdns.registry import GROUP_IPV4, GROUP_IPV6, HOST_TTL, PORT, TOP_BIT
from natkit.machine import Path, Transmit, Transport
from tests.conftest import Sized
from tests.fuzz.datagrams import Hostile

GROUP = Address(GROUP_IPV4, PORT)
GROUP6 = Address(f"{GROUP_IPV6}%eth0", PORT)
BOTH = frozenset(Family)
NAME = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"


def link(host: str, *others: str, group: Address = GROUP) -> Link:
    return Link(Address(host, PORT), group, frozenset({host, *others}), zone="eth0")


class Wire:
    """A link; what one host multicasts, all others receive, at once, and in a log."""

    def __init__(self, *hosts: str, lose: Callable[[int], bool] = lambda _: False) -> None:
        self.now = 1000.0
        self.log: list[tuple[float, Transmit]] = []
        self._lose = lose
        self._links = {host: link(host) for host in hosts}
        self.hosts = {
            host: MulticastDns([each], random=random.Random(host).randbytes)
            for host, each in self._links.items()
        }
        self.events: dict[str, list[MdnsEvent]] = {host: [] for host in hosts}

    def settle(self) -> None:
        moved = True
        while moved:
            moved = False
            for host, machine in self.hosts.items():
                for transmit in machine.transmits():
                    moved = True
                    self.log.append((self.now, transmit))
                    if self._lose(len(self.log) - 1):
                        continue
                    self.deliver(host, transmit)
                while (event := machine.next_event()) is not None:
                    self.events[host].append(event)

    def deliver(self, sender: str, transmit: Transmit) -> None:
        to = transmit.path.remote
        for host, machine in self.hosts.items():
            if host != sender and (to == GROUP or to.host == host):
                path = Path(Transport.UDP, Address(host, PORT), Address(sender, PORT))
                machine.receive(transmit.data, path, self.now)

    def advance(self, until: float) -> None:
        """Let ``until`` seconds pass, timer by timer."""
        end = self.now + until
        self.settle()
        while True:
            deadlines = [m.next_deadline() for m in self.hosts.values()]
            due = min((each for each in deadlines if each is not None), default=end + 1)
            if due > end:
                break
            self.now = max(self.now, due)
            for machine in self.hosts.values():
                machine.handle_timer(self.now)
            self.settle()
        self.now = end

    def messages(self) -> list[MdnsMessage]:
        return [parse(transmit.data) for _, transmit in self.log]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_a_published_name_is_resolved_by_a_host_of_the_link(host: str) -> None:
    wire = Wire("192.0.2.1", "192.0.2.2")
    ours = MulticastDns([link("192.0.2.1", host)], random=random.Random(1).randbytes)
    wire.hosts["192.0.2.1"] = ours
    name = ours.publish(host, wire.now)
    wire.hosts["192.0.2.2"] = MulticastDns([link("192.0.2.2")], random=random.Random(2).randbytes)
    list(ours.transmits())  # the other host was not there yet
    wire.advance(20)
    wire.log.clear()
    other = wire.hosts["192.0.2.2"] = MulticastDns([link("192.0.2.2")], random=bytes)
    other.resolve(name.upper() + ".", wire.now)
    wire.settle()
    assert wire.events["192.0.2.2"] == [NameResolved(name, host)]
    assert [message.is_response for message in wire.messages()] == [False, False, True]


def test_names_are_random_uuids_under_local() -> None:
    machine = MulticastDns([link("192.0.2.1")], random=random.Random(3).randbytes)
    names = {machine.publish("192.0.2.1", 0.0) for _ in range(100)}
    assert len(names) == 100
    for name in names:
        parts = name.removesuffix(".local").split("-")
        assert [len(part) for part in parts] == [8, 4, 4, 4, 12]
        assert parts[2][0] == "4"
        assert parts[3][0] in "89ab"
        assert is_mdns_name(name)


def test_a_name_is_announced_twice_and_taken_back_with_a_ttl_of_zero() -> None:
    wire = Wire("192.0.2.1", "192.0.2.2")
    name = wire.hosts["192.0.2.1"].publish("192.0.2.1", wire.now)
    wire.advance(30)
    assert [(at - 1000, each.path.remote) for at, each in wire.log] == [(0, GROUP), (1, GROUP)]
    # Who heard the announcement need not ask.
    other = wire.hosts["192.0.2.2"]
    other.resolve(name, wire.now)
    wire.settle()
    assert wire.events["192.0.2.2"] == [NameResolved(name, "192.0.2.1")]
    assert len(wire.log) == 2

    wire.hosts["192.0.2.1"].withdraw(name)
    wire.advance(1)
    assert [record.ttl for record in wire.messages()[-1].records] == [0]
    other.resolve(name, wire.now)
    wire.advance(sum(INTERVALS))
    assert wire.events["192.0.2.2"][1:] == [
        NameUnresolved(name, "nobody on the link answered for it")
    ]


def test_a_query_that_is_lost_is_sent_again_and_then_given_up() -> None:
    wire = Wire("192.0.2.1", "192.0.2.2", lose=lambda number: number < 6)
    name = wire.hosts["192.0.2.1"].publish("192.0.2.1", wire.now)
    wire.advance(10)
    assert len(wire.log) == 2  # both announcements are lost
    wire.hosts["192.0.2.2"].resolve(name, wire.now)
    wire.advance(10)
    assert wire.events["192.0.2.2"] == [NameResolved(name, "192.0.2.1")]
    sent = [at - 1010 for at, _ in wire.log[2:]]
    assert sent == [0, 0, 1, 1, 3, 3, 3, 4]

    wire.log.clear()
    wire.hosts["192.0.2.2"].resolve(NAME, wire.now)
    wire.advance(4.99)
    assert len(wire.events["192.0.2.2"]) == 1
    wire.advance(0.02)
    assert isinstance(wire.events["192.0.2.2"][1], NameUnresolved)
    assert len(wire.log) == 2 * 3


def test_each_question_has_a_message_of_its_own_for_those_who_read_only_one() -> None:
    machine = MulticastDns([link("192.0.2.2")], random=bytes)
    machine.resolve(NAME, 0.0)
    asked = [parse(transmit.data).questions for transmit in machine.transmits()]
    assert [len(questions) for questions in asked] == [1, 1]
    assert {family for (question,) in asked for family in question.families} == BOTH


CHROMIUM_ANSWERS = """
000084000000000100000001
2465633735313364622d666330632d346663332d616665332d613764383031353630373933056c6f63616c00
001c80010000007800102001 0db8000000000000000000000002
2465633735313364622d666330632d346663332d616665332d613764383031353630373933056c6f63616c00
002f8001000000780008c052000400000008
"""
"""An announcement of Chromium's; the NSEC record's next name is a pointer (§18.14)."""


def test_an_answer_with_compressed_names_in_its_records_is_understood() -> None:
    machine = MulticastDns([link("192.0.2.2")], random=bytes)
    name = "ec7513db-fc0c-4fc3-afe3-a7d801560793.local"
    machine.resolve(name, 0.0)
    path = Path(Transport.UDP, Address("192.0.2.2", PORT), Address("192.0.2.9", PORT))
    machine.receive(bytes.fromhex(CHROMIUM_ANSWERS), path, 0.1)
    assert machine.next_event() == NameResolved(name, "2001:db8::2")
    assert not machine.malformed


def test_ipv6_comes_before_ipv4_where_a_name_has_both() -> None:
    machine = MulticastDns([link("192.0.2.2")], random=bytes)
    machine.resolve(NAME, 0.0)
    both = _merged(answer(NAME, "192.0.2.9", BOTH), answer(NAME, "2001:db8::9", BOTH))
    machine.receive(both, Path(Transport.UDP, Address("192.0.2.2", PORT), GROUP), 0.1)
    assert machine.next_event() == NameResolved(NAME, "2001:db8::9")
    assert machine.next_event() is None


def test_a_link_local_address_bears_the_zone_of_the_link_that_it_was_heard_on() -> None:
    machine = MulticastDns([link("fe80::2%eth0", group=GROUP6)], random=bytes)
    machine.resolve(NAME, 0.0)
    assert {each.path.remote for each in machine.transmits()} == {GROUP6}
    path = Path(Transport.UDP, Address("fe80::2%eth0", PORT), Address("fe80::9%eth0", PORT))
    machine.receive(answer(NAME, "fe80::9", BOTH), path, 0.1)
    assert machine.next_event() == NameResolved(NAME, "fe80::9%eth0")


def test_a_record_is_multicast_once_a_second_however_often_it_is_asked_for() -> None:
    wire = Wire("192.0.2.1", "192.0.2.2")
    machine = wire.hosts["192.0.2.1"]
    name = machine.publish("192.0.2.1", wire.now)
    wire.advance(10)
    wire.log.clear()
    path = Path(Transport.UDP, Address("192.0.2.1", PORT), Address("192.0.2.3", PORT))
    for _ in range(100):
        machine.receive(query(name), path, wire.now)
        wire.advance(0.1)
    assert 9 <= len(wire.log) <= 11


def test_an_asker_that_knows_the_answer_gets_none() -> None:
    machine, name, path = published()
    asked = query(name)
    for ttl, answers in ((HOST_TTL, 0), (HOST_TTL // 2, 0), (HOST_TTL // 2 - 1, 1)):
        known = _merged(asked, answer(name, "192.0.2.1", BOTH, ttl=ttl))
        machine.receive(known, path, 100.0)
        assert len(machine.transmits()) == answers


def test_an_asker_may_have_the_answer_alone() -> None:
    machine, name, path = published()
    wire = bytearray(query(name))
    for at in _class_offsets(wire, name):
        wire[at] |= TOP_BIT >> 8
    machine.receive(bytes(wire), path, 20.0)
    assert [each.path for each in machine.transmits()] == [path]
    # The link's caches would not be fresh for long any more: all of them get it.
    machine.receive(bytes(wire), path, 80.0)
    assert [each.path.remote for each in machine.transmits()] == [GROUP]


def test_one_who_asks_from_another_port_is_answered_like_by_a_unicast_server() -> None:
    machine, name, _ = published()
    path = Path(Transport.UDP, Address("192.0.2.1", PORT), Address("192.0.2.3", 50000))
    wire = bytearray(query(name))
    wire[:2] = b"\x12\x34"
    machine.receive(bytes(wire), path, 100.0)
    (transmit,) = machine.transmits()
    assert transmit.path == path
    message = parse(transmit.data)
    assert message.message_id == 0x1234
    assert message.questions == parse(bytes(wire)).questions
    assert [(record.host, record.ttl) for record in message.records] == [("192.0.2.1", 10)]
    assert len(transmit.data) < 4 * len(wire)


def test_a_name_is_answered_for_on_the_link_of_its_address_alone() -> None:
    links = [link("192.0.2.1"), link("198.51.100.1")]
    machine = MulticastDns(links, random=random.Random(1).randbytes)
    name = machine.publish("192.0.2.1", 0.0)
    machine.handle_timer(1.0)
    assert {each.path.local.host for each in machine.transmits()} == {"192.0.2.1"}
    elsewhere = Path(Transport.UDP, links[1].local, Address("198.51.100.9", PORT))
    machine.receive(query(name), elsewhere, 10.0)
    assert machine.transmits() == []
    with pytest.raises(MisuseError, match="on no link"):
        machine.publish("203.0.113.1", 0.0)
    assert machine.can_publish("198.51.100.1")
    assert not machine.can_publish("203.0.113.1")


def test_nobody_else_may_say_where_our_names_are_nor_answer_from_another_port() -> None:
    machine, name, path = published()
    machine.receive(answer(name, "192.0.2.66", BOTH), path, 10.0)
    machine.resolve(name, 10.0)
    assert machine.next_event() == NameResolved(name, "192.0.2.1")
    machine.resolve(NAME, 10.0)
    forged = Path(Transport.UDP, path.local, Address("192.0.2.66", 50000))
    machine.receive(answer(NAME, "192.0.2.66", BOTH), forged, 10.0)
    assert machine.next_event() is None


@pytest.mark.parametrize(
    "name",
    [
        *("", "local", ".local", "a.b.local", "example.org", "a.local.example", "ä.local"),
        *("a b.local", "a" * 64 + ".local", "*.local"),
    ],
)
def test_a_name_that_is_not_of_the_link_is_asked_of_nobody(name: str) -> None:
    assert not is_mdns_name(name)
    machine = MulticastDns([link("192.0.2.2")], random=bytes)
    machine.resolve(name, 0.0)
    assert isinstance(machine.next_event(), NameUnresolved)
    assert machine.transmits() == []


def test_all_tables_have_bounds() -> None:
    machine = MulticastDns([link("192.0.2.1")], random=random.Random(1).randbytes)
    for number in range(MOST_RESOLVING + 50):
        machine.resolve(f"{number}.local", 0.0)
    refused = [machine.next_event() for _ in range(50)]
    assert all(isinstance(event, NameUnresolved) for event in refused)
    assert machine.next_event() is None
    assert len(machine.transmits()) == 2 * MOST_RESOLVING

    for _ in range(MOST_PUBLISHED):
        machine.publish("192.0.2.1", 0.0)
    with pytest.raises(MisuseError, match="names already"):
        machine.publish("192.0.2.1", 0.0)

    path = Path(Transport.UDP, Address("192.0.2.1", PORT), Address("192.0.2.9", PORT))
    for number in range(3 * MOST_HEARD):
        machine.receive(answer(f"h{number}.local", "192.0.2.9", BOTH), path, 1.0)
    assert len(machine._heard) == MOST_HEARD


def test_a_name_that_nobody_waits_for_any_more_is_not_asked_for_again() -> None:
    machine = MulticastDns([link("192.0.2.1")], random=bytes)
    machine.resolve(NAME, 0.0)
    assert len(machine.transmits()) == 2
    machine.forget(NAME)
    machine.handle_timer(10.0)
    assert machine.next_deadline() is None
    assert machine.transmits() == []
    assert machine.next_event() is None


def test_hostile_messages_raise_nothing_and_make_nothing_grow(sized: Sized) -> None:
    machine, name, path = published()
    seeds = [
        query(name),
        query(NAME),
        answer(name, "192.0.2.7", BOTH),
        answer(NAME, "2001:db8::7", BOTH),
        legacy_answer(9, NAME, "192.0.2.7", BOTH),
    ]
    machine.resolve(NAME, 10.0)
    machine.transmits()
    hostile = iter(Hostile(7, seeds))
    now = 10.0
    for _ in range(sized(quick=4_000, full=1_000_000)):
        now += 0.001
        data = next(hostile)
        machine.receive(data, path, now)
        machine.handle_timer(now)
        assert sum(len(each.data) for each in machine.transmits()) <= 6 * (len(data) + 100)
        while machine.next_event() is not None:
            pass
        machine.resolve(NAME, now)
    assert machine.malformed
    assert len(machine._heard) <= MOST_HEARD


def test_more_records_than_any_device_sends_are_not_read() -> None:
    machine, name, path = published()
    many = bytearray(query(name))
    many[4:6] = (129).to_bytes(2, "big")
    machine.receive(bytes(many), path, 10.0)
    machine.receive(bytes(9001), path, 10.0)
    machine.receive(query(name)[:11], path, 10.0)
    assert machine.malformed == 3
    assert machine.transmits() == []


def published() -> tuple[MulticastDns, str, Path]:
    """A machine with an announced name, and the path of a question about it."""
    machine = MulticastDns([link("192.0.2.1")], random=random.Random(5).randbytes)
    name = machine.publish("192.0.2.1", 0.0)
    machine.handle_timer(1.0)
    machine.transmits()
    return (
        machine,
        name,
        Path(Transport.UDP, Address("192.0.2.1", PORT), Address("192.0.2.3", PORT)),
    )


def _merged(one: bytes, other: bytes) -> bytes:
    """Two messages in one; ``other`` has answers only, whose names are compressed at byte 12."""
    counts = [int.from_bytes(one[at : at + 2], "big") for at in (4, 6, 8, 10)]
    counts[1] += int.from_bytes(other[6:8], "big")
    # All names of ``other`` point at its own first one: it is the first of ``one`` too.
    end = other.index(b"\0", 12) + 1
    body = b"\xc0\x0c" + other[end:]
    header = one[:4] + b"".join(count.to_bytes(2, "big") for count in counts)
    return header + one[12:] + body


def _class_offsets(wire: bytearray, name: str) -> list[int]:
    first = 12 + len(name) + 2 + 2
    return [first, first + 2 + 2 + 2]
