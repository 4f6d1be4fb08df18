"""The driver keeps the contract of natkit/machine.py, whatever the carriers."""

import asyncio

import pytest

from natkit.address import Address
from natkit.aio.driver import Driver, Inputs
from natkit.errors import MisuseError, UnreachableError
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    Transmit,
    Transport,
)
from tests.natkit.aio.machines import (
    Answered,
    Ask,
    Ended,
    Event,
    Fired,
    Heard,
    Inbox,
    Result,
    Scripted,
)

LOCAL = Address("127.0.0.1", 1)
REMOTE = Address("127.0.0.1", 2)
DATAGRAMS = Path(Transport.UDP, LOCAL, REMOTE)
STREAM = Path(Transport.TCP, LOCAL, REMOTE)


class Carrier:
    """Both kinds of carrier in one, which only writes down what it is asked."""

    def __init__(self, refusal: UnreachableError | None = None) -> None:
        self.calls: list[str] = []
        self.refusal = refusal
        self.connected = asyncio.Event()
        self.started = asyncio.Event()
        self.inputs: Inputs

    def attach(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def open(self, local: Address) -> Address:
        if self.refusal is not None:
            raise self.refusal
        return local._replace(port=4242)

    def close_socket(self, local: Address) -> None:
        self.calls.append(f"close {local}")

    def send(self, transmit: Transmit) -> None:
        self.calls.append(f"send {transmit.data.decode()}")

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        await self.connected.wait()
        if self.refusal is not None:
            raise self.refusal
        return Path(transport, local or LOCAL, remote)

    def start(self, path: Path) -> None:
        self.calls.append(f"start {path.remote}")
        self.started.set()

    def close_path(self, path: Path) -> None:
        self.calls.append(f"close {path.remote}")

    async def aclose(self) -> None:
        self.calls.append("aclose")


def drive(machine: Scripted, carrier: Carrier, inbox: Inbox) -> Driver[Event, Result]:
    return Driver(machine, inbox, datagrams=carrier, streams=carrier)


async def test_each_input_is_followed_by_transmits_then_events_then_one_flush() -> None:
    machine, carrier, inbox = Scripted(reply=lambda data: data), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    driver.receive(b"one", DATAGRAMS)
    assert machine.actions == ["transmits", "event Heard", "transmits", "event NoneType"]
    assert carrier.calls == ["send one", "flush"]
    assert inbox.events == [Heard(b"one", DATAGRAMS)]
    await driver.aclose()


async def test_many_inputs_of_a_wake_up_leave_in_one_flush() -> None:
    machine, carrier, inbox = Scripted(reply=lambda data: data), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    with driver.many(), driver.many():
        driver.receive(b"one", DATAGRAMS)
        driver.receive(b"two", DATAGRAMS)
    assert carrier.calls == ["send one", "send two", "flush"]
    await driver.aclose()


async def test_run_returns_what_the_method_does_and_drains() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert before <= driver.run(lambda now: now) <= loop.time()
    driver.run(machine.send(Transmit(b"x", STREAM)))
    assert carrier.calls == ["flush", "send x", "flush"]
    await driver.aclose()


async def test_run_drains_even_if_the_method_raises() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)

    def half_done(now: float) -> None:
        machine.outgoing.append(Transmit(b"sent", DATAGRAMS))
        raise MisuseError("and then refused")

    with pytest.raises(MisuseError, match="and then refused"):
        driver.run(half_done)
    assert carrier.calls == ["send sent", "flush"]
    await driver.aclose()


async def test_an_event_answered_by_its_handler_is_an_input_of_the_same_drain() -> None:
    machine, carrier = Scripted(), Carrier()
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Ask):
            driver.answer(event.request_id, "yes")

    driver: Driver[Event, Result] = Driver(machine, on_event, datagrams=carrier, streams=carrier)
    driver.run(machine.emit(Ask(1), Ask(2)))
    assert seen == [Ask(1), Ask(2), Answered(1, "yes"), Answered(2, "yes")]
    assert carrier.calls == ["flush"]
    await driver.aclose()


async def test_sockets_are_opened_and_closed_by_the_carrier() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    driver.run(machine.emit(OpenSocket(7, LOCAL), CloseSocket(LOCAL), ClosePath(STREAM)))
    assert inbox.events == [Answered(7, Address("127.0.0.1", 4242))]
    assert carrier.calls == [f"close {LOCAL}", f"close {REMOTE}", "flush"]
    await driver.aclose()


async def test_a_refused_socket_is_a_failure_that_tells_whether_the_address_is_in_use() -> None:
    for number, in_use in ((98, True), (13, False)):
        refusal = UnreachableError("cannot bind")
        refusal.__cause__ = OSError(number, "why")
        machine, inbox = Scripted(), Inbox()
        driver = drive(machine, Carrier(refusal), inbox)
        driver.run(machine.emit(OpenSocket(7, LOCAL)))
        assert inbox.events == [Answered(7, Failure("cannot bind", address_in_use=in_use))]
        await driver.aclose()


