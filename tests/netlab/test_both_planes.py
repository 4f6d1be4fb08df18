"""The same story told to a server on each plane: its answers and its figures are the same.

Data that passes, and data that does not, for each reason that there is; a time that ends, quotas
that are reached, peers that are denied.  An operator cannot tell the planes apart, nor a client.
"""

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.relay.rates import SMALLEST_BURST
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    Icmp,
    RequestedTransport,
    Software,
    XorMappedAddress,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import IPV4, IPV6, LISTENERS, PEERS, inside
from tests.netlab.relay_hosts import LISTEN, RELAY_CONFIG, RelayHosts, datagrams, relay_hosts
from tests.netlab.relay_pair import CHANNEL, Pair, shorter_lives
from tests.stun_server.by_hand import HandClient, code_of
from tests.stun_server.process import LIMIT, StunServerProcess, stun_server
from tests.stun_server.test_icmp import PORT_UNREACHABLE
from tests.stun_server.test_operating import command, state

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

LIFETIME = 4.0
"""Seconds that channels and permissions live."""
SOON = 0.5
"""Seconds in which data arrives that is not dropped."""
QUOTA = 5
TIMES = 5
DENIED = PEERS[IPV4][1]
CONFIG = f"""{RELAY_CONFIG}
[policy]
allow_peer = ["0.0.0.0/0", "::/0"]
deny_peer = ["{DENIED}"]
[limits]
allocations_per_user = {QUOTA}
bandwidth_per_user = 1
"""
SHOWN = (
    *("phase", "sessions", "allocations", "relayed", "bindings", "refusals", "peers_refused"),
    *("dropped", "counts"),
)

UNLIKE = ("timestamp", "plane", "plane_reason", "store", "session", "relayed", "after", "seconds")
"""What no two servers log alike."""


@pytest.fixture(name="hosts")
def three_hosts() -> Iterator[RelayHosts]:
    with relay_hosts() as hosts:
        yield hosts


@dataclass(frozen=True, slots=True)
class Told:
    """What clients were answered, what passed, and what the operator is shown in the end."""

    heard: Sequence[object]
    passed_late: Sequence[bool]
    passed_over_rate: int
    status: Mapping[str, object]
    log: Counter[str]
    received: int
    """What the server's sockets did, of either plane."""


def story(hosts: RelayHosts, plane: str, directory: Path) -> Told:
    """Tell it to a server that relays so."""
    directory.mkdir()
    config = directory / "config.toml"
    config.write_text(CONFIG)
    flags = ("--config", str(config), "--relay-plane", plane, *LISTEN)
    before = datagrams(hosts.server)
    with (
        stun_server(directory, *flags, prefix=hosts.server.prefix) as server,
        ExitStack() as stack,
    ):
        heard: list[object] = [_bindings(hosts)]
        pairs = [Pair(hosts, stack, number, IPV4, each) for number, each in enumerate((IPV4, IPV6))]
        with_dead_peer = Pair(hosts, stack, len(pairs))
        heard += [_refusals(hosts, pairs[0], stack), _hears_of_closed_port(with_dead_peer)]
        for pair in pairs:
            pair.bind()
            pair.exchange(b"passes")
            _throw_what_is_dropped(hosts, pair, stack)
        late = _passes_after_its_time(pairs)
        pairs[0].bind()
        over_rate = _passes_of_twice_the_burst(pairs[0])
        shown = command("status", "--json", *state(directory))
        assert shown.returncode == 0, shown.stderr
        status = json.loads(shown.stdout)["status"]
        assert status["plane"] == plane
    received = datagrams(hosts.server) - before
    shown_alike = {name: status[name] for name in SHOWN}
    return Told(heard, late, over_rate, shown_alike, _events(server), received)


def _bindings(hosts: RelayHosts) -> list[object]:
    """Plain requests, and others, of both families."""
    heard: list[object] = []
    for family in (IPV4, IPV6):
        with inside(hosts.left):
            client = HandClient(Address(LISTENERS[family], 3478), 52_000)
        for attributes in [()] * TIMES + [(Software("a client"),)]:
            request = Message.request(Method.BINDING, bytes(range(12)), *attributes)
            client.throw(request.encode())
            answer = Message.parse(client.hear())
            heard.append((answer.method, answer.attributes, answer.get(XorMappedAddress)))
        client.close()
    return heard


