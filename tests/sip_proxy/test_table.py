"""The bindings in memory: how many there may be, and how much they take."""

import gc
import tracemalloc

from natkit.address import Address
from natkit.machine import Path, Transport
from sip_proxy.location import Accepted, BindingTable, ContactChange, Refused, Registration
from tests.conftest import Sized

NOW = 1_700_000_000.0


def registration(number: int, expires: int = 60) -> Registration:
    return Registration((ContactChange("sip:a@192.0.2.10", expires, 1000),), "1", number)


def test_the_table_is_bounded_and_has_room_again_when_somebody_leaves() -> None:
    table = BindingTable(largest_count=2)
    for name in ("sip:a@example.org", "sip:b@example.org"):
        assert isinstance(table.update(name, registration(1), NOW), Accepted)
    refused = table.update("sip:c@example.org", registration(1), NOW)
    assert isinstance(refused, Refused)
    assert refused.status == 503
    # Those who are there renew, and leave.
    assert isinstance(table.update("sip:a@example.org", registration(2), NOW), Accepted)
    assert isinstance(table.update("sip:a@example.org", registration(3, 0), NOW), Accepted)
    assert isinstance(table.update("sip:c@example.org", registration(1), NOW), Accepted)
    assert len(table) == 2


def test_what_has_expired_makes_room() -> None:
    table = BindingTable(largest_count=1)
    table.update("sip:a@example.org", registration(1), NOW)
    table.forget_expired(NOW + 60)
    assert isinstance(table.update("sip:b@example.org", registration(1), NOW + 60), Accepted)


def test_a_binding_takes_less_than_two_kilobytes(sized: Sized) -> None:
    count = sized(quick=2_000, full=100_000)
    table = BindingTable()

    def register(number: int) -> None:
        host = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        instance = f"<urn:uuid:00000000-0000-1000-8000-{number:012}>"
        change = ContactChange(f"sip:user{number}@{host};transport=tcp", 3600, 1000, instance, 1)
        flow = Path(Transport.TCP, Address("192.0.2.1", 5060), Address(host, 40_000))
        path = (f"sip:{number:050}@192.0.2.1;transport=tcp;lr;ob",)
        asked = Registration((change,), f"{number:032x}@{host}", 1, path, flow, f"Phone {number}")
        table.update(f"sip:user{number}@example.org", asked, NOW)

    register(0)
    tracemalloc.start()
    try:
        for number in range(1, count + 1):
            register(number)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == count + 1
    assert size / count < 2_000
