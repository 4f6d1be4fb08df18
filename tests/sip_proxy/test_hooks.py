"""What policies may decide at each point, and what their failures do, in the machine."""

from collections.abc import Callable, Iterator

import pytest

from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Failure
from natkit.sip import HeaderField, NameAddress, parse_absolute_uri
from natkit.sip.kinds import CONTACT
from sip_proxy.events import HookFailed
from sip_proxy.hooks import (
    Answer,
    AskedRegistration,
    AskedRequest,
    Decision,
    FailedBranch,
    ForkTo,
    Point,
    Proceed,
    ReturningResponse,
    Subject,
    Target,
    plain,
)
from sip_proxy.returning import MOST_WAITING
from sip_proxy.standing import Standing
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, Phone, ProxyHost, Ringing, settings

ELSEWHERE = "sip:bob@192.0.2.11"


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def rings(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)


def rejects(status: int, *fields: HeaderField) -> Callable[[Phone, Ringing], None]:
    def answer(phone: Phone, ringing: Ringing) -> None:
        phone.respond(ringing, status, *fields)

    return answer


class Office:
    """A proxy whose hook of one point the test writes, with alice, bob and carol."""

    def __init__(
        self, network: Network, point: Point, hook: Callable[[Subject], Decision | Failure]
    ) -> None:
        self.network = network
        self.proxy = ProxyHost(network, settings(hooks=frozenset({point})))
        self.proxy.hook = hook
        self.alice = Phone(network, "alice", "192.0.2.10")
        self.bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        self.carol = Phone(network, "carol", "192.0.2.12", answers=picks_up)
        if point is not Point.REGISTER:
            for phone in (self.bob, self.carol):
                phone.register()
            network.run_for(1.0)

    def invite(self, uri: str, *fields: HeaderField) -> list[int]:
        call = self.alice.invite(uri, *fields)
        self.network.run_for(1.0)
        return call.statuses

    @property
    def failures(self) -> list[str]:
        return [one.reason for one in self.proxy.facts if isinstance(one, HookFailed)]


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(53) as made:
        yield made


class TestRequests:
    def test_a_hook_is_told_who_asks_and_lets_the_request_go_on(self, network: Network) -> None:
        office = Office(network, Point.REQUEST, lambda _: Proceed())
        assert office.invite(office.bob.uri) == [200]
        (asked,) = office.proxy.subjects
        assert isinstance(asked, AskedRequest)
        assert asked.caller == office.alice.uri
        assert (asked.sender, asked.user) == (Standing.TRUSTED, None)
        assert asked.path.remote == office.alice.local

    def test_a_user_who_proved_it_is_named(self, network: Network) -> None:
        host = ProxyHost(network, settings(authenticate=True, hooks=frozenset({Point.REQUEST})))
        host.users["alice", DOMAIN] = "secret"
        alice = Phone(network, "alice", "192.0.2.10")
        first = alice.invite(ELSEWHERE)
        network.run_for(1.0)
        alice.authorized(first)
        network.run_for(1.0)
        (asked,) = host.subjects
        assert isinstance(asked, AskedRequest)
        assert (asked.sender, asked.user) == (Standing.USER, alice.uri)

    def test_it_may_answer(self, network: Network) -> None:
        answer = Answer(603, "Go away", (("Warning", '399 here "blocked"'),))
        office = Office(network, Point.REQUEST, lambda _: answer)
        call = office.alice.invite(office.bob.uri)
        network.run_for(1.0)
        assert call.statuses == [603]
        assert call.responses[-1].reason == "Go away"
        assert call.responses[-1].headers.has("Warning")
        assert office.bob.received == []

    def test_it_may_change_header_fields(self, network: Network) -> None:
        change = Proceed(add=(("Subject", "screened"),), remove=("s", "X-Secret"))
        office = Office(network, Point.REQUEST, lambda _: change)
        own = [HeaderField.of_text("Subject", "mine"), HeaderField.of_text("X-Secret", "1")]
        assert office.invite(office.bob.uri, *own) == [200]
        (invite,) = office.bob.received
        assert [field.text for field in invite.headers.fields("Subject")] == ["screened"]
        assert not invite.headers.has("X-Secret")

    def test_it_may_send_it_to_users_and_others_in_its_own_order(self, network: Network) -> None:
        fork = ForkTo(
            (
                (Target(f"sip:bob@{DOMAIN}"),),
                (Target("sip:nobody@192.0.2.99"), Target(f"sip:carol@{DOMAIN}")),
            )
        )
        office = Office(network, Point.REQUEST, lambda _: fork)
        office.bob.answers = rejects(486)
        assert office.invite(f"sip:team@{DOMAIN}") == [200]
        assert [len(phone.received) for phone in (office.bob, office.carol)] == [1, 1]

    def test_who_rings_for_too_long_leaves_the_call_to_the_next(self, network: Network) -> None:
        fork = ForkTo.in_turn(f"sip:bob@{DOMAIN}", f"sip:carol@{DOMAIN}", ring_for=20)
        office = Office(network, Point.REQUEST, lambda _: fork)
        office.bob.answers = rings
        call = office.alice.invite(f"sip:team@{DOMAIN}")
        network.run_for(19.0)
        assert call.statuses == [180]
        network.run_for(3.0)
        assert call.statuses == [180, 200]
        assert office.bob.received[-1].method == "CANCEL"

    def test_targets_that_are_nowhere_are_passed_over(self, network: Network) -> None:
        fork = ForkTo.in_turn(f"sip:nobody@{DOMAIN}", f"sip:carol@{DOMAIN}")
        office = Office(network, Point.REQUEST, lambda _: fork)
        assert office.invite(f"sip:team@{DOMAIN}") == [200]
        office.proxy.hook = lambda _: ForkTo.at_once(f"sip:nobody@{DOMAIN}")
        assert office.invite(f"sip:team@{DOMAIN}") == [480]

    def test_within_a_dialog_it_is_not_asked(self, network: Network) -> None:
        office = Office(network, Point.REQUEST, lambda _: Proceed())
        call = office.alice.invite(office.bob.uri)
        dialog = office.alice.acknowledge_after(network, call)
        assert office.alice.within_after(network, dialog, "BYE").statuses == [200]
        assert len(office.proxy.subjects) == 1

    def test_a_hook_that_fails_fails_its_request_and_no_other(self, network: Network) -> None:
        office = Office(network, Point.REQUEST, lambda _: Failure("ValueError: no"))
        assert office.invite(office.bob.uri) == [500]
        assert office.failures == ["ValueError: no"]
        office.proxy.hook = lambda _: Proceed()
        assert office.invite(office.bob.uri) == [200]

    def test_a_caller_who_gives_up_while_it_decides_rings_nowhere(self, network: Network) -> None:
        office = Office(network, Point.RESPONSE, lambda _: Proceed())
        office.proxy.held = []
        call = office.alice.invite(office.bob.uri)
        network.run_for(1.0)
        office.alice.cancel(call)
        network.run_for(1.0)
        (held,) = office.proxy.held
        found = office.proxy.location.find(held.address_of_record, 0.0)
        office.proxy.shell.answer(held.request_id, found)
        network.run_for(1.0)
        assert call.statuses == [487]
        assert office.bob.received == []


