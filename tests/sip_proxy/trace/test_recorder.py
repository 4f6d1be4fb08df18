from natkit.address import Address
from natkit.machine import Path, Transmit, Transport
from sip_proxy.trace import FlightRecorder, RecorderSettings
from sip_proxy.trace.recorder import OVERHEAD
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, Phone, ProxyHost, settings

PATH = Path(Transport.UDP, PROXY, Address("192.0.2.10", 5060))


def test_messages_are_kept_as_they_came_and_went_and_in_their_order() -> None:
    recorder = FlightRecorder(RecorderSettings())
    recorder.received(b"one", PATH, 1.0)
    recorder.sent([Transmit(b"two", PATH), Transmit(b"three", PATH)])
    recorder.received(b"four", PATH, 2.0)
    assert [(each.time, each.is_sent, each.data) for each in recorder.messages()] == [
        (1.0, False, b"one"),
        (1.0, True, b"two"),
        (1.0, True, b"three"),
        (2.0, False, b"four"),
    ]
    assert {each.path for each in recorder.messages()} == {PATH}


def test_its_memory_is_bounded_and_the_oldest_goes_first() -> None:
    memory = 10_000
    recorder = FlightRecorder(RecorderSettings(memory))
    for number in range(5_000):
        data = number.to_bytes(2, "big") * (1 + number % 700)
        recorder.received(data, PATH, float(number))
        recorder.sent([Transmit(data, PATH)])
        assert recorder.size <= memory
        kept = recorder.messages()
        assert recorder.size == sum(len(each.data) + OVERHEAD for each in kept)
    assert [each.time for each in kept] == sorted(each.time for each in kept)
    assert kept[-1].time == 4_999


def test_a_message_that_is_longer_than_its_memory_is_not_kept() -> None:
    recorder = FlightRecorder(RecorderSettings(1_000))
    recorder.received(bytes(10_000), PATH, 0.0)
    assert (len(recorder), recorder.size) == (0, 0)


def test_without_memory_it_is_off_and_can_be_switched_at_any_time() -> None:
    recorder = FlightRecorder(RecorderSettings(0))
    recorder.received(b"one", PATH, 0.0)
    recorder.sent([Transmit(b"two", PATH)])
    assert recorder.messages() == ()
    recorder.configure(RecorderSettings(10_000))
    recorder.received(b"three", PATH, 0.0)
    assert len(recorder) == 1
    recorder.configure(RecorderSettings(0))
    assert (len(recorder), recorder.size) == (0, 0)


def test_the_proxy_records_what_it_looks_at_and_all_that_it_sends(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    start = network.now
    alice.send("OPTIONS", f"sip:{DOMAIN}")
    proxy.machine.receive(b"garbage", alice.path._replace(local=PROXY, remote=alice.local), start)
    network.run_for(1.0)
    garbage, request, response = proxy.machine.recorder.messages()
    assert garbage.data == b"garbage"
    assert request.data.startswith(b"OPTIONS")
    assert response.data.startswith(b"SIP/2.0 200")
    assert [each.is_sent for each in (garbage, request, response)] == [False, False, True]
    assert start < request.time == response.time <= network.now
    assert request.path.remote == alice.local
