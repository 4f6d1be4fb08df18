"""Policies in a file of a running ``sip-proxy``."""

import signal
from pathlib import Path

from natkit.machine import Transport
from tests.sip_proxy.shell.world import agent
from tests.sip_proxy.test_serving import anybody, command
from tests.sip_proxy.watched import WatchedProxy, watched_proxy

POLICY = """
from sip_proxy.hooks import Answer, Hooks

class Policy(Hooks):
    async def on_request(self, asked):
        if asked.request.uri_text == "sip:broken@example.org":
            raise LookupError("no such table")
        return Answer(STATUS)

hooks = Policy()
"""


async def asked(proxy: WatchedProxy, user: str) -> int:
    """The status that a request for a user gets."""
    async with agent("alice", Transport.UDP, proxy.address) as phone:
        return (await phone.send("MESSAGE", f"sip:{user}@example.org").final()).status


async def test_a_file_decides_fails_its_request_alone_and_is_read_anew(tmp_path: Path) -> None:
    policy = tmp_path / "policy.py"
    policy.write_text(POLICY.replace("STATUS", "603"))
    file = anybody(tmp_path, f'[hooks]\nfile = "{policy}"\n')
    with watched_proxy(tmp_path, "--config", file) as proxy:
        assert await asked(proxy, "bob") == 603
        assert await asked(proxy, "broken") == 500
        proxy.wait_until(lambda: proxy.lines("hook failed"))
        (line,) = proxy.lines("hook failed")
        assert (line["point"], line["reason"]) == ("request", "LookupError: no such table")
        assert await asked(proxy, "bob") == 603
        policy.write_text(POLICY.replace("STATUS", "486"))
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_until(lambda: proxy.lines("reloaded"))
        assert await asked(proxy, "bob") == 486


def test_a_file_that_cannot_be_loaded_is_one_line_and_status_2(tmp_path: Path) -> None:
    policy = tmp_path / "policy.py"
    policy.write_text("hooks = (")
    done = command("--check-config", "--config", anybody(tmp_path, f'[hooks]\nfile = "{policy}"\n'))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {policy}: SyntaxError: ")
    assert len(done.stderr.splitlines()) == 1