async def test_a_connection_is_answered_before_it_delivers() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    driver.run(machine.emit(Connect(3, Transport.TCP, None, REMOTE)))
    assert not inbox.events
    carrier.connected.set()
    assert await inbox.wait() == [Answered(3, STREAM)]
    async with asyncio.timeout(20):
        await carrier.started.wait()
    assert carrier.calls[-1] == f"start {REMOTE}"
    driver.receive(b"x", STREAM)
    driver.disconnected(STREAM)
    assert inbox.events[1:] == [Heard(b"x", STREAM), Ended(STREAM)]
    await driver.aclose()


async def test_a_refused_connection_is_a_failure() -> None:
    machine, inbox = Scripted(), Inbox()
    carrier = Carrier(UnreachableError("cannot connect"))
    carrier.connected.set()
    driver = drive(machine, carrier, inbox)
    driver.run(machine.emit(Connect(3, Transport.TCP, None, REMOTE)))
    assert await inbox.wait() == [Answered(3, Failure("cannot connect"))]
    await driver.aclose()


async def test_without_carriers_requests_fail_and_transmits_are_dropped() -> None:
    machine, inbox = Scripted(), Inbox()
    driver: Driver[Event, Result] = Driver(machine, inbox)
    driver.run(machine.send(Transmit(b"x", STREAM), Transmit(b"x", DATAGRAMS)))
    driver.run(machine.emit(OpenSocket(1, LOCAL), Connect(2, Transport.TCP, None, REMOTE)))
    driver.run(machine.emit(CloseSocket(LOCAL), ClosePath(STREAM)))
    answers = await inbox.wait(2)
    assert [type(each.result) for each in answers if isinstance(each, Answered)] == [Failure] * 2
    await driver.aclose()


async def test_the_timer_fires_at_the_deadline_and_not_before() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    now = asyncio.get_running_loop().time()
    driver.run(machine.wake_at(now + 0.03))
    (fired,) = await inbox.wait()
    assert isinstance(fired, Fired)
    assert fired.late >= 0
    assert asyncio.get_running_loop().time() >= now + 0.03
    await driver.aclose()


async def test_a_deadline_that_moves_nearer_is_kept_and_one_that_moves_away_is_too() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    now = asyncio.get_running_loop().time()
    driver.run(machine.wake_at(now + 3600))
    driver.run(machine.wake_at(now + 0.01))
    driver.run(machine.wake_at(now + 0.04))
    assert len(await inbox.wait()) == 1
    assert asyncio.get_running_loop().time() >= now + 0.04
    await driver.aclose()


async def test_no_deadline_disarms_the_timer() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    now = asyncio.get_running_loop().time()
    driver.run(machine.wake_at(now + 0.01))
    driver.run(machine.wake_at(None))
    woken = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_at(now + 0.03, woken.set_result, None)
    await woken
    assert machine.inputs == 0
    await driver.aclose()


async def test_a_defect_of_one_input_is_told_and_the_next_input_works() -> None:
    machine, carrier, inbox = Scripted(reply=lambda data: data), Carrier(), Inbox()
    defects: list[Exception] = []
    driver: Driver[Event, Result] = Driver(
        machine, inbox, datagrams=carrier, streams=carrier, on_defect=defects.append
    )
    machine.defect = ZeroDivisionError("a bug")
    driver.receive(b"one", DATAGRAMS)
    driver.receive(b"two", DATAGRAMS)
    assert [str(each) for each in defects] == ["a bug"]
    assert carrier.calls == ["flush", "send two", "flush"]
    await driver.aclose()


async def test_a_defect_of_an_events_handler_does_not_lose_the_next_event() -> None:
    machine = Scripted()
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        if event == Ask(1):
            raise ZeroDivisionError

    driver: Driver[Event, Result] = Driver(machine, on_event)
    driver.run(machine.emit(Ask(1), Ask(2)))
    assert seen == [Ask(1), Ask(2)]
    assert [type(each) for each in told] == [ZeroDivisionError]
    await driver.aclose()


async def test_after_the_end_nothing_reaches_the_machine() -> None:
    machine, carrier, inbox = Scripted(), Carrier(), Inbox()
    driver = drive(machine, carrier, inbox)
    now = asyncio.get_running_loop().time()
    driver.run(machine.wake_at(now + 0.01))
    driver.run(machine.emit(Connect(3, Transport.TCP, None, REMOTE)))
    await driver.aclose()
    assert carrier.calls[-3:] == ["flush", "close", "aclose"]
    driver.receive(b"x", DATAGRAMS)
    driver.disconnected(STREAM)
    driver.answer(1, "late")
    assert machine.inputs == 0
    with pytest.raises(MisuseError):
        driver.run(lambda now: now)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_from_an_event_ends_the_drain() -> None:
    machine, carrier = Scripted(), Carrier()
    seen: list[Event] = []
    closing: list[asyncio.Task[None]] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        closing.append(asyncio.ensure_future(driver.aclose()))

    driver: Driver[Event, Result] = Driver(machine, on_event, datagrams=carrier, streams=carrier)
    driver.run(machine.emit(Ask(1)))
    await asyncio.gather(*closing)
    assert seen == [Ask(1)]
