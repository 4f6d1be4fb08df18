"""From a server that fails to the next, and what is remembered of it (RFC 3263 §4.3)."""

from collections.abc import Callable, Iterator

import pytest

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import HeaderField
from natkit.sip.kinds import RETRY_AFTER, RetryAfter
from tests.simnet.network import Network
from tests.sip_proxy.world import Call, Phone, ProxyHost, Ringing, settings

SERVICE = "sip:bob@servers.example"


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def rings(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)


def rejects(status: int, *fields: HeaderField) -> Callable[[Phone, Ringing], None]:
    def answer(phone: Phone, ringing: Ringing) -> None:
        phone.respond(ringing, status, *fields)

    return answer


def to(address: str, transport: Transport = Transport.UDP) -> Target:
    return Target(transport, Address(address, 5060), "servers.example", "")


class Servers:
    """Two servers of one domain, behind a proxy that alice calls through."""

    def __init__(self, network: Network, **changes: object) -> None:
        self.network = network
        self.proxy = ProxyHost(network, settings(**changes))
        self.proxy.servers["servers.example"] = (to("192.0.2.11"), to("192.0.2.12"))
        self.alice = Phone(network, "alice", "192.0.2.10")
        self.first = Phone(network, "first", "192.0.2.11", answers=picks_up)
        self.second = Phone(network, "second", "192.0.2.12", answers=picks_up)

    def call(self, seconds: float = 1.0) -> Call:
        call = self.alice.invite(SERVICE)
        self.network.run_for(seconds)
        return call

    @property
    def asked(self) -> tuple[int, int]:
        """How many INVITEs each of the two got."""
        counts = [
            len([one for one in phone.received if one.method == "INVITE"])
            for phone in (self.first, self.second)
        ]
        return counts[0], counts[1]


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(31) as made:
        yield made


@pytest.fixture
def servers(network: Network) -> Servers:
    return Servers(network)


def test_a_silent_server_is_given_up_after_a_while_when_there_is_another(servers: Servers) -> None:
    servers.first.shell.stop()
    call = servers.call(4.0)
    assert call.statuses == []
    servers.network.run_for(2.0)
    assert call.statuses == [200]


def test_the_while_is_the_transaction_s_own_where_that_is_wished(network: Network) -> None:
    servers = Servers(network, failover_after=None)
    servers.first.shell.stop()
    call = servers.call(31.0)
    assert call.statuses == []
    network.run_for(3.0)
    assert call.statuses == [200]


def test_the_last_server_has_the_whole_time_of_a_transaction(servers: Servers) -> None:
    servers.proxy.servers["servers.example"] = (to("192.0.2.11"),)
    servers.first.answers = None
    call = servers.call(20.0)
    assert servers.asked[0] == 1
    servers.first.respond(servers.first.ringing[0], 200)
    servers.network.run_for(1.0)
    assert call.statuses == [200]


def test_a_server_that_said_something_is_waited_for(servers: Servers) -> None:
    servers.first.answers = rings
    call = servers.call(100.0)
    assert call.statuses == [180]
    assert servers.asked == (1, 0)


def test_who_wakes_up_after_it_was_given_up_is_cancelled(servers: Servers) -> None:
    servers.first.answers = None
    servers.second.answers = rings
    call = servers.call(6.0)
    servers.first.respond(servers.first.ringing[0], 180)
    servers.network.run_for(1.0)
    assert [one.method for one in servers.first.received] == ["INVITE", "CANCEL"]
    assert servers.first.ringing == []
    servers.second.respond(servers.second.ringing[0], 200)
    servers.network.run_for(1.0)
    assert call.statuses == [180, 200]


def test_who_answers_after_it_was_given_up_has_the_call(servers: Servers) -> None:
    servers.first.answers = None
    servers.second.answers = rings
    call = servers.call(6.0)
    servers.first.respond(servers.first.ringing[0], 200)
    servers.network.run_for(1.0)
    assert call.statuses == [180, 200]
    # The other one, which rings, is told that it is over.
    assert servers.second.received[-1].method == "CANCEL"


