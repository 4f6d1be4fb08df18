"""What the shell owes a machine, by natkit/machine.py."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from natkit.address import Address
from natkit.machine import CloseSocket, Failure, OpenSocket, Path, Request, Transmit, Transport
from tests.simnet import Endpoint, Livelock, Network, Shell, SimulationError
from tests.simnet.scripted import Scripted


@dataclass(frozen=True, slots=True)
class FindWord(Request):
    """A Request that the host knows nothing of."""

    letter: str


class Desk:
    """A scripted machine with one socket, and an echoing peer."""

    def __init__(self, lateness: float = 0.0) -> None:
        self.network = Network(3)
        self.host = self.network.host("desk", "203.0.113.1", "2001:db8::1")
        self.machine = Scripted()
        self.shell = Shell(self.host, self.machine, lateness=lateness)
        self.local = self.shell.bind(self.host.address())
        self.echo = Endpoint(self.network.host("peer", "203.0.113.2"), echo=True)
        self.path = Path(Transport.UDP, self.local, self.echo.address)

    def drain(self, *events: object) -> None:
        """One input, after which the machine has ``events`` to give."""
        self.machine.events.extend(events)
        self.shell.call(lambda _: None)

    def settle(self) -> None:
        self.network.run_for(1.0)

    def answers(self) -> list[tuple[object, ...]]:
        self.settle()
        return self.machine.said("answer")


def test_a_datagram_goes_out_and_its_echo_comes_in_with_path_and_time() -> None:
    desk = Desk()
    desk.machine.send(b"ping", desk.path)
    sent = desk.network.now
    desk.drain()
    desk.settle()
    [heard] = desk.machine.heard
    assert (heard.what, heard.arguments) == ("receive", (b"ping", desk.path))
    assert heard.now == pytest.approx(sent + 4 * 0.010)


def test_every_input_is_followed_by_transmits_then_events_then_one_timer() -> None:
    desk = Desk()
    calls: list[str] = []

    class Noting(Scripted):
        def receive(self, data: bytes, path: Path, now: float) -> None:
            super().receive(data, path, now)
            calls.append("receive")

        def transmits(self) -> Sequence[Transmit]:
            taken = super().transmits()
            calls.extend("transmit" for _ in taken)
            return taken

        def next_event(self) -> object | None:
            event = super().next_event()
            calls.append("event" if event else "no event")
            return event

        def next_deadline(self) -> float | None:
            calls.append("deadline")
            return None

    machine = Noting()
    shell = Shell(desk.host, machine)
    local = shell.bind(desk.host.address())
    machine.replies = True
    machine.events.append("a fact")
    desk.echo.echo = False
    desk.echo.send(b"one", local)
    desk.settle()
    assert calls == ["receive", "transmit", "event", "no event", "deadline"]
    assert shell.events == ["a fact"]


def test_the_timer_fires_at_the_deadline_and_the_latest_deadline_counts() -> None:
    desk = Desk()
    start = desk.network.now
    desk.machine.deadline = start + 10.0
    desk.drain()
    desk.machine.deadline = start + 5.0
    desk.drain()
    desk.network.run_for(20.0)
    assert [(heard.what, heard.now) for heard in desk.machine.heard] == [("timer", start + 5.0)]


def test_a_timer_whose_deadline_moved_later_fires_early_and_then_in_time() -> None:
    desk = Desk()
    start = desk.network.now

    class Moving(Scripted):
        def handle_timer(self, now: float) -> None:
            deadline = self.deadline
            super().handle_timer(now)
            if deadline is not None and deadline > now:
                self.deadline = deadline

    machine = Moving()
    shell = Shell(desk.host, machine)
    for seconds in (5.0, 10.0):
        machine.deadline = start + seconds
        shell.call(lambda _: None)
    desk.network.run_for(20.0)
    assert [heard.now - start for heard in machine.heard] == [5.0, 10.0]


def test_an_answer_within_the_drain_comes_before_the_events_that_follow() -> None:
    desk = Desk()
    desk.drain(FindWord(1, "a"), "a fact")
    assert desk.machine.said("answer") == []
    order: list[object] = []

    def answer(event: object) -> None:
        order.append(event)
        if isinstance(event, FindWord):
            desk.shell.answer(event.request_id, "apple")
            order.append(desk.machine.said("answer")[-1])

    desk.shell.on_event = answer
    desk.drain(FindWord(2, "b"), "a fact")
    assert order == [FindWord(2, "b"), (2, "apple"), "a fact"]


def test_a_deadline_taken_back_does_not_fire() -> None:
    desk = Desk()
    desk.machine.deadline = desk.network.now + 10.0
    desk.drain()
    desk.machine.deadline = None
    desk.drain()
    desk.network.run_for(20.0)
    assert desk.machine.heard == []


def test_timers_may_be_late_but_never_early() -> None:
    desk = Desk(lateness=0.5)
    for _ in range(20):
        deadline = desk.machine.deadline = desk.network.now + 1.0
        desk.drain()
        desk.network.run_for(2.0)
        assert deadline <= desk.machine.heard[-1].now <= deadline + 0.5
    assert len(desk.machine.said("timer")) == 20


def test_a_deadline_that_stays_due_is_a_livelock() -> None:
    desk = Desk()

    class Stuck(Scripted):
        def next_deadline(self) -> float | None:
            return desk.network.started

    shell = Shell(desk.host, Stuck())
    shell.call(lambda _: None)
    with pytest.raises(Livelock):
        desk.settle()


def test_a_socket_is_opened_used_and_closed_for_the_machine() -> None:
    desk = Desk()
    wanted = desk.host.address(50_000)
    desk.drain(OpenSocket(7, wanted))
    assert desk.answers() == [(7, wanted)]
    desk.echo.echo = False
    desk.echo.send(b"hello", wanted)
    desk.settle()
    assert desk.machine.said("receive") == [
        (b"hello", Path(Transport.UDP, wanted, desk.echo.address))
    ]
    desk.drain(CloseSocket(wanted))
    assert desk.host.sockets == (desk.local,)


def test_port_0_gives_a_free_port() -> None:
    desk = Desk()
    desk.drain(OpenSocket(1, desk.host.address()), OpenSocket(2, desk.host.address()))
    (_, first), (_, second) = desk.answers()
    assert isinstance(first, Address)
    assert isinstance(second, Address)
    assert len({desk.local.port, first.port, second.port}) == 3


def test_an_address_in_use_is_a_failure_that_says_so() -> None:
    desk = Desk()
    desk.drain(OpenSocket(1, desk.local))
    assert desk.answers() == [(1, Failure(f"{desk.local} is in use", address_in_use=True))]


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_wildcard_socket_hears_every_address_and_sends_from_the_first(wildcard: str) -> None:
    desk = Desk()
    family = Address(wildcard, 0).family
    two = desk.network.host("two", "203.0.113.7", "203.0.113.8", "2001:db8::7", "2001:db8::8")
    peer_host = desk.network.host("far", "203.0.113.9", "2001:db8::9")
    peer = Endpoint(peer_host, family=family)
    machine = Scripted()
    machine.replies = True
    shell = Shell(two, machine)
    local = shell.bind(Address(wildcard, 0))
    mine = [Address(host, local.port) for host in two.addresses]
    reachable = [address for address in mine if address.family is family]
    for address in reachable:
        peer.send(b"x", address)
    desk.settle()
    assert machine.said("receive") == [(b"x", Path(Transport.UDP, local, peer.address))] * 2
    assert peer.received == [(b"x", reachable[0])] * 2
    machine.events.append(OpenSocket(1, reachable[1]))
    shell.call(lambda _: None)
    desk.settle()
    [(_, refused)] = machine.said("answer")
    assert isinstance(refused, Failure)
    assert refused.address_in_use


def test_an_address_of_another_host_is_a_failure() -> None:
    desk = Desk()
    desk.drain(OpenSocket(1, Address("203.0.113.99", 0)))
    assert desk.answers() == [(1, Failure("desk does not have 203.0.113.99"))]


def test_other_events_are_recorded_and_the_handler_answers_now_or_later() -> None:
    desk = Desk()

    def answer(event: object) -> None:
        if isinstance(event, FindWord):
            if event.letter == "a":
                desk.shell.answer(event.request_id, "apple")
            else:
                desk.network.after(0.5, lambda: desk.shell.answer(event.request_id, "later"))

    desk.shell.on_event = answer
    desk.drain("a fact", FindWord(1, "b"), FindWord(2, "a"))
    assert desk.answers() == [(2, "apple"), (1, "later")]
    assert desk.shell.take(FindWord) == [FindWord(1, "b"), FindWord(2, "a")]
    assert desk.shell.events == ["a fact"]


def test_a_handler_may_call_the_machine_and_what_that_gives_is_drained_too() -> None:
    desk = Desk()

    def react(event: object) -> None:
        if event == "send now":
            desk.shell.call(lambda _: desk.machine.send(b"reaction", desk.path))

    desk.shell.on_event = react
    desk.drain("send now", "and more")
    desk.settle()
    assert desk.shell.events == ["send now", "and more"]
    assert desk.machine.received == [b"reaction"]


def test_sending_from_an_address_that_is_not_the_machines_own_is_an_error() -> None:
    desk = Desk()
    desk.machine.send(b"", Path(Transport.UDP, desk.host.address(1), desk.echo.address))
    with pytest.raises(SimulationError, match="not its own"):
        desk.drain()


def test_sending_to_another_family_is_an_error() -> None:
    desk = Desk()
    desk.machine.send(b"", Path(Transport.UDP, desk.local, Address("2001:db8::2", 1)))
    with pytest.raises(SimulationError, match="family"):
        desk.drain()


def test_a_machine_that_gives_its_transmits_twice_is_an_error() -> None:
    desk = Desk()

    class Twice(Scripted):
        def transmits(self) -> Sequence[Transmit]:
            return [Transmit(b"", desk.path)]

    shell = Shell(desk.host, Twice())
    desk.shell.stop()
    shell.bind(desk.local)
    with pytest.raises(SimulationError, match="called again"):
        shell.call(lambda _: None)


def test_a_host_reaches_itself_without_its_link() -> None:
    desk = Desk()
    desk.host.link.black_out(desk.network.now, desk.network.now + 100.0)
    other = Endpoint(desk.host, echo=True)
    desk.machine.send(b"inside", Path(Transport.UDP, desk.local, other.address))
    desk.drain()
    desk.settle()
    assert desk.machine.received == [b"inside"]


def test_a_stopped_machine_hears_nothing_and_leaves_its_addresses_free() -> None:
    desk = Desk()
    desk.machine.deadline = desk.network.now + 0.5
    desk.machine.send(b"ping", desk.path)
    desk.drain(FindWord(1, "a"))
    desk.shell.stop()
    desk.shell.answer(1, "too late")
    desk.settle()
    assert desk.machine.heard == []
    with pytest.raises(SimulationError, match="stopped"):
        desk.drain()
    assert Shell(desk.host, Scripted()).bind(desk.local) == desk.local
