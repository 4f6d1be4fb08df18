"""The page of sip-proxy in a browser: calls, a ladder, registrations that are removed."""

import sys
from pathlib import Path

import pytest

from tests.netlab.namespaces import Lab, run
from tests.netlab.world import SERVER, client_and_server
from tests.peering.chromium import chromium
from tests.sip_proxy.watched import WatchedProxy
from tests.sip_proxy.world import DOMAIN

pytestmark = [
    pytest.mark.netns,
    pytest.mark.browser,
    pytest.mark.peer("chromium", "iproute2"),
    pytest.mark.timeout(240),
]

TOKEN = "0123456789abcdef0123"
PAGES = f"http://{SERVER}:8080"
CONFIGURATION = f"""
domains = ["{DOMAIN}"]
[listeners]
listen = ["127.0.0.1:5060"]
[users]
authenticate = false
[admin]
listen = "{SERVER}:8080"
token = "{TOKEN}"
[[gateways]]
name = "carrier"
group = "pstn"
uri = "sip:{SERVER}:9"
"""
WIDTHS = (360, 1400)
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def test_an_operator_sees_calls_opens_a_ladder_and_removes_a_registration(
    lab: Lab, tmp_path: Path
) -> None:
    network = client_and_server(lab)
    config = tmp_path / "sip-proxy.toml"
    config.write_text(CONFIGURATION)
    proxy = WatchedProxy(
        tmp_path,
        *("--config", str(config), "--data-dir", str(tmp_path / "state"), "--log-json"),
        prefix=network.server.prefix,
    )
    try:
        proxy.wait_until(lambda: proxy.lines("ready"))
        phones = (sys.executable, "-m", "tests.netlab.sip_calls", "127.0.0.1:5060")
        refused = run(network.server, *phones).strip()
        with chromium(network.client.prefix) as browser:
            browser.open(f"{PAGES}/")
            browser.until("location.pathname === '/sign-in'")
            browser.type(TOKEN)
            browser.press("Enter")
            browser.until("document.querySelectorAll('#calls-rows tr').length === 3")
            browser.until("document.querySelectorAll('#users-rows tr').length === 3")
            text = browser.text()
            for shown in ("talking", "486", "Busy Here", "480", "carol@example.org", "carrier"):
                assert shown in text, shown
            for width in WIDTHS:
                for dark in (False, True):
                    browser.view(width, 800, dark=dark)
                    assert browser.evaluate(FITS), width

            browser.evaluate("document.querySelector('#calls-search').focus()")
            browser.type("bob")
            browser.until("document.querySelectorAll('#calls-rows tr').length === 1")
            browser.evaluate("document.querySelector('#calls-rows button').focus()")
            browser.press("Enter")
            browser.until("document.querySelectorAll('.rung').length >= 6")
            assert refused in browser.text()
            browser.evaluate("document.querySelector('.rung').focus()")
            browser.press("Enter")
            browser.until("document.querySelector('.ladder pre')?.textContent.includes('Via:')")
            for width in WIDTHS:
                browser.view(width, 800)
                assert browser.evaluate(FITS), width
            browser.click("#ladder-close")
            browser.until("document.querySelector('#ladder-card').hidden")

            browser.evaluate("document.querySelector('#users-rows button').focus()")
            browser.press("Enter")
            browser.until("document.querySelector('#ask').open")
            browser.press("Tab")
            browser.press("Enter")
            browser.until("document.querySelectorAll('#users-rows tr').length === 2")
            assert browser.problems == []
        assert proxy.stop() == 0, proxy.log
        assert TOKEN not in proxy.log
    finally:
        proxy.kill()
