"""Amounts as people read them."""

import pytest

from natkit.server.amounts import count, duration, size


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (123_456, "123 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (17_300_000, "17.3 MB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_sizes(octets: int, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3659, "1 h"),
        (7_512, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 400 + 59, "400 d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts() -> None:
    assert count(1_234_567) == "1,234,567"
    assert [count(number, "session") for number in (0, 1, 2_000)] == [
        "0 sessions",
        "1 session",
        "2,000 sessions",
    ]
