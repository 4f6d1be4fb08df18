"""JsSIP in two Chromiums: they register over WebSocket, call each other, and hear each other."""

import json
from pathlib import Path

import pytest

from tests.netlab.namespaces import Lab
from tests.netlab.sip_world import DOMAIN, PROXY, PROXY_FOR_BOB, WEB_PORT, home
from tests.peering import jssip
from tests.peering.chromium import Chromium, chromium

pytestmark = [
    pytest.mark.netns,
    pytest.mark.browser,
    pytest.mark.peer("chromium", "jssip", "iproute2"),
]

FLAGS = (
    "--autoplay-policy=no-user-gesture-required",
    # Its name for an address would have to cross the router by multicast.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)

# A telephone that says a tone; what happens to it is noted.
PHONE = """
(([name, domain, url, tone]) => {
  const audio = new AudioContext(), oscillator = audio.createOscillator();
  const spoken = audio.createMediaStreamDestination();
  oscillator.frequency.value = tone;
  oscillator.connect(spoken);
  oscillator.start();
  globalThis.noted = [];
  globalThis.phone = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(url)],
    uri: `sip:${name}@${domain}`,
    password: "secret",
  });
  globalThis.speak = {mediaStream: spoken.stream, pcConfig: {iceServers: []}};
  const note = (source, what, of) => source.on(what, (event) => noted.push(of(event)));
  note(phone, "registered", () => "registered");
  note(phone, "registrationFailed", ({cause}) => `not registered: ${cause}`);
  phone.on("newRTCSession", ({originator, session}) => {
    globalThis.call = session;
    note(session, "confirmed", () => "confirmed");
    note(session, "ended", ({originator}) => `ended by ${originator}`);
    note(session, "failed", ({cause, message}) => `failed: ${cause} ${message}`);
    if (originator === "remote") session.answer(speak);
  });
  phone.start();
  return true;
})(%s)
"""

# Plays what comes, for energy is counted of what is played only, until there was sound in it.
LISTEN = """
(async () => {
  const played = globalThis.played = new Audio();
  played.srcObject = new MediaStream(call.connection.getReceivers().map(({track}) => track));
  played.play();
  for (;;) {
    for (const report of (await call.connection.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.packetsReceived > 25
          && report.totalAudioEnergy > 0.001) return report.totalAudioEnergy;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
})()
"""


def start(browser: Chromium, name: str, proxy: str, tone: int) -> None:
    assert browser.evaluate(jssip.script()) is True
    arguments = [name, DOMAIN, f"ws://{proxy}:{WEB_PORT}", tone]
    browser.evaluate(PHONE % json.dumps(arguments))
    browser.until("noted.length")
    assert browser.evaluate("noted") == ["registered"]


def test_two_browsers_call_and_hear_each_other(lab: Lab, tmp_path: Path) -> None:
    # JsSIP knows MD5 alone, and takes the last challenge, which that is by default.
    with (
        home(lab, tmp_path) as at,
        chromium(at.alice.prefix, *FLAGS) as alice,
        chromium(at.bob.prefix, *FLAGS) as bob,
    ):
        start(alice, "alice", PROXY, 400)
        start(bob, "bob", PROXY_FOR_BOB, 1000)
        alice.evaluate(f"phone.call('sip:bob@{DOMAIN}', speak); true")
        for each in (alice, bob):
            each.until("noted.length > 1")
            assert each.evaluate("noted") == ["registered", "confirmed"]
        for each in (alice, bob):
            assert each.evaluate(LISTEN)
        bob.evaluate("call.terminate(); true")
        for each, whom in ((bob, "local"), (alice, "remote")):
            each.until("noted.length > 2")
            assert each.evaluate("noted") == ["registered", "confirmed", f"ended by {whom}"]