class TestResponses:
    def test_a_hook_sees_each_that_goes_back_in_order(self, network: Network) -> None:
        office = Office(network, Point.RESPONSE, lambda _: Proceed(add=(("X-Seen", "1"),)))

        def answer(phone: Phone, ringing: Ringing) -> None:
            phone.respond(ringing, 180)
            phone.respond(ringing, 183)
            phone.respond(ringing, 200)

        office.bob.answers = answer
        call = office.alice.invite(office.bob.uri)
        network.run_for(1.0)
        assert call.statuses == [180, 183, 200]
        assert all(one.headers.has("X-Seen") for one in call.responses)
        seen = [
            one.response.status
            for one in office.proxy.subjects
            if isinstance(one, ReturningResponse)
        ]
        assert seen[:3] == [180, 183, 200]

    def test_a_failure_may_become_another(self, network: Network) -> None:
        office = Office(network, Point.RESPONSE, lambda _: Answer(480, "Nobody"))
        office.bob.answers = rejects(486)
        assert office.invite(office.bob.uri) == [480]

    def test_a_2xx_goes_back_whatever_the_hook_does(self, network: Network) -> None:
        office = Office(network, Point.RESPONSE, lambda _: Answer(480))
        assert office.invite(office.bob.uri) == [200]
        assert office.failures == ["a 200 cannot become a 480"]
        office.proxy.hook = lambda _: Failure("slow")
        assert office.invite(office.bob.uri) == [200]

    def test_a_hook_that_fails_for_a_failure_makes_it_500(self, network: Network) -> None:
        office = Office(network, Point.RESPONSE, lambda _: Failure("no"))
        office.bob.answers = rejects(486)
        assert office.invite(office.bob.uri) == [500]

    def test_provisional_responses_that_wait_are_bounded(self, network: Network) -> None:
        office = Office(network, Point.RESPONSE, lambda _: Proceed())
        office.proxy.hook = lambda _: None

        def flood(phone: Phone, ringing: Ringing) -> None:
            for _ in range(10 * MOST_WAITING):
                phone.respond(ringing, 180)

        office.bob.answers = flood
        office.alice.invite(office.bob.uri)
        network.run_for(1.0)
        assert len(office.proxy.subjects) == 1
        (fork,) = office.proxy.machine._forwarder._forks.values()
        assert len(fork.returning) == MOST_WAITING


