import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Transport
from sipdns.happy_eyeballs import connection_starts, interleaved
from sipdns.targets import RankedTarget


def targets(*hosts: tuple[str, str], transport: Transport = Transport.TLS) -> list[RankedTarget]:
    """Targets of (name, address), in the order given."""
    return [
        RankedTarget(transport, Address(address, 5061), name, "example.org", 1, 0)
        for name, address in hosts
    ]


DUAL = (
    ("a", "2001:db8::1"),
    ("a", "2001:db8::2"),
    ("a", "2001:db8::3"),
    ("a", "192.0.2.1"),
    ("b", "192.0.2.9"),
    ("b", "192.0.2.8"),
    ("b", "2001:db8::9"),
)


def hosts(found: list[RankedTarget]) -> list[str]:
    return [one.address.host for one in found]


def test_the_families_of_a_host_take_turns_and_hosts_stay_in_order() -> None:
    assert hosts(interleaved(targets(*DUAL))) == [
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
        "2001:db8::3",
        "192.0.2.9",
        "2001:db8::9",
        "192.0.2.8",
    ]


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.DTLS])
def test_without_a_connection_nothing_is_changed(transport: Transport) -> None:
    plain = targets(*DUAL, transport=transport)
    assert interleaved(plain) == plain
    with pytest.raises(MisuseError, match=f"over {transport}"):
        connection_starts(plain)


def test_attempts_start_one_delay_after_another() -> None:
    starts = connection_starts(targets(*DUAL[2:5]))
    assert [(one.target.address.host, one.after) for one in starts] == [
        ("2001:db8::3", 0.0),
        ("192.0.2.1", 0.25),
        ("192.0.2.9", 0.5),
    ]
    assert [one.after for one in connection_starts(targets(*DUAL[:2]), delay=0.1)] == [0.0, 0.1]
    assert connection_starts([]) == ()


def test_a_delay_too_short_is_refused() -> None:
    with pytest.raises(MisuseError, match="at least"):
        connection_starts(targets(*DUAL), delay=0.001)