def _refusals(hosts: RelayHosts, pair: Pair, stack: ExitStack) -> list[int | None]:
    """What a policy or a quota has against."""
    denied = XorPeerAddress(Address(DENIED, 9))
    client = pair.client
    heard = [
        code_of(client.request(Method.CREATE_PERMISSION, denied)),
        code_of(client.request(Method.CHANNEL_BIND, ChannelNumber(CHANNEL + 1), denied)),
        code_of(client.request(Method.CHANNEL_BIND, ChannelNumber(CHANNEL), denied)),
        code_of(client.request(Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL))),
    ]
    for number in range(QUOTA):
        with inside(hosts.left):
            other = HandClient(Address(LISTENERS[IPV4], 3478), 53_000 + number)
        stack.callback(other.close)
        heard.append(code_of(other.request(Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL))))
    return heard


def _throw_what_is_dropped(hosts: RelayHosts, pair: Pair, stack: ExitStack) -> None:
    """Data that must not pass, for one reason each."""
    client = pair.client
    for _ in range(TIMES):
        client.throw(ChannelData(CHANNEL + 7, b"no channel").encode(padded=False))
        client.throw(ChannelData(CHANNEL, b"shorter than it says").encode(padded=False)[:-3])
        nobody = (XorPeerAddress(Address(DENIED, 9)), Data(b"no permission"))
        client.throw(Message.indication(Method.SEND, bytes(12), *nobody).encode())
    with inside(hosts.left):
        stranger = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    for _ in range(TIMES):
        data = ChannelData(CHANNEL, b"no allocation").encode(padded=False)
        stranger.sendto(data, (LISTENERS[IPV4], 3478))
    family = IPV6 if ":" in pair.relayed.host else IPV4
    with inside(hosts.right):
        stranger = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    stranger.bind((PEERS[family][1], 0))
    for _ in range(TIMES):
        stranger.sendto(b"no permission", pair.relayed)
    # All of it has been treated when this is answered.
    assert code_of(client.request(Method.REFRESH)) is None


def _hears_of_closed_port(pair: Pair) -> Icmp | None:
    """What the peer's host says is told to the client (RFC 8656 §11.5)."""
    pair.exchange(b"passes")
    pair.peers[0].close()
    pair.throw(b"nobody is there")
    return Message.parse(pair.client.hear()).get(Icmp)


def _passes_after_its_time(pairs: Sequence[Pair]) -> list[bool]:
    """Whether channels and permissions last longer than they live, either way."""
    last = pairs[-1].client
    last.socket.settimeout(LIFETIME + SOON)
    # Nobody says anything meanwhile.
    with pytest.raises(TimeoutError):
        last.hear()
    found = []
    for pair in pairs:
        found.append(pair.passes(SOON))
        pair.throw_back(b"too late")
        pair.client.socket.settimeout(SOON)
        try:
            found.append(bool(pair.client.hear()))
        except TimeoutError:
            found.append(False)
        pair.client.socket.settimeout(LIMIT)
    return found


def _passes_of_twice_the_burst(pair: Pair) -> int:
    """With next to nothing a second after that."""
    for _ in range(2 * SMALLEST_BURST // 1024):
        pair.throw(bytes(1024))
    assert code_of(pair.client.request(Method.REFRESH)) is None
    passed = 0
    peer = pair.peers[0]
    peer.settimeout(SOON)
    with contextlib.suppress(TimeoutError):
        while True:
            passed += len(peer.recv(2000)) == 1024
    return passed


def _events(server: StunServerProcess) -> Counter[str]:
    """The log's lines but for what tells servers apart."""
    lines = map(json.loads, server.log.splitlines())
    told = Counter[str]()
    for line in lines:
        for name in UNLIKE:
            line.pop(name, None)
        told[json.dumps(line, sort_keys=True)] += 1
    return told


@pytest.mark.timeout(240)
def test_an_operator_and_a_client_cannot_tell_the_planes_apart(
    hosts: RelayHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StunServerProcess, "prelude", shorter_lives(LIFETIME))
    one, other = (story(hosts, plane, tmp_path / plane) for plane in ("userspace", "kernel"))
    print(one.status)
    assert one.heard == other.heard
    assert one.status == other.status
    assert one.log == other.log
    assert one.heard[-1] == PORT_UNREACHABLE
    assert list(one.passed_late) == list(other.passed_late) == [False] * 4
    assert 0 < one.passed_over_rate == other.passed_over_rate < 2 * SMALLEST_BURST // 1024
    # All that came is user space's, or else the smaller part of it.
    assert other.received < one.received / 2
