from typing import Protocol

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from sip_proxy.trace import Ladder, ladder_of, recent_calls
from sip_proxy.trace.ladder import MOST_ARROWS
from sip_proxy.trace.reading import call_id_of
from sip_proxy.trace.recorder import Recorded
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    PROXY,
    UNIX,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_caller,
    settings,
)

PATH = Path(Transport.UDP, PROXY, Address("192.0.2.10", 5060))


def ladder(proxy: ProxyHost, call_id: str) -> Ladder:
    made = ladder_of(proxy.machine.recorder.messages(), call_id, UNIX)
    assert made is not None
    return made


def arrows(made: Ladder) -> list[tuple[str, str, str]]:
    """Who to whom by name, and method or status."""
    names = [each.name for each in made.participants]
    return [
        (names[each.sender], names[each.receiver], each.summary.partition(" ")[0])
        for each in made.arrows
    ]


def rings_and_answers(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


def test_a_call_is_seen_from_its_invite_to_the_answer_of_its_bye(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11", answers=rings_and_answers)
    bob.register()
    network.run_for(1.0)
    start = network.now + UNIX
    call = alice.invite(bob.uri)
    network.run_for(0.1)
    dialog = alice.acknowledge(call)
    network.run_for(0.1)
    alice.within_after(network, dialog, "BYE")
    made = ladder(proxy, dialog.call_id)
    assert [(each.name, each.transport, each.address) for each in made.participants] == [
        ("alice", "udp", "192.0.2.10:5060"),
        ("proxy", "", ""),
        ("bob", "udp", "192.0.2.11:5060"),
    ]
    assert made.proxy == 1
    assert arrows(made) == [
        ("alice", "proxy", "INVITE"),
        ("proxy", "bob", "INVITE"),
        ("bob", "proxy", "180"),
        ("proxy", "alice", "180"),
        ("bob", "proxy", "200"),
        ("proxy", "alice", "200"),
        ("alice", "proxy", "ACK"),
        ("proxy", "bob", "ACK"),
        ("alice", "proxy", "BYE"),
        ("proxy", "bob", "BYE"),
        ("bob", "proxy", "200"),
        ("proxy", "alice", "200"),
    ]
    assert not any(each.is_repeated for each in made.arrows)
    times = [each.time for each in made.arrows]
    assert times == sorted(times)
    assert start <= times[0] < start + 0.1
    assert made.arrows[0].text.startswith(f"INVITE sip:bob@{DOMAIN} SIP/2.0\nVia: ")
    assert made.arrows[-1].cseq == "2 BYE"


def test_what_is_sent_again_is_marked_and_no_other(network: Network) -> None:
    """Bob's phone is slow, Alice's acknowledges twice: an ACK passes under a new branch."""
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11")
    bob.register()
    network.run_for(1.0)
    call = alice.invite(bob.uri)
    network.run_for(0.8)
    bob.respond(bob.ringing[0], 200)
    network.run_for(0.1)
    dialog = dialog_of_caller(call)
    alice.transmit(dialog, "ACK", 1)
    network.run_for(0.1)
    alice.transmit(dialog, "ACK", 1)
    network.run_for(0.1)
    made = ladder(proxy, dialog.call_id)
    repeated = [
        arrow for arrow, each in zip(arrows(made), made.arrows, strict=True) if each.is_repeated
    ]
    assert repeated == [
        ("proxy", "bob", "INVITE"),
        ("alice", "proxy", "ACK"),
        ("proxy", "bob", "ACK"),
    ]


def test_callers_stand_to_the_left_of_the_proxy_and_called_ones_to_its_right(
    network: Network,
) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bobs = [Phone(network, "bob", f"192.0.2.{11 + number}") for number in range(3)]
    for phone in bobs:
        phone.register()
    network.run_for(1.0)
    call = alice.invite(bobs[0].uri)
    network.run_for(0.1)
    made = ladder(proxy, call.request.headers.fields("Call-ID")[0].text)
    assert [each.name for each in made.participants] == ["alice", "proxy", "bob", "bob", "bob"]
    assert {arrow[:2] for arrow in arrows(made)} == {("alice", "proxy"), ("proxy", "bob")}


def test_no_message_is_there_of_a_call_id_that_nobody_had(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    alice.send("OPTIONS", f"sip:{DOMAIN}", call_id="abc@alice")
    network.run_for(1.0)
    messages = proxy.machine.recorder.messages()
    assert ladder_of(messages, "abc@alice", 0.0) is not None
    for other in ("abc@alic", "bc@alice", "abc", "", "alice"):
        assert ladder_of(messages, other, 0.0) is None


@pytest.mark.parametrize(
    "head",
    [
        b"Call-ID: a@b\r\n",
        b"i:a@b\r\n",
        b"CALL-ID  :  a@b  \r\n",
        b"Call-ID:\r\n a@b\r\n",
        b"X: Call-ID: no\r\nI: a@b\r\nCSeq: 1 X\r\n",
    ],
)
def test_a_call_id_is_found_however_it_is_written(head: bytes) -> None:
    assert call_id_of(b"OPTIONS sip:x SIP/2.0\r\n" + head + b"\r\n") == b"a@b"


@pytest.mark.parametrize(
    "data",
    [
        b"INVITE\r\nCall-ID: 1\r\n\r\n",
        b"SIP/2.0 9999\r\nCall-ID: 1\r\n\r\n",
        b"INVITE sip:x SIP/2.0\r\nCall-ID: 1\r\nFrom: <<<\r\nTo:\r\nCSeq: x\r\nVia: y\r\n\r\n",
        b"\xff\x00\x1b[2J\r\nCall-ID: 1\r\nbroken",
        b"\r\nCall-ID: 1\r\n",
    ],
)
def test_what_is_no_sip_is_in_the_ladder_too(data: bytes) -> None:
    messages = [Recorded(0.0, False, PATH, data), Recorded(1.0, False, PATH, data)]
    made = ladder_of(messages, "1", 0.0)
    assert made is not None
    first, second = made.arrows
    assert (first.is_repeated, second.is_repeated) == (False, True)
    assert first.summary
    assert first.summary.isprintable()


def test_a_ladder_is_bounded() -> None:
    data = b"OPTIONS sip:x SIP/2.0\r\nCall-ID: 1\r\n\r\n"
    messages = [Recorded(float(n), False, PATH, data) for n in range(MOST_ARROWS + 10)]
    made = ladder_of(messages, "1", 0.0)
    assert made is not None
    assert (len(made.arrows), made.is_cut, made.arrows[0].time) == (MOST_ARROWS, True, 10.0)


class Search(Protocol):
    def __call__(self, text: str = "", limit: int = 10) -> list[str]: ...


class TestRecent:
    @pytest.fixture
    def search(self, network: Network) -> Search:
        proxy = ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "198.51.100.9")
        bob.register()
        alice.send("OPTIONS", f"sip:{DOMAIN}", call_id="first")
        network.run_for(1.0)
        alice.send("MESSAGE", f"sip:carol@{DOMAIN}", call_id="second")
        network.run_for(1.0)
        messages = proxy.machine.recorder.messages()

        def search(text: str = "", limit: int = 10) -> list[str]:
            found = recent_calls(messages, UNIX, text=text, limit=limit)
            return [f"{each.method} {each.receiver} {each.status}" for each in found]

        return search

    def test_all_are_there_the_newest_first(self, search: Search) -> None:
        assert search() == [
            "MESSAGE sip:carol@example.org 480",
            "OPTIONS sip:example.org 200",
            "REGISTER sip:bob@example.org 200",
        ]

    @pytest.mark.parametrize(
        ("text", "methods"),
        [
            ("CAROL", ["MESSAGE"]),
            ("192.0.2.10", ["MESSAGE", "OPTIONS"]),
            ("198.51.100.9:5060", ["REGISTER"]),
            ("firs", ["OPTIONS"]),
            ("sip:bob@", ["REGISTER"]),
            ("nothing", []),
        ],
    )
    def test_they_are_found_by_what_they_have(
        self, search: Search, text: str, methods: list[str]
    ) -> None:
        assert [each.partition(" ")[0] for each in search(text)] == methods

    def test_as_many_are_given_as_were_asked_for(self, search: Search) -> None:
        assert len(search(limit=2)) == 2
