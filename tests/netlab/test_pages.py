"""The pages in a browser: the status page with live sessions, and the connectivity test."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.certificates import Authority, Issued
from tests.netlab.namespaces import Lab
from tests.netlab.test_chromium import RELAY
from tests.netlab.world import CLIENT, SERVER, ClientAndServer, client_and_server
from tests.peering.chromium import Chromium, chromium
from tests.stun_server.process import PASSWORD, USER, StunServerProcess

pytestmark = [
    pytest.mark.netns,
    pytest.mark.browser,
    pytest.mark.peer("chromium", "iproute2"),
    pytest.mark.timeout(240),
]

NAME = "turn.example.org"
TOKEN = "0123456789abcdef0123"
SECRET = "the secret of the credentials"
PAGES = f"http://{SERVER}:8080"
CONFIGURATION = f"""
[users]
secrets = ["{SECRET}"]
[admin]
listen = "{SERVER}:8080"
token = "{TOKEN}"
public = "{SERVER}:8081"
"""
WIDTHS = (360, 1400)
STUN = f"stun:{SERVER}:3478"
UDP = f"turn:{SERVER}:3478?transport=udp"
TCP = f"turn:{SERVER}:3478?transport=tcp"
TLS = f"turns:{NAME}:5349?transport=tcp"


@contextmanager
def serving(
    network: ClientAndServer, directory: Path, configuration: str = CONFIGURATION
) -> Iterator[tuple[StunServerProcess, Issued]]:
    """A server on UDP, TCP and TLS, with its pages."""
    issued = Authority(directory).issue(NAME)
    file = directory / "server.toml"
    file.write_text(configuration)
    with network.serve(
        directory,
        *("--config", str(file), "--listen", f"{SERVER}:3478", "--listen", f"tls:{SERVER}:5349"),
        *("--certificate", str(issued.chain), "--key", str(issued.key)),
    ) as server:
        yield server, issued


@contextmanager
def visitor(network: ClientAndServer, issued: Issued | None = None) -> Iterator[Chromium]:
    """A browser on the client; with a certificate, one that trusts it and knows its name."""
    flags: tuple[str, ...] = ()
    if issued is not None:
        public_key = issued.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        digest = base64.b64encode(hashlib.sha256(public_key).digest()).decode()
        flags = (
            f"--ignore-certificate-errors-spki-list={digest}",
            f"--host-resolver-rules=MAP {NAME} {SERVER}",
        )
    with chromium(network.client.prefix, *flags) as browser:
        yield browser


def sign_in(browser: Chromium) -> None:
    browser.open(f"{PAGES}/")
    browser.until("location.pathname === '/sign-in'")
    browser.type(TOKEN)
    browser.press("Enter")
    browser.until("location.pathname === '/' && document.querySelector('#phase')")


def fits(browser: Chromium) -> bool:
    """Whether nothing is wider than the screen, and nothing is cut."""
    return bool(
        browser.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def relay(browser: Chromium) -> None:
    """Have a page keep two sessions, with data between them."""
    state = browser.evaluate(RELAY % [f"turn:{SERVER}:3478", USER, PASSWORD])
    assert state == "open"


def run_test(browser: Chromium, url: str) -> dict[str, tuple[str, str]]:
    """Run the connectivity test; for each URI the mark and what is said."""
    browser.open(url)
    browser.evaluate("document.querySelector('#start').focus()")
    browser.press("Enter")
    browser.until("document.querySelector('#start').textContent === 'Test again'", 150)
    found = browser.evaluate(
        "[...document.querySelectorAll('#tests > li')].map((each) => ["
        "each.querySelector('.where').textContent, "
        "[each.querySelector('.mark').className, each.querySelector('.said').textContent]])"
    )
    return {
        title: (mark, said) for title, (mark, said) in cast("list[tuple[str, list[str]]]", found)
    }


def verdict(browser: Chromium) -> str:
    return str(browser.evaluate("document.querySelector('#verdict').textContent"))


def test_the_status_page_shows_what_lives_and_ends_it_by_keyboard_alone(
    lab: Lab, tmp_path: Path
) -> None:
    network = client_and_server(lab)
    with (
        serving(network, tmp_path) as (server, _),
        visitor(network) as caller,
        visitor(network) as browser,
    ):
        relay(caller)
        sign_in(browser)
        browser.until("document.querySelectorAll('#rows tr').length === 2")
        browser.until("document.querySelector('#sessions').textContent === '2'")
        for width in WIDTHS:
            for dark in (False, True):
                browser.view(width, 800, dark=dark)
                assert fits(browser), width
        assert "UDP" in browser.text()
        assert USER in browser.text()
        # Live traffic, before any session has ended.
        browser.until("parseFloat(document.querySelector('#to-peers').textContent) > 0", 20)

        browser.evaluate("document.querySelector('#rows button').focus()")
        browser.press("Enter")
        browser.until("document.querySelector('#ask').open")
        browser.press("Escape")
        browser.until("!document.querySelector('#ask').open")
        assert not server.lines("allocation closed")
        browser.evaluate("document.querySelector('#rows button').focus()")
        browser.press("Enter")
        browser.until("document.querySelector('#ask').open")
        browser.press("Tab")
        browser.press("Enter")
        browser.until("document.querySelectorAll('#rows tr').length === 1")
        server.wait_until(lambda: server.lines("allocation closed"))

        assert browser.problems == []
        assert TOKEN not in server.log
        assert SECRET not in server.log


def test_a_visitor_sees_each_way_work_and_what_it_took_and_all_ends_with_the_test(
    lab: Lab, tmp_path: Path
) -> None:
    network = client_and_server(lab)
    with serving(network, tmp_path) as (server, issued), visitor(network, issued) as browser:
        found = run_test(browser, f"http://{SERVER}:8081/test")
        assert list(found) == [STUN, UDP, TCP, TLS], found
        assert {mark for mark, _ in found.values()} == {"mark good"}, found
        assert verdict(browser) == "Everything works"
        assert f"The server sees you as {CLIENT}:" in found[STUN][1]
        for way in (UDP, TCP, TLS):
            said = found[way][1]
            assert re.search(r"all 50 messages came back, in [\d.]+ ms", said)
        for width in WIDTHS:
            browser.view(width, 800)
            assert fits(browser), width
        assert browser.problems == []
        # A browser may try TLS from several of its addresses at once, so their number is its own.
        opened = server.lines("allocation opened")
        server.wait_until(lambda: len(server.lines("allocation closed")) == len(opened))
        assert {line["transport"] for line in opened} == {"udp", "tcp", "tls"}
        assert {line["user"] for line in opened} == {"connectivity-test"}
        assert SECRET not in server.log


def test_what_is_blocked_is_explained_and_the_rest_still_works(lab: Lab, tmp_path: Path) -> None:
    network = client_and_server(lab)
    # Nobody listens on the discard port, and nobody vouches for the certificate.
    closed = {way: f"turn:{SERVER}:9?transport={way}" for way in ("udp", "tcp")}
    untrusted = f"turns:{SERVER}:5349?transport=tcp"
    uris = [closed["udp"], closed["tcp"], untrusted, TCP]
    told = f"{CONFIGURATION}[credentials]\nuris = {json.dumps(uris)}\n"
    with serving(network, tmp_path, told), visitor(network) as browser:
        found = run_test(browser, f"http://{SERVER}:8081/")
        assert [mark for mark, _ in found.values()] == [*["mark bad"] * 3, "mark good"], found
        assert "let no UDP through" in found[closed["udp"]][1]
        assert "may block port 9" in found[closed["tcp"]][1]
        assert "certificate" in found[untrusted][1]
        assert verdict(browser) == "The relay works over TCP"


def test_without_a_secret_the_page_says_what_to_configure(lab: Lab, tmp_path: Path) -> None:
    network = client_and_server(lab)
    without = CONFIGURATION.replace(f'"{SECRET}"', "")
    with serving(network, tmp_path, without), visitor(network) as browser:
        assert run_test(browser, f"http://{SERVER}:8081/") == {}
        assert verdict(browser) == "The server is not set up for this test"
        assert "secret add" in browser.text()
