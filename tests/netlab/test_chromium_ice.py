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

# A connection whose candidates wait in `found` until they are taken, each told as it comes.  The
# other side says when to begin: what is sent in the moment in which Chromium announces a channel
# that the other side made may be lost.
BEGIN = """
(() => {
  const connection = new RTCPeerConnection();
  globalThis.connection = connection;
  globalThis.found = [];
  globalThis.received = [];
  connection.onicecandidate = ({candidate}) => found.push(candidate ? candidate.candidate : "");
  globalThis.use = (channel) => {
    globalThis.channel = channel;
    const start = () => {
      for (let i = 0; i < COUNT; i++) channel.send(`message ${i}`);
    };
    channel.onmessage = ({data}) => data === "begin" ? start() : received.push(data);
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
            with peer_on(network.server) as peer:
                meet(browser, peer, browser_offers=browser_offers)


def meet(browser: Chromium, peer: Peer, *, browser_offers: bool) -> None:
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
    names = [each.split(" ")[4] for each in told if ".local " in each]
    assert names
    for address in (SERVER, SERVER_IPV6, CLIENT, CLIENT_IPV6):
        assert address not in "".join((sdp, *told))
    browser.until(f"received.length === {MESSAGES}")
    assert browser.evaluate("received") == [f"message {n}" for n in range(MESSAGES)]
    for name in names:
        peer.tell(resolve=name)
        assert peer.hear("host") in (CLIENT, CLIENT_IPV6)
    peer.tell(report=True)
    report = cast("dict[str, object]", peer.hear("report"))
    assert report["controlling"] is not browser_offers, report
    browser.evaluate("connection.close()")
