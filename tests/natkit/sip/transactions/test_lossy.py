"""Two elements over links that lose, delay, double and reorder: both end, and agree."""

import pytest

from natkit.address import Address
from natkit.machine import Failure, Path, Transport
from natkit.sip import Response
from natkit.sip.transactions import (
    AckMissing,
    RequestReceived,
    ResponseReceived,
    TimedOut,
    TransactionEvent,
    Transactions,
)
from tests.natkit.sip.transactions.messages import request
from tests.simnet.link import Conditions
from tests.simnet.network import Network
from tests.simnet.shell import Shell

ALICE, BOB = Address("192.0.2.1", 5060), Address("192.0.2.2", 5060)
PATH = Path(Transport.UDP, ALICE, BOB)
REQUESTS = 40


class Elements:
    """Alice sends requests, bob answers each with ``status`` after a provisional response."""

    def __init__(self, network: Network, conditions: Conditions, status: int) -> None:
        self.network = network
        self.status = status
        self.answered: list[int] = []
        self.missing: list[int] = []
        self.timed_out: list[int] = []
        self.finals: list[int] = []
        self.alice = self._element("alice", ALICE, conditions)
        self.bob = self._element("bob", BOB, conditions)
        self.alice.on_event = self._at_alice
        self.bob.on_event = self._at_bob

    def _element(
        self, name: str, address: Address, conditions: Conditions
    ) -> Shell[TransactionEvent, Failure]:
        host = self.network.host(name, address.host, link=conditions)
        shell = Shell[TransactionEvent, Failure](host, Transactions())
        shell.bind(address)
        return shell

    def send(self, method: str, number: int) -> None:
        layer = self.alice.machine
        assert isinstance(layer, Transactions)
        message = request(method, branch=f"z9hG4bK{number}", sent_by=ALICE, number=number)
        self.alice.call(lambda now: layer.send(message, PATH, now))

    def _at_bob(self, event: TransactionEvent) -> None:
        layer = self.bob.machine
        assert isinstance(layer, Transactions)
        if isinstance(event, RequestReceived):
            self.answered.append(event.transaction)
            provisional = Response.to(event.request, 100)
            layer.respond(event.transaction, provisional, self.network.now)
            final = Response.to(event.request, self.status, tag="b")
            self.network.after(
                0.3,
                lambda: self.bob.call(lambda now: layer.respond(event.transaction, final, now)),
            )
        elif isinstance(event, AckMissing):
            self.missing.append(event.transaction)

    def _at_alice(self, event: TransactionEvent) -> None:
        if isinstance(event, ResponseReceived) and event.response.status >= 200:
            self.finals.append(event.transaction)
        elif isinstance(event, TimedOut):
            self.timed_out.append(event.transaction)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("method", "status"), [("INVITE", 486), ("OPTIONS", 200)])
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_each_request_is_answered_once_or_times_out(
    seed: int, method: str, status: int, loss: float
) -> None:
    conditions = Conditions(
        loss=loss, delay=0.05, jitter=0.05, duplication=0.1, reordering=0.1, hold=0.4
    )
    with Network(seed) as network:
        elements = Elements(network, conditions, status)
        for number in range(1, REQUESTS + 1):
            elements.send(method, number)
        network.run_for(200.0)
        layers = (elements.alice.machine, elements.bob.machine)
    assert [len(layer) for layer in layers if isinstance(layer, Transactions)] == [0, 0]
    # Told once each, whatever was doubled on the way.
    assert len(elements.answered) <= REQUESTS
    assert len(set(elements.finals)) == len(elements.finals)
    assert not set(elements.finals) & set(elements.timed_out)
    if method == "OPTIONS" and loss <= 0.1:
        # 11 transmissions: that not one of them and its answer pass has a chance of 1 in 100,000.
        assert len(elements.finals) == REQUESTS
    if loss == 0.0:
        assert len(elements.answered) == len(elements.finals) == REQUESTS
        assert not elements.missing
