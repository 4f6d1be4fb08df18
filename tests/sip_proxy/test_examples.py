"""The examples of policies do what they say."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Failure, Transport
from sip_proxy.events import RunHook
from sip_proxy.examples import (
    blocking,
    call_screening,
    hunt_group,
    least_cost,
    time_of_day,
)
from sip_proxy.hooks import (
    AskedRequest,
    Decision,
    FailedBranch,
    Hooks,
    Point,
    Subject,
)
from sip_proxy.shell.hook_running import HookRunner
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, Call, Phone, ProxyHost, Ringing, settings


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def rings(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)


class Office:
    """A proxy with an example's hooks, and phones of some of its users."""

    def __init__(self, network: Network, hooks: Hooks, *users: str) -> None:
        self.network = network
        self._runner = HookRunner(hooks, 5.0)
        self.proxy = ProxyHost(network, settings(hooks=self._runner.points))
        self.proxy.hook = self._decide
        self.caller = Phone(network, "caller", "192.0.2.10")
        self.phones = {
            user: Phone(network, user, f"192.0.2.{number}", answers=picks_up)
            for number, user in enumerate(users, 20)
        }
        for phone in self.phones.values():
            phone.register()
        network.run_for(1.0)

    def _decide(self, subject: Subject) -> Decision | Failure:
        point = {AskedRequest: Point.REQUEST, FailedBranch: Point.BRANCH_FAILURE}[type(subject)]
        return asyncio.run(self._runner.run(RunHook(1, point, subject)))

    def call(self, uri: str, *, sender: str | None = None) -> Call:
        call = self.caller.send("INVITE", uri, sender=sender)
        self.network.run_for(1.0)
        return call

    def count(self, user: str) -> int:
        """How many calls a user's phone got."""
        return [one.method for one in self.phones[user].received].count("INVITE")


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(59) as made:
        yield made


def test_blocking(network: Network) -> None:
    office = Office(network, blocking.hooks, "bob")
    bob = f"sip:bob@{DOMAIN}"
    assert office.call(bob, sender="<sip:spam@example.net>;tag=1").statuses == [603]
    assert office.call(bob, sender="<sip:a@robocalls.example>;tag=1").statuses == [603]
    assert office.call(f"sip:+49900123@{DOMAIN}").statuses == [403]
    assert office.call("tel:+49-900-123").statuses == [403]
    assert office.call(bob).statuses == [200]


def test_call_screening(network: Network) -> None:
    office = Office(network, call_screening.hooks, "boss", "desk")
    boss = f"sip:boss@{DOMAIN}"
    # Where no credentials are asked for everybody is trusted.
    assert office.call(boss).statuses == [200]
    assert (office.count("boss"), office.count("desk")) == (1, 0)


def test_call_screening_of_strangers(network: Network) -> None:
    runner = HookRunner(call_screening.hooks, 5.0)
    host = ProxyHost(network, settings(authenticate=True, hooks=runner.points))
    host.hook = lambda subject: asyncio.run(runner.run(RunHook(1, Point.REQUEST, subject)))
    desk = Phone(network, "desk", "192.0.2.20", answers=picks_up)
    boss = Phone(network, "boss", "192.0.2.21", answers=picks_up)
    for phone in (desk, boss):
        host.users[phone.name, DOMAIN] = "secret"
        first = phone.register()
        network.run_for(1.0)
        phone.authorized(first)
        network.run_for(1.0)
    eve = Phone(network, "eve", "192.0.2.66")
    spellings = ("sip:boss@example.org", "sip:%62oss@EXAMPLE.org;x=y")
    partner = Phone(network, "partner", "198.51.100.7")
    for caller, uri in [*((eve, spelling) for spelling in spellings), (partner, spellings[0])]:
        call = caller.send("INVITE", uri, sender="<sip:partner@example.net>;tag=1")
        network.run_for(1.0)
        assert call.statuses == [200]
    assert [one.method for one in desk.received] == ["INVITE", "INVITE"]
    (invite,) = boss.received
    assert [field.text for field in invite.headers.fields("Subject")] == ["a partner"]


def test_hunt_group(network: Network) -> None:
    office = Office(network, hunt_group.hooks, "ann", "bob", "carol", "mailbox")
    for user in ("ann", "bob", "carol"):
        office.phones[user].answers = rings
    call = office.call(hunt_group.SUPPORT)
    assert [office.count(user) for user in ("ann", "bob", "carol", "mailbox")] == [1, 1, 0, 0]
    network.run_for(20.0)
    assert [office.count(user) for user in ("carol", "mailbox")] == [1, 0]
    network.run_for(16.0)
    assert office.count("mailbox") == 1
    assert call.statuses[-1] == 200


def test_hunt_group_goes_on_after_one_who_declines(network: Network) -> None:
    office = Office(network, hunt_group.hooks, "ann", "carol")
    office.phones["ann"].answers = lambda phone, ringing: phone.respond(ringing, 603)
    assert office.call(hunt_group.SUPPORT).statuses == [200]
    assert office.count("carol") == 1


@pytest.mark.parametrize(
    ("moment", "user"),
    [
        (datetime(2026, 3, 2, 12, 0, tzinfo=UTC), "office"),
        (datetime(2026, 3, 2, 18, 0, tzinfo=UTC), "on-duty"),
        (datetime(2026, 3, 1, 12, 0, tzinfo=UTC), "on-duty"),
    ],
)
def test_time_of_day(network: Network, moment: datetime, user: str) -> None:
    office = Office(network, time_of_day.TimeOfDay(lambda: moment), "office", "on-duty")
    assert office.call(time_of_day.OFFICE).statuses == [200]
    assert office.count(user) == 1


def test_least_cost(network: Network) -> None:
    office = Office(network, least_cost.hooks, "a", "b")
    for carrier in ("a", "b"):
        target = Target(
            Transport.UDP, Address(office.phones[carrier].local.host, 5060), "carrier", ""
        )
        office.proxy.servers[f"carrier-{carrier}.example"] = (target,)
    assert office.call(f"sip:+4930123@{DOMAIN}").statuses == [200]
    assert (office.count("a"), office.count("b")) == (0, 1)
    assert office.call(f"sip:+4915123@{DOMAIN}").statuses == [200]
    assert (office.count("a"), office.count("b")) == (1, 1)
    office.phones["b"].answers = lambda phone, ringing: phone.respond(ringing, 503)
    assert office.call("tel:+4930123").statuses == [200]
    assert (office.count("a"), office.count("b")) == (2, 2)
    assert office.phones["a"].received[-1].uri_text == "sip:+4930123@carrier-a.example;user=phone"
