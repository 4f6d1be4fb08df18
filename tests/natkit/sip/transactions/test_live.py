"""What is seen of transactions that are under way."""

from natkit.sip import Response
from natkit.sip.transactions import LiveTransaction, RequestReceived
from tests.natkit.sip.transactions.messages import THERE, UDP, Bench, request


def test_the_latest_comes_first_with_its_state_and_age() -> None:
    bench = Bench()
    bench.now = 5.0
    bench.receive(request("INVITE", branch="z9hG4bKone"), UDP)
    bench.now = 7.0
    bench.layer.send(request("OPTIONS", branch="z9hG4bKtwo"), UDP, bench.now)
    assert list(bench.layer.live()) == [
        LiveTransaction("OPTIONS", "z9hG4bKtwo", True, "trying", 7.0, UDP, "1@example.com"),
        LiveTransaction("INVITE", "z9hG4bKone", False, "proceeding", 5.0, UDP, "1@example.com"),
    ]


def test_whose_call_it_was_is_told_after_the_final_response_too() -> None:
    bench = Bench()
    bench.receive(request("MESSAGE"), UDP)
    (event,) = bench.events()
    assert isinstance(event, RequestReceived)
    bench.layer.respond(event.transaction, Response.to(event.request, 200, tag="b"), 0.0)
    (found,) = bench.layer.live()
    assert bench.layer.request_of(event.transaction) is None
    assert (found.method, found.state) == ("MESSAGE", "completed")
    assert found.call_id == "1@example.com"
    bench.layer.abandon(event.transaction)
    assert list(bench.layer.live()) == []


def test_one_of_rfc_2543_has_no_branch_that_names_it() -> None:
    bench = Bench()
    bench.receive(request("INVITE", branch="1", sent_by=THERE), UDP)
    (found,) = bench.layer.live()
    assert (found.method, found.branch) == ("INVITE", "")
