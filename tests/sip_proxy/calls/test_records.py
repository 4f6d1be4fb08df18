import json
from dataclasses import replace

import pytest

from natkit.machine import Transport
from natkit.sip import HeaderField, Response
from sip_proxy.calls import BranchRecord, CallRecord, CallSettings, Release
from sip_proxy.events import CallEnded
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    UNIX,
    Call,
    Dialog,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_callee,
    dialog_of_caller,
    settings,
)


def records(proxy: ProxyHost) -> list[CallRecord]:
    return [each.record for each in proxy.facts if isinstance(each, CallEnded)]


def the_record(proxy: ProxyHost) -> CallRecord:
    (record,) = records(proxy)
    assert len(proxy.machine.calls) == 0
    return record


def rings_and_answers(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


class World:
    """Alice, and a Bob with as many phones as are wanted."""

    def __init__(self, network: Network, phones: int = 1, **changed: object) -> None:
        self.network = network
        self.proxy = ProxyHost(network, settings(**changed))
        self.alice = Phone(network, "alice", "192.0.2.10")
        self.bobs = [Phone(network, "bob", f"192.0.2.{11 + number}") for number in range(phones)]
        for phone in self.bobs:
            phone.register()
        network.run_for(1.0)

    @property
    def now(self) -> float:
        return self.network.now + UNIX

    def ring(self, *fields: HeaderField) -> Call:
        """Call Bob, whose phones ring after a second."""
        call = self.alice.invite(self.bobs[0].uri, *fields)
        self.network.run_for(1.0)
        for phone in self.bobs:
            phone.respond(phone.ringing[0], 180)
        self.network.run_for(1.0)
        return call

    def answer(self, call: Call, *fields: HeaderField) -> Dialog:
        """The first of Bob's phones answers."""
        self.bobs[0].respond(self.bobs[0].ringing[0], 200, *fields)
        self.network.run_for(1.0)
        dialog = self.alice.acknowledge(call)
        self.network.run_for(1.0)
        return dialog


def test_a_call_that_was_answered_and_ended_by_its_caller(network: Network) -> None:
    world = World(network)
    started = world.now
    call = world.ring()
    dialog = world.answer(call)
    assert [each.answered for each in world.proxy.machine.calls] == [pytest.approx(started + 2.04)]
    assert records(world.proxy) == []
    network.run_for(60.0)
    ended = world.now
    world.alice.within_after(network, dialog, "BYE")
    record = the_record(world.proxy)
    rounded = replace(
        record,
        started=round(record.started - started, 1),
        ringing=round((record.ringing or 0.0) - started, 1),
        answered=round((record.answered or 0.0) - started, 1),
        ended=round(record.ended - ended, 1),
    )
    assert rounded == CallRecord(
        call_id=dialog.call_id,
        sender=f"sip:alice@{DOMAIN}",
        receiver=f"sip:bob@{DOMAIN}",
        request_uri=f"sip:bob@{DOMAIN}",
        user="",
        source="udp:192.0.2.10:5060",
        started=0.0,
        ringing=1.0,
        answered=2.0,
        ended=0.0,
        status=200,
        reason="OK",
        released_by=Release.CALLER,
        target="sip:bob@192.0.2.11:5060",
        answered_by="udp:192.0.2.11:5060",
        branches=(BranchRecord("sip:bob@192.0.2.11:5060", "udp:192.0.2.11:5060", 200),),
    )
    assert record.duration == pytest.approx(62.0, abs=0.2)


def test_who_was_called_may_end_it_too(network: Network) -> None:
    world = World(network)
    world.answer(world.ring())
    bob = world.bobs[0]
    invite = next(each for each in bob.received if each.method == "INVITE")
    bob.within(dialog_of_callee(bob, invite), "BYE")
    network.run_for(1.0)
    assert the_record(world.proxy).released_by is Release.CALLEE


def test_a_call_that_rings_three_phones_is_one_with_three_branches(network: Network) -> None:
    world = World(network, phones=3)
    dialog = world.answer(world.ring())
    world.alice.within_after(network, dialog, "BYE")
    record = the_record(world.proxy)
    assert {(each.destination, each.status) for each in record.branches} == {
        ("udp:192.0.2.11:5060", 200),
        ("udp:192.0.2.12:5060", 487),
        ("udp:192.0.2.13:5060", 487),
    }
    assert record.answered_by == "udp:192.0.2.11:5060"


def test_the_caller_gave_up(network: Network) -> None:
    world = World(network)
    call = world.ring()
    world.alice.cancel(call)
    network.run_for(1.0)
    record = the_record(world.proxy)
    assert (record.status, record.released_by) == (487, Release.CALLER)
    assert record.ringing is not None
    assert record.answered is None
    assert record.duration == 0
    assert record.target == ""
    network.run_for(60.0)
    assert world.proxy.is_idle


def test_who_was_called_refused(network: Network) -> None:
    world = World(network)
    world.ring()
    world.bobs[0].respond(world.bobs[0].ringing[0], 486)
    network.run_for(1.0)
    record = the_record(world.proxy)
    assert (record.status, record.reason) == (486, "Busy Here")
    assert record.released_by is Release.CALLEE
    assert [each.status for each in record.branches] == [486]


def test_nobody_was_there(network: Network) -> None:
    world = World(network)
    world.alice.invite(f"sip:carol@{DOMAIN}")
    network.run_for(1.0)
    record = the_record(world.proxy)
    assert (record.status, record.released_by, record.branches) == (480, Release.PROXY, ())


def test_a_phone_that_is_gone_is_a_branch_that_timed_out(network: Network) -> None:
    world = World(network)
    world.bobs[0].shell.stop()
    world.alice.invite(world.bobs[0].uri)
    network.run_for(40.0)
    record = the_record(world.proxy)
    assert (record.status, record.released_by) == (408, Release.PROXY)
    assert [each.status for each in record.branches] == [408]


def test_a_challenge_is_no_call_and_who_answered_it_stands_in_the_record(network: Network) -> None:
    world = World(network, authenticate=True)
    world.proxy.users["alice", DOMAIN] = "secret"
    first = world.alice.invite(f"sip:carol@{DOMAIN}")
    network.run_for(1.0)
    assert first.statuses == [407]
    assert records(world.proxy) == []
    assert len(world.proxy.machine.calls) == 0
    world.alice.authorized(first)
    network.run_for(1.0)
    record = the_record(world.proxy)
    assert (record.user, record.status) == (f"alice@{DOMAIN}", 480)


def test_a_challenge_of_the_called_side_is_none_either(network: Network) -> None:
    world = World(network)
    world.ring()
    world.bobs[0].respond(world.bobs[0].ringing[0], 407)
    network.run_for(1.0)
    assert records(world.proxy) == []
    assert len(world.proxy.machine.calls) == 0


def test_a_re_invite_is_no_call_of_its_own(network: Network) -> None:
    world = World(network)
    dialog = world.answer(world.ring())
    world.alice.within(dialog, "INVITE")
    network.run_for(1.0)
    world.bobs[0].respond(world.bobs[0].ringing[-1], 200)
    network.run_for(1.0)
    assert len(world.proxy.machine.calls) == 1
    assert records(world.proxy) == []


def test_the_bye_of_another_phone_that_answered_too_late_does_not_end_the_call(
    network: Network,
) -> None:
    """RFC 3261 §13.2.2.4: the caller ends that dialog at once, and keeps the other."""
    world = World(network, phones=2)
    world.bobs[1].name = "second"
    call = world.ring()
    for phone in world.bobs:
        phone.respond(phone.ringing.pop(0), 200)
    network.run_for(1.0)
    first, second = (each for each in call.responses if each.status == 200)
    for late in (second, first):
        call.responses.append(late)
        dialog = dialog_of_caller(call)
        world.alice.transmit(dialog, "ACK", dialog.number)
        assert records(world.proxy) == []
        world.alice.within_after(network, dialog, "BYE")
    assert the_record(world.proxy).answered_by == "udp:192.0.2.11:5060"


class TestCallsWhoseByeNeverPasses:
    def test_they_end_after_the_longest_time(self, network: Network) -> None:
        world = World(network, calls=CallSettings(longest=600.0))
        world.answer(world.ring())
        network.run_for(590.0)
        assert records(world.proxy) == []
        network.run_for(20.0)
        record = the_record(world.proxy)
        assert record.released_by is Release.NOBODY
        assert record.duration == pytest.approx(600.0, abs=0.1)
        assert record.status == 200

    @pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
    def test_or_after_their_session_interval_without_a_refresh(
        self, network: Network, method: str
    ) -> None:
        """RFC 4028 §10."""
        interval = HeaderField.of_text("Session-Expires", "300;refresher=uac")
        world = World(network, calls=CallSettings(longest=3_600.0))
        dialog = world.answer(world.ring(), interval)
        network.run_for(290.0)
        world.alice.within(dialog, method)
        network.run_for(1.0)
        if method == "INVITE":
            world.bobs[0].respond(world.bobs[0].ringing[-1], 200)
            network.run_for(1.0)
        network.run_for(290.0)
        assert records(world.proxy) == []
        network.run_for(20.0)
        record = the_record(world.proxy)
        assert record.released_by is Release.NOBODY
        assert record.duration == pytest.approx(592.0, abs=5.0)


class TestBounds:
    def test_beyond_the_table_calls_are_put_through_and_not_followed(
        self, network: Network
    ) -> None:
        world = World(network, calls=CallSettings(largest_count=3))
        calls = [world.alice.invite(world.bobs[0].uri) for _ in range(5)]
        network.run_for(1.0)
        assert len(world.proxy.machine.calls) == 3
        assert world.proxy.machine.calls.unfollowed == 2
        for ringing in world.bobs[0].ringing:
            world.bobs[0].respond(ringing, 486)
        network.run_for(1.0)
        assert all(each.statuses == [486] for each in calls)
        assert len(records(world.proxy)) == 3
        network.run_for(60.0)
        assert world.proxy.is_idle

    def test_a_user_makes_so_many_calls_at_once(self, network: Network) -> None:
        world = World(network, authenticate=True, calls=CallSettings(per_user=2))
        world.proxy.users["alice", DOMAIN] = world.proxy.users["bob", DOMAIN] = "secret"
        bob = world.bobs[0]
        first = bob.register()
        network.run_for(1.0)
        bob.authorized(first)
        network.run_for(1.0)

        def call() -> Call:
            asked = world.alice.invite(bob.uri)
            network.run_for(1.0)
            again = world.alice.authorized(asked)
            network.run_for(1.0)
            return again

        made = [call() for _ in range(3)]
        assert [each.statuses for each in made] == [[], [], [403]]
        assert made[2].responses[-1].reason == "2 calls at once are the most of a user"
        bob.respond(bob.ringing[0], 486)
        network.run_for(1.0)
        assert call().statuses == []

    def test_a_user_makes_so_many_calls_a_minute(self, network: Network) -> None:
        world = World(network, authenticate=True, calls=CallSettings(per_user_minute=3))
        world.proxy.users["alice", DOMAIN] = "secret"

        def call() -> int:
            asked = world.alice.invite(f"sip:carol@{DOMAIN}")
            network.run_for(0.5)
            again = world.alice.authorized(asked)
            network.run_for(0.5)
            return again.statuses[-1] if "minute" not in again.responses[-1].reason else 0

        assert [call() for _ in range(5)] == [480, 480, 480, 0, 0]
        network.run_for(20.0)
        assert [call() for _ in range(2)] == [480, 0]


def test_over_tcp_places_are_named_by_their_connections(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10", transport=Transport.TCP)
    bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP, answers=rings_and_answers)
    bob.register()
    network.run_for(1.0)
    dialog = alice.acknowledge_after(network, alice.invite(bob.uri))
    alice.within_after(network, dialog, "BYE")
    record = the_record(proxy)
    assert record.source == f"tcp:{alice.path.local}"
    assert record.answered_by == f"tcp:{bob.path.local}"


def test_a_record_is_json_with_stable_names(network: Network) -> None:
    world = World(network)
    dialog = world.answer(world.ring())
    world.alice.within_after(network, dialog, "BYE")
    described = json.loads(json.dumps(the_record(world.proxy).described()))
    assert list(described) == [
        "schema",
        "call_id",
        "from",
        "to",
        "request_uri",
        "user",
        "source",
        "started",
        "ringing",
        "answered",
        "ended",
        "duration",
        "status",
        "reason",
        "released_by",
        "target",
        "answered_by",
        "branches",
    ]
    assert described["released_by"] == "caller"
    assert described["branches"][0]["status"] == 200


def test_a_call_that_is_forwarded_without_state_leaves_no_record(network: Network) -> None:
    world = World(network, stateless=True)
    call = world.alice.invite(world.bobs[0].uri)
    network.run_for(1.0)
    assert len(world.proxy.machine.calls) == 0
    world.bobs[0].respond(world.bobs[0].ringing[0], 486)
    network.run_for(40.0)
    assert call.statuses == [486]
    assert records(world.proxy) == []


def test_what_others_wrote_steers_no_terminal(network: Network) -> None:
    world = World(network)
    world.ring()
    ringing = world.bobs[0].ringing[0]
    refusal = Response.to(ringing.request, 486, reason="Busy \x1b[2J", tag="bob")
    bob = world.bobs[0]
    bob.shell.call(lambda now: bob.layer.respond(ringing.transaction, refusal, now))
    network.run_for(1.0)
    assert the_record(world.proxy).reason == "Busy \N{REPLACEMENT CHARACTER}[2J"
