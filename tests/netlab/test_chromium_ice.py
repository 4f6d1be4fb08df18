"""Chromium and aiortc on our ICE agent, on two hosts of one link: mDNS names and trickling."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pytest

from tests.netlab.namespaces import Host, Lab
from tests.netlab.world import CLIENT, CLIENT_IPV6, SERVER, SERVER_IPV6, client_and_server
from tests.peering.chromium import Chromium, chromium
from tests.peering.process import PeerFailed

pytestmark = [
    pytest.mark.netns,
    pytest.mark.browser,
    pytest.mark.peer("chromium", "iproute2", "aioice", "aiortc"),
]

PEER = Path(__file__).with_name("webrtc_peer.py")
MESSAGES = 100

# A connection whose candidates wait in `found` until they are taken, each told as it comes.
BEGIN = """
(() => {
  const connection = new RTCPeerConnection();
  globalThis.connection = connection;
  globalThis.found = [];
  globalThis.received = [];
  connection.onicecandidate = ({candidate}) => found.push(candidate ? candidate.candidate : "");
  globalThis.use = (channel) => {
    globalThis.channel = channel;
    channel.onmessage = ({data}) => received.push(data);
    const start = () => {
      for (let i = 0; i < COUNT; i++) channel.send(`message ${i}`);
    };
    if (channel.readyState === "open") start(); else channel.onopen = start;
  };
  connection.ondatachannel = ({channel}) => use(channel);
})()
""".replace("COUNT", str(MESSAGES))
OFFER = """
(async () => {
  use(connection.createDataChannel("echo"));
  await connection.setLocalDescription();
  return connection.localDescription.sdp;
})()
"""
TAKE_ANSWER = "connection.setRemoteDescription({type: 'answer', sdp: %s})"
ANSWER = """
(async (sdp) => {
  await connection.setRemoteDescription({type: "offer", sdp});
  await connection.setLocalDescription();
  return connection.localDescription.sdp;
})(%s)
"""


ATTEMPTS = 5
MEETING_LIMIT = 8.0


class Peer:
    """The other endpoint's process."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin = stdin
        self._stdout = stdout

    def tell(self, **command: object) -> None:
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()

    def hear(self, what: str) -> object:
        while line := self._stdout.readline():
            values = cast("dict[str, object]", json.loads(line))
            if what in values:
                return values[what]
        raise PeerFailed(f"the endpoint ended before it told its {what}")


@contextmanager
def peer_on(host: Host) -> Iterator[Peer]:
    with subprocess.Popen(
        [*host.prefix, sys.executable, "-m", "tests.netlab.webrtc_peer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PEER.parent.parent.parent,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        peer = Peer(process.stdin, process.stdout)
        peer.hear("ready")
        try:
            yield peer
        finally:
            process.stdin.close()


def trickle(browser: Chromium, peer: Peer) -> list[str]:
    """Every candidate of the browser, told one by one as it has them; the end too."""
    told: list[str] = []
    while "" not in told:
        browser.until("found.length > 0")
        for candidate in cast("list[str]", browser.evaluate("found.splice(0)")):
            told.append(candidate)
            peer.tell(candidate=candidate)
    return told


def test_data_channels_open_by_names_that_only_the_link_resolves_whoever_offers(lab: Lab) -> None:
    """The browser's names by our multicast DNS, and ours by the browser's."""
    network = client_and_server(lab)
    # A page that may not use the microphone is shown the way to the internet alone.
    network.client.configure("route", "add", "default", "via", SERVER)
    network.client.configure("-6", "route", "add", "default", "via", SERVER_IPV6)
    with chromium(network.client.prefix) as browser:
        for browser_offers in (True, False):
            # Chromium asks for a name once, and a busy machine may lose the question or the answer.
            assert any(
                met(network.server, browser, browser_offers=browser_offers) for _ in range(ATTEMPTS)
            )


def met(host: Host, browser: Chromium, *, browser_offers: bool) -> bool:
    """Whether the browser and a new endpoint on the host meet, and all is as it should be."""
    with peer_on(host) as peer:
        return meet(browser, peer, browser_offers=browser_offers)


def meet(browser: Chromium, peer: Peer, *, browser_offers: bool) -> bool:
    browser.evaluate(BEGIN)
    if browser_offers:
        offer = browser.evaluate(OFFER)
        assert "a=candidate" not in str(offer)
        peer.tell(offer=offer)
        sdp = str(peer.hear("sdp"))
        browser.evaluate(TAKE_ANSWER % json.dumps(sdp))
    else:
        peer.tell(make_offer=True)
        sdp = str(peer.hear("sdp"))
        peer.tell(answer=browser.evaluate(ANSWER % json.dumps(sdp)))
    assert ".local " in sdp
    told = trickle(browser, peer)
    assert any(".local " in each for each in told)
    for address in (SERVER, SERVER_IPV6, CLIENT, CLIENT_IPV6):
        assert address not in "".join((sdp, *told))
    if not browser.comes_true(f"received.length === {MESSAGES}", MEETING_LIMIT):
        browser.evaluate("connection.close()")
        return False
    assert browser.evaluate("received") == [f"message {n}" for n in range(MESSAGES)]
    peer.tell(report=True)
    report = cast("dict[str, object]", peer.hear("report"))
    assert report["controlling"] is not browser_offers, report
    browser.evaluate("connection.close()")
    return True