class TestRegistrations:
    def test_a_hook_accepts_a_registration(self, network: Network) -> None:
        office = Office(network, Point.REGISTER, lambda _: Proceed())
        call = office.bob.register()
        network.run_for(1.0)
        assert call.statuses == [200]
        (asked,) = office.proxy.subjects
        assert isinstance(asked, AskedRegistration)
        assert asked.address_of_record == office.bob.uri

    @pytest.mark.parametrize(
        ("decision", "status"),
        [
            (Answer(403, "Not this phone"), 403),
            (Failure("no"), 500),
            (Proceed(remove=("X-A",)), 500),
            (ForkTo.at_once(ELSEWHERE), 500),
        ],
    )
    def test_a_hook_refuses_a_registration(
        self, network: Network, decision: Decision | Failure, status: int
    ) -> None:
        office = Office(network, Point.REGISTER, lambda _: decision)
        call = office.bob.register()
        network.run_for(1.0)
        assert call.statuses == [status]
        assert office.proxy.location.find(office.bob.uri, 0.0) == ()


class TestFailures:
    def test_a_failure_may_lead_to_others(self, network: Network) -> None:
        office = Office(network, Point.BRANCH_FAILURE, lambda _: ForkTo.at_once(_uri("carol")))
        office.bob.answers = rejects(486)
        assert office.invite(office.bob.uri) == [200]
        (failed,) = office.proxy.subjects
        assert isinstance(failed, FailedBranch)
        assert (failed.target, failed.response.status) == (office.bob.contact, 486)

    def test_a_timeout_is_one_too(self, network: Network) -> None:
        office = Office(network, Point.BRANCH_FAILURE, lambda _: ForkTo.at_once(_uri("carol")))
        office.bob.shell.stop()
        call = office.alice.invite(office.bob.uri)
        network.run_for(34.0)
        assert call.statuses == [200]

    def test_without_a_decision_the_failure_goes_back(self, network: Network) -> None:
        office = Office(network, Point.BRANCH_FAILURE, lambda _: Proceed())
        office.bob.answers = rejects(486)
        assert office.invite(office.bob.uri) == [486]

    def test_another_failure_may_stand_for_it(self, network: Network) -> None:
        office = Office(network, Point.BRANCH_FAILURE, lambda _: Answer(404))
        office.bob.answers = rejects(603)
        assert office.invite(office.bob.uri) == [404]

    def test_a_hook_that_fails_ends_the_request(self, network: Network) -> None:
        office = Office(network, Point.BRANCH_FAILURE, lambda _: Failure("no"))
        office.bob.answers = rejects(486)
        second = Phone(network, "bob", "192.0.2.13", answers=rings)
        second.register()
        network.run_for(1.0)
        assert office.invite(office.bob.uri) == [180, 500]
        assert second.received[-1].method == "CANCEL"

    def test_targets_that_fail_for_ever_end_somewhere(self, network: Network) -> None:
        count = 0

        def again(_: Subject) -> Decision:
            nonlocal count
            count += 1
            return ForkTo.at_once(f"sip:{count}@192.0.2.11")

        office = Office(network, Point.BRANCH_FAILURE, again)
        office.bob.answers = rejects(486)
        call = office.alice.invite(office.bob.uri)
        network.run_for(30.0)
        assert call.statuses == [486]
        assert count < 100


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("sips:%62ob:pw@EXAMPLE.org:5061;user=phone?a=b", "sip:bob@example.org:5061"),
        ("tel:+49-30-(123);ext=1", "tel:+4930123"),
        ("im:bob@example.org", "im:bob@example.org"),
    ],
)
def test_policies_compare_one_spelling(uri: str, text: str) -> None:
    assert plain(parse_absolute_uri(uri)) == text


class TestDecisions:
    @pytest.mark.parametrize("name", ["Via", "v", "To", "Call-ID", "CSeq", "Record-Route"])
    def test_what_a_proxy_must_not_change_it_does_not(self, name: str) -> None:
        with pytest.raises(MisuseError, match="a proxy does not change"):
            Proceed(remove=(name,))
        with pytest.raises(MisuseError, match="a proxy does not change"):
            ForkTo(((Target(ELSEWHERE),),), add=((name, "1"),))

    def test_header_fields_hold_no_line_end(self) -> None:
        with pytest.raises(MisuseError):
            Proceed(add=(("Subject", "a\r\nVia: b"),))
        with pytest.raises(MisuseError):
            Answer(403, fields=(("Subject", "a\nb"),))

    def test_answers_are_final_and_targets_are_uris(self) -> None:
        with pytest.raises(MisuseError):
            Answer(183)
        with pytest.raises(MalformedMessage):
            Target("bob")
        with pytest.raises(MisuseError):
            Target(ELSEWHERE, ring_for=0)
        with pytest.raises(MisuseError):
            ForkTo(())


def test_a_contact_of_a_redirection_is_no_affair_of_the_hooks(network: Network) -> None:
    office = Office(network, Point.REQUEST, lambda _: Proceed())
    contact = HeaderField.of(CONTACT, NameAddress.parse("<sip:x@192.0.2.12>"))
    office.bob.answers = rejects(302, contact)
    assert office.invite(office.bob.uri) == [302]


def _uri(name: str) -> str:
    return f"sip:{name}@{DOMAIN}"
