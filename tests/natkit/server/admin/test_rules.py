"""Who may ask for what: hosts, origins, what changes something, tokens, cookies."""

import pytest

from natkit.address import Address
from natkit.server.admin.rules import Rules, is_loopback
from natkit.server.admin.sessions import LIFETIME, Sessions

TOKEN = "0123456789abcdef"
RULES = Rules(TOKEN, frozenset({"turn.example.org"}))
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9000",
        "127.0.0.1",
        "[::1]:9000",
        "[2001:db8::1]",
        "192.0.2.7:80",
        "localhost:9000",
        "LOCALHOST",
        "turn.example.org",
        "Turn.Example.Org.:9000",
    ],
)
def test_addresses_and_known_names_are_answered(host: str) -> None:
    assert RULES.knows_host(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example:9000",
        "turn.example.org.evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:x",
        "[::1",
        "127.0.0.1@evil.example",
        "2130706433",
    ],
)
def test_a_name_that_was_made_to_point_here_is_not(host: str | None) -> None:
    assert not RULES.knows_host(host)


def test_any_name_will_do_where_nothing_is_worth_a_rebinding() -> None:
    assert Rules(None, None).knows_host("evil.example")
    assert not Rules(None, None).knows_host("evil.example:x")


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        (None, "127.0.0.1:9000", False),
        ("http://127.0.0.1:9000", "127.0.0.1:9000", False),
        ("HTTP://LOCALHOST:9000", "localhost:9000", False),
        ("https://turn.example.org", "turn.example.org", True),
        # By way of a proxy that speaks HTTPS.
        ("https://turn.example.org", "turn.example.org", False),
    ],
)
def test_pages_of_the_listener_are_its_own(origin: str | None, host: str, secure: bool) -> None:
    assert Rules(TOKEN, secure=secure).is_own_origin(origin, host)


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "ws://127.0.0.1:9000", "http://127.0.0.1:9001"],
)
def test_pages_of_others_are_not(origin: str) -> None:
    assert not RULES.is_own_origin(origin, "127.0.0.1:9000")


def test_a_page_that_came_in_the_clear_is_not_one_of_an_https_listener() -> None:
    assert not Rules(TOKEN, secure=True).is_own_origin("http://127.0.0.1:9000", "127.0.0.1:9000")


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({"Content-Type": "application/json"}, True),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, True),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, False),
        ({"Content-Type": "text/plain"}, False),
        ({"Content-Type": "application/x-www-form-urlencoded"}, False),
        ({"Content-Type": "multipart/form-data"}, False),
        ({}, False),
    ],
)
def test_what_a_form_of_another_site_can_send_changes_nothing(
    headers: dict[str, str], may: bool
) -> None:
    assert RULES.may_change(headers) is may


@pytest.mark.parametrize(
    ("header", "verdict"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        ("Bearer wrong", False),
        ("Bearer ", False),
        (f"Bearer {TOKEN}x", False),
        (f"Basic {TOKEN}", None),
        (TOKEN, None),
        (None, None),
        ("Bearer schlüssel", False),
    ],
)
def test_a_token_is_borne_or_not(header: str | None, verdict: bool | None) -> None:
    assert RULES.bears_token(header) is verdict


def test_without_a_token_none_is_right() -> None:
    assert not Rules(None).is_token("")
    assert not Rules(None).is_token("None")


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_a_wildcard_is_not_loopback(host: str, near: bool) -> None:
    assert is_loopback(Address.of(host, 1)) is near


def test_a_cookie_is_good_until_it_runs_out_and_only_where_it_was_made() -> None:
    sessions, others = Sessions(bytes(32)), Sessions(b"\x01" * 32)
    cookie = sessions.issue(NOW)
    assert sessions.is_valid(cookie, NOW + LIFETIME - 1)
    assert not sessions.is_valid(cookie, NOW + LIFETIME)
    assert not others.is_valid(cookie, NOW)


@pytest.mark.parametrize("forged", [None, "", ".", "9999999999", "9999999999.", "x.y", "²³.a"])
def test_a_cookie_cannot_be_made_up(forged: str | None) -> None:
    assert not Sessions(bytes(32)).is_valid(forged, NOW)


def test_the_end_of_a_cookie_cannot_be_moved() -> None:
    sessions = Sessions(bytes(32))
    until, _, mac = sessions.issue(NOW).partition(".")
    assert not sessions.is_valid(f"{int(until) + 1}.{mac}", NOW)
    assert not sessions.is_valid(f"0{until}.{mac}", NOW)