def test_a_message_goes_to_the_next_server_before_its_sender_gives_up(servers: Servers) -> None:
    servers.first.shell.stop()
    message = servers.alice.send("MESSAGE", SERVICE)
    servers.network.run_for(6.0)
    assert message.statuses == [200]


def test_a_server_that_failed_is_tried_last_for_some_time(servers: Servers) -> None:
    servers.first.answers = rejects(503)
    assert servers.call().statuses == [200]
    assert servers.call().statuses == [200]
    assert servers.asked == (1, 2)
    servers.network.run_for(31.0)
    servers.first.answers = picks_up
    # One call tries it again, and all is forgotten.
    assert servers.call().statuses == [200]
    assert servers.call().statuses == [200]
    assert servers.asked == (3, 2)


def test_a_server_that_asks_for_rest_has_it(servers: Servers) -> None:
    retry_after = HeaderField.of(RETRY_AFTER, RetryAfter(120))
    servers.first.answers = servers.second.answers = rejects(503, retry_after)
    assert servers.call().statuses == [500]
    assert servers.asked == (1, 1)
    call = servers.call()
    assert call.statuses == [500]
    assert servers.asked == (1, 1)
    told = call.responses[-1].headers.get(RETRY_AFTER)
    assert told is not None
    assert 115 <= told.seconds <= 120
    servers.network.run_for(120.0)
    servers.first.answers = servers.second.answers = picks_up
    assert servers.call().statuses == [200]


def test_a_status_that_is_an_answer_leads_nowhere_else(servers: Servers) -> None:
    servers.first.answers = rejects(486)
    assert servers.call().statuses == [486]
    assert servers.asked == (1, 0)


def test_a_caller_who_hangs_up_while_a_server_is_silent_stops_the_search(servers: Servers) -> None:
    servers.first.shell.stop()
    call = servers.call(2.0)
    servers.alice.cancel(call)
    servers.network.run_for(40.0)
    assert servers.asked[1] == 0
    assert call.statuses == [487]


def test_a_408_to_another_request_than_an_invite_is_not_passed_on(servers: Servers) -> None:
    servers.first.answers = None
    servers.proxy.servers["servers.example"] = (to("192.0.2.11"),)
    invite = servers.alice.invite(SERVICE)
    servers.network.run_for(1.0)
    servers.first.respond(servers.first.ringing[0], 408)
    servers.network.run_for(1.0)
    assert invite.statuses == [408]
    servers.first.otherwise = 408
    message = servers.alice.send("MESSAGE", SERVICE)
    servers.network.run_for(40.0)
    # RFC 4320 §4.2.
    assert servers.first.received[-1].method == "MESSAGE"
    assert message.statuses == []
    assert message.timed_out


def test_another_request_that_takes_long_gets_a_100_once_its_sender_repeats_it_slowly(
    servers: Servers,
) -> None:
    servers.first.otherwise = 0
    servers.proxy.servers["servers.example"] = (to("192.0.2.11"),)
    message = servers.alice.send("MESSAGE", SERVICE)
    servers.network.run_for(3.4)
    assert message.responses == []
    servers.network.run_for(0.2)
    # RFC 4320 §4.1.
    assert {one.status for one in message.responses} == {100}
    servers.first.respond(servers.first.ringing[0], 200)
    servers.network.run_for(1.0)
    assert message.statuses == [200]
    servers.network.run_for(60.0)
    assert servers.proxy.is_idle


def test_a_2xx_that_comes_after_the_final_response_is_passed_on(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.first.answers = None
    servers.second.answers = rejects(486)
    call = servers.call(6.0)
    assert call.statuses == [486]
    arrived: list[bytes] = []
    monkeypatch.setattr(servers.alice.layer, "receive", lambda data, *_: arrived.append(data))
    servers.first.respond(servers.first.ringing[0], 200)
    servers.network.run_for(1.0)
    # RFC 3261 §16.7 step 5: it is alice who must acknowledge it, and hang up.
    assert [data[:11] for data in arrived] == [b"SIP/2.0 200"]
