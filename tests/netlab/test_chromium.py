"""Chromium and our server on two hosts; a browser gathers nothing from loopback."""

from pathlib import Path

import pytest

from tests.netlab.namespaces import Lab
from tests.netlab.relay_hosts import datagrams
from tests.netlab.world import SERVER, SERVER_IPV6, client_and_server
from tests.peering.chromium import chromium
from tests.stun_server.process import PASSWORD, PLANE, USER

pytestmark = [
    pytest.mark.netns,
    pytest.mark.browser,
    pytest.mark.peer("chromium", "iproute2", "libbpf"),
]

BOTH = (SERVER, f"[{SERVER_IPV6}]")
MESSAGES = 100

# Two connections of one page, whose only way to each other is the relay.  What is echoed must be
# all that was sent, in order; the candidates are those that each side told the other.
ECHO = """
(async ([url, username, credential, count]) => {
  const configuration = {
    iceServers: [{urls: url, username, credential}], iceTransportPolicy: "relay",
  };
  const one = new RTCPeerConnection(configuration), other = new RTCPeerConnection(configuration);
  const candidates = [], errors = [];
  for (const [from, to] of [[one, other], [other, one]]) {
    from.onicecandidate = ({candidate}) => {
      if (candidate && candidate.candidate) candidates.push(candidate.type);
      if (candidate) to.addIceCandidate(candidate);
    };
    from.onicecandidateerror = (event) => errors.push(`${event.errorCode} ${event.errorText}`);
  }
  other.ondatachannel = ({channel}) => {
    channel.onmessage = ({data}) => channel.send(data);
  };
  const echoed = new Promise((resolve) => {
    const channel = one.createDataChannel("echo"), received = [];
    channel.onopen = () => { for (let i = 0; i < count; i++) channel.send(`message ${i}`); };
    channel.onmessage = ({data}) => {
      received.push(data);
      if (received.length === count) resolve(received);
    };
  });
  await one.setLocalDescription();
  await other.setRemoteDescription(one.localDescription);
  await other.setLocalDescription();
  await one.setRemoteDescription(other.localDescription);
  const limit = new Promise((resolve) => setTimeout(resolve, 30000, null));
  const received = await Promise.race([echoed, limit]);
  const state = one.iceConnectionState;
  one.close();
  other.close();
  return {received, candidates, errors, state};
})(%s)
"""

# The same, but the connections stay, and data goes round for as long as the page is open.
RELAY = """
(async ([url, username, credential]) => {
  const configuration = {
    iceServers: [{urls: url, username, credential}], iceTransportPolicy: "relay",
  };
  const one = new RTCPeerConnection(configuration), other = new RTCPeerConnection(configuration);
  globalThis.kept = [one, other];
  for (const [from, to] of [[one, other], [other, one]]) {
    from.onicecandidate = ({candidate}) => { if (candidate) to.addIceCandidate(candidate); };
  }
  other.ondatachannel = ({channel}) => {
    channel.onmessage = ({data}) => channel.send(data);
  };
  const channel = one.createDataChannel("echo");
  const opened = new Promise((resolve) => { channel.onopen = () => resolve("open"); });
  await one.setLocalDescription();
  await other.setRemoteDescription(one.localDescription);
  await other.setLocalDescription();
  await one.setRemoteDescription(other.localDescription);
  const state = await Promise.race([opened, new Promise((resolve) => setTimeout(resolve, 30000))]);
  setInterval(() => { if (channel.readyState === "open") channel.send("x".repeat(500)); }, 50);
  return state;
})(%s)
"""

REFUSED = """
(([url, username]) => new Promise((resolve) => {
  const connection = new RTCPeerConnection({
    iceServers: [{urls: url, username, credential: "wrong"}], iceTransportPolicy: "relay",
  });
  connection.onicecandidateerror = ({errorCode}) => resolve(errorCode);
  connection.createDataChannel("none");
  connection.setLocalDescription();
}))(%s)
"""


@pytest.mark.parametrize(
    ("host", "transport", "plane"),
    [
        *((host, transport, PLANE) for host in BOTH for transport in ("udp", "tcp")),
        (SERVER, "udp", "kernel"),
    ],
)
def test_a_relay_only_data_channel_opens_and_echoes(
    lab: Lab, tmp_path: Path, host: str, transport: str, plane: str
) -> None:
    network = client_and_server(lab)
    # Chromium asks for no family, and so for a relayed address of IPv4 (RFC 8656 §7.2).
    listen = [flag for each in BOTH for flag in ("--listen", f"{each}:3478")]
    with (
        network.serve(tmp_path, *listen, "--relay-plane", plane) as server,
        chromium(network.client.prefix) as browser,
    ):
        before = datagrams(network.server)
        uri = f"turn:{host}:3478?transport={transport}"
        found = browser.evaluate(ECHO % [uri, USER, PASSWORD, MESSAGES])
        assert isinstance(found, dict)
        assert found["received"] == [f"message {number}" for number in range(MESSAGES)], found
        assert set(found["candidates"]) == {"relay"}
        opened = server.lines("allocation opened")
        assert [line["transport"] for line in opened] == [transport] * 2
        if (plane, transport) == ("kernel", "udp"):
            # Besides what was said to the server itself, one datagram a message at least.
            assert datagrams(network.server) - before < MESSAGES


def test_a_wrong_password_is_told_to_the_page_and_opens_nothing(lab: Lab, tmp_path: Path) -> None:
    network = client_and_server(lab)
    with (
        network.serve(tmp_path, "--listen", f"{SERVER}:3478") as server,
        chromium(network.client.prefix) as browser,
    ):
        error = browser.evaluate(REFUSED % [f"turn:{SERVER}:3478", USER])
        assert error == 401
        assert not server.lines("allocation opened")
