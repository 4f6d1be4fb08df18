"""No spelling of a special-purpose address gets through."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from natkit.address import Address
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    RequestedAddressFamily,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.connection_events import ConnectPeer
from stun_server.events import PeerRefused, PermissionInstalled
from stun_server.policy import EVERYTHING, NOTHING, PeerPolicy, Rule
from stun_server.settings import PeerRange, PortRange
from tests.stun_server.connections import allocate_tcp, tcp_client
from tests.stun_server.world import SETTINGS, World, code

IPV4_SPECIAL = [
    ("0.0.0.0", "0.0.0.0/8"),
    ("0.0.0.1", "0.0.0.0/8"),
    ("0.255.255.255", "0.0.0.0/8"),
    ("10.0.0.0", "10.0.0.0/8"),
    ("10.255.255.255", "10.0.0.0/8"),
    ("100.64.0.0", "100.64.0.0/10"),
    ("100.127.255.255", "100.64.0.0/10"),
    ("127.0.0.1", "127.0.0.0/8"),
    ("127.255.255.254", "127.0.0.0/8"),
    ("169.254.0.1", "169.254.0.0/16"),
    ("169.254.169.254", "169.254.0.0/16"),
    ("172.16.0.1", "172.16.0.0/12"),
    ("172.31.255.255", "172.16.0.0/12"),
    ("192.0.0.1", "192.0.0.0/24"),
    ("192.0.0.9", "192.0.0.0/24"),
    ("192.0.0.170", "192.0.0.0/24"),
    ("192.0.2.1", "192.0.2.0/24"),
    ("192.31.196.1", "192.31.196.0/24"),
    ("192.52.193.1", "192.52.193.0/24"),
    ("192.88.99.1", "192.88.99.0/24"),
    ("192.168.0.1", "192.168.0.0/16"),
    ("192.168.255.255", "192.168.0.0/16"),
    ("192.175.48.1", "192.175.48.0/24"),
    ("198.18.0.1", "198.18.0.0/15"),
    ("198.19.255.255", "198.18.0.0/15"),
    ("198.51.100.1", "198.51.100.0/24"),
    ("203.0.113.1", "203.0.113.0/24"),
    ("224.0.0.1", "224.0.0.0/4"),
    ("239.255.255.255", "224.0.0.0/4"),
    ("240.0.0.1", "240.0.0.0/4"),
    ("255.255.255.254", "240.0.0.0/4"),
    ("255.255.255.255", "255.255.255.255/32"),
]

IPV6_SPECIAL = [
    ("::", "::/128"),
    ("::1", "::1/128"),
    ("::ffff:0:0:0:1", "::/3"),
    ("1::1", "::/3"),
    ("64:ff9b:1::1", "64:ff9b:1::/48"),
    ("64:ff9b:1:ffff::8.8.8.8", "64:ff9b:1::/48"),
    ("64:ff9b:2::8.8.8.8", "::/3"),
    ("100::1", "100::/64"),
    ("100:0:0:1::1", "100:0:0:1::/64"),
    ("200::1", "::/3"),
    ("400::1", "::/3"),
    ("1fff::1", "::/3"),
    ("2001:1::1", "2001::/23"),
    ("2001:2::1", "2001::/23"),
    ("2001:3::1", "2001::/23"),
    ("2001:4:112::1", "2001::/23"),
    ("2001:10::1", "2001::/23"),
    ("2001:20::1", "2001::/23"),
    ("2001:30::1", "2001::/23"),
    ("2001:1ff::1", "2001::/23"),
    ("2001:db8::1", "2001:db8::/32"),
    ("2001:db8:ffff::1", "2001:db8::/32"),
    ("2620:4f:8000::1", "2620:4f:8000::/48"),
    ("3fff::1", "3fff::/20"),
    ("3fff:fff::1", "3fff::/20"),
    ("4000::1", "4000::/2"),
    ("5f00::1", "5f00::/16"),
    ("8000::1", "8000::/1"),
    ("fc00::1", "fc00::/7"),
    ("fd12:3456::1", "fc00::/7"),
    ("fe00::1", "8000::/1"),
    ("fe80::1", "fe80::/10"),
    ("febf::1", "fe80::/10"),
    ("fec0::1", "fec0::/10"),
    ("feff::1", "fec0::/10"),
    ("ff02::1", "ff00::/8"),
    ("ff0e::1", "ff00::/8"),
]

GLOBAL = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "192.0.1.1", "223.255.255.255"]
GLOBAL6 = ["2000::1", "2001:200::1", "2001:4860:4860::8888", "2600::1", "2a00::1", "3ffe::1"]


def refusal(policy: PeerPolicy, host: str, port: int = 80) -> Rule | None:
    return policy.refusal(Address.of(host, port))


def carriers(host: str) -> list[str]:
    """Every IPv6 address that carries an IPv4 address, by the mechanisms' own RFCs."""
    value = int(IPv4Address(host))
    innocent = int(IPv4Address("8.8.8.8"))

    def text(number: int) -> str:
        return str(IPv6Address(number))

    def at(prefix: str, shift: int, number: int = value) -> int:
        return int(IPv6Address(prefix)) | number << shift

    return [
        text(at("::ffff:0:0", 0)),
        text(at("::", 0)),
        text(at("::ffff:0:0:0", 0)),
        text(at("64:ff9b::", 0)),
        text(at("2002::", 80)),
        text(at("2002::1", 80)),
        # Teredo: as the server, with an innocent client, and the other way round.
        text(at("2001::", 64) | (innocent ^ 0xFFFFFFFF)),
        text(at("2001::", 64, innocent) | (value ^ 0xFFFFFFFF)),
        text(at("2a00:1:2:3:0:5efe::", 0)),
        text(at("2a00:1:2:3:200:5efe::", 0)),
    ]


@pytest.mark.parametrize(("host", "network"), IPV4_SPECIAL + IPV6_SPECIAL)
def test_special_purpose_addresses_are_refused(host: str, network: str) -> None:
    rule = refusal(PeerPolicy(()), host)
    assert rule is not None
    assert str(rule.network) == network


@pytest.mark.parametrize(("host", "network"), IPV4_SPECIAL)
def test_every_carrier_of_a_special_purpose_address_is_refused(host: str, network: str) -> None:
    for carrier in carriers(host):
        if carrier in ("::", "::1"):
            continue
        rule = refusal(PeerPolicy(()), carrier)
        assert rule is not None, carrier
        assert str(rule.network) == network


@pytest.mark.parametrize("host", GLOBAL)
def test_global_addresses_and_their_carriers_are_allowed(host: str) -> None:
    for spelling in (host, *carriers(host)):
        assert refusal(PeerPolicy(()), spelling) is None, spelling


@pytest.mark.parametrize("host", GLOBAL6)
def test_global_ipv6_addresses_are_allowed(host: str) -> None:
    assert refusal(PeerPolicy(()), host) is None


def test_allowing_a_network_allows_its_carriers_and_nothing_beside_it() -> None:
    policy = PeerPolicy((ip_network("10.1.0.0/16"), ip_network("fd00::/64")))
    for spelling in ("10.1.2.3", *carriers("10.1.2.3"), "fd00::7"):
        assert refusal(policy, spelling) is None, spelling
    for spelling in ("10.2.0.1", *carriers("10.2.0.1"), "fd00:0:0:1::1", "127.0.0.1"):
        assert refusal(policy, spelling) is not None, spelling


def test_allowing_ipv6_networks_does_not_allow_what_they_carry() -> None:
    policy = PeerPolicy(
        tuple(map(ip_network, ("2002::/16", "::/96", "::ffff:0:0/96", "2a00::/16")))
    )
    for spelling in carriers("127.0.0.2"):
        assert refusal(policy, spelling) is not None, spelling


def test_an_isatap_identifier_in_a_refused_prefix_stays_refused() -> None:
    rule = refusal(PeerPolicy(()), "fe80::5efe:8.8.8.8")
    assert rule is not None
    assert str(rule.network) == "fe80::/10"


def test_the_server_forbids_every_spelling_and_permits_none() -> None:
    hosts = [host for host, _ in IPV4_SPECIAL + IPV6_SPECIAL]
    hosts += [carrier for host, _ in IPV4_SPECIAL for carrier in carriers(host)]
    assert len(hosts) >= 300
    world = World(SETTINGS)
    ipv4, ipv6 = world.client(port=1), world.client(port=2)
    ipv4.allocate()
    ipv6.allocate(RequestedAddressFamily(2))
    for host in hosts:
        client = ipv4 if ip_address(host).version == 4 else ipv6
        peer = Address.of(host, 80)
        assert code(client.permit(peer)) == 403, host
        attributes = (ChannelNumber(0x4000), XorPeerAddress(peer))
        assert code(client.request(Method.CHANNEL_BIND, *attributes)) == 403, host
        send = Message.indication(Method.SEND, bytes(12), XorPeerAddress(peer), Data(b"x"))
        assert client.send(send.encode()) == [], host
    for allocation in world.server.allocations:
        assert not allocation.permissions
        assert not allocation.channels


def peers(text: str) -> PeerRange:
    """A network, or a network and ports, as the configuration has them."""
    network, _, ports = text.partition(" port ")
    first, _, last = ports.partition("-")
    if not ports:
        return PeerRange(ip_network(network))
    return PeerRange(ip_network(network), PortRange(int(first), int(last or first)))


def named(allow: str, deny: str) -> PeerPolicy:
    return PeerPolicy(
        [peers(each) for each in allow.split(", ") if each],
        [peers(each) for each in deny.split(", ") if each],
    )


@pytest.mark.parametrize(
    ("allow", "deny", "reachable", "unreachable"),
    [
        # The narrower network decides.
        ("", "8.8.0.0/16", "8.9.0.1 80", "8.8.8.8 80"),
        ("8.8.8.0/24", "8.8.0.0/16", "8.8.8.8 80", "8.8.4.4 80"),
        ("10.0.0.0/8", "10.1.0.0/16", "10.2.0.1 80", "10.1.0.1 80"),
        ("9.9.9.9/32", "0.0.0.0/0", "9.9.9.9 80", "8.8.8.8 80"),
        # Of one network the narrower ports, then what is denied.
        ("8.8.8.8/32 port 53", "8.8.8.8/32", "8.8.8.8 53", "8.8.8.8 54"),
        ("8.8.8.8/32", "8.8.8.8/32 port 53", "8.8.8.8 54", "8.8.8.8 53"),
        ("8.8.8.8/32", "8.8.8.8/32", "8.8.4.4 53", "8.8.8.8 53"),
        ("10.0.0.0/8 port 5000-6000", "", "10.0.0.1 6000", "10.0.0.1 6001"),
        ("fd00::/8 port 5000-6000", "", "fd00::1 5000", "fd00::1 4999"),
        # Every spelling is meant, and what a spelling is written as can be denied besides.
        ("", "8.8.8.8/32", "2002:808:404::1 80", "2002:808:808::1 80"),
        ("", "8.8.8.8/32 port 53", "::ffff:8.8.8.8 54", "::ffff:8.8.8.8 53"),
        ("", "2002::/16", "2600::1 80", "2002:808:404::1 80"),
        ("2002::/16", "", "2002:808:404::1 80", "2002:a00:1::1 80"),
    ],
)
def test_the_narrowest_that_the_operator_named_decides(
    allow: str, deny: str, reachable: str, unreachable: str
) -> None:
    policy = named(allow, deny)
    for text, is_reachable in ((reachable, True), (unreachable, False)):
        host, port = text.split()
        assert (refusal(policy, host, int(port)) is None) is is_reachable, text


def test_the_reach_of_a_host_is_what_its_ports_are_judged_to_be() -> None:
    policy = PeerPolicy(
        [peers("10.0.0.0/8 port 5000-6000"), peers("10.0.0.1/32 port 80")],
        [peers("8.8.8.8/32 port 53"), peers("10.0.0.0/8 port 5500-5600")],
        own_addresses=[Address("8.8.8.8", 0), Address("8.8.8.8", 65535), Address("9.9.9.9", 3478)],
        own_hosts=["9.9.9.9"],
    )
    assert policy.reach("8.8.4.4") == EVERYTHING
    assert policy.reach("9.9.9.9") == policy.reach("127.0.0.1") == NOTHING
    for host in ("8.8.8.8", "10.0.0.1", "10.0.0.2", "2002:808:808::1", "::ffff:10.0.0.1"):
        reach = policy.reach(host)
        assert reach.only_relayed
        assert len(reach.ports) in (1, 2, 3)
        for port in (0, 1, 52, 53, 54, 79, 80, 81, 4999, 5000, 5499, 5500, 5600, 5601, 6001, 65535):
            inside = any(first <= port <= last for first, last in reach.ports)
            assert inside is (refusal(policy, host, port) is None), (host, port)


OWN = PeerPolicy(
    [peers("0.0.0.0/0"), peers("::/0")],
    own_addresses=[Address("127.0.0.1", 9600), Address("8.8.8.8", 3478), Address("2600::1", 3478)],
    own_hosts=["8.8.8.8", "2600::1"],
)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        *((host, 9600) for host in ("127.0.0.1", *carriers("127.0.0.1"))),
        *((host, 3478) for host in ("8.8.8.8", *carriers("8.8.8.8")[:6])),
        ("2600::1", 3478),
    ],
)
def test_nothing_allows_the_servers_own_addresses(host: str, port: int) -> None:
    rule = refusal(OWN, host, port)
    assert rule is not None
    assert rule.to_allow == "nothing allows this"
    assert refusal(OWN, host, port + 1) is None


def test_other_services_of_the_servers_host_are_refused_until_they_are_allowed() -> None:
    policy = PeerPolicy((), own_addresses=[Address("8.8.8.8", 3478)], own_hosts=["8.8.8.8"])
    for host in ("8.8.8.8", *carriers("8.8.8.8")[:6]):
        rule = refusal(policy, host, 22)
        assert rule is not None
        assert rule.to_allow == "--allow-peer 8.8.8.8/32"
    allowed = PeerPolicy(
        (peers("8.8.8.8/32 port 22"),),
        own_addresses=[Address("8.8.8.8", 3478)],
        own_hosts=["8.8.8.8"],
    )
    assert refusal(allowed, "8.8.8.8", 22) is None
    assert refusal(allowed, "8.8.8.8", 3478) is not None


def test_a_live_relayed_address_on_the_servers_host_stays_within_reach() -> None:
    settings = replace(SETTINGS, relay_ipv4="8.8.4.4")
    world = World(settings)
    one, other = world.client(port=1), world.client(port=2, username="bob")
    relayed, theirs = one.allocate(), other.allocate()
    assert relayed.host == theirs.host == "8.8.4.4"
    assert code(one.permit(theirs)) is None
    assert code(other.permit(Address("8.8.4.4", 22))) == 403
    send = Message.indication(Method.SEND, bytes(12), XorPeerAddress(theirs), Data(b"x"))
    assert [each.path.remote for each in one.send(send.encode())] == [theirs]
    for port in (22, SETTINGS.listeners[0].port):
        peer = XorPeerAddress(Address("8.8.4.4", port))
        assert one.send(Message.indication(Method.SEND, bytes(12), peer, Data(b"x")).encode()) == []


def test_a_permission_opens_the_allowed_ports_of_a_host_alone_both_ways() -> None:
    settings = replace(SETTINGS, denied_peers=(peers("8.8.8.8/32 port 1-1023"),))
    world = World(settings)
    client = world.client()
    relayed = client.allocate()
    # RFC 8656 §10.2: the port that a CreatePermission names does not count.
    assert code(client.permit(Address("8.8.8.8", 80))) is None
    (installed,) = world.take_events(PermissionInstalled)
    assert installed.only_relayed
    assert installed.ports == (PortRange(0, 0), PortRange(1024, 65535))
    for port, passes in ((80, False), (1023, False), (1024, True), (5060, True)):
        peer = Address("8.8.8.8", port)
        send = Message.indication(Method.SEND, bytes(12), XorPeerAddress(peer), Data(b"x"))
        assert bool(client.send(send.encode())) is passes
        assert bool(world.from_peer(b"y", peer, relayed)) is passes
        attributes = (ChannelNumber(0x4000 + port % 100), XorPeerAddress(peer))
        assert (code(client.request(Method.CHANNEL_BIND, *attributes)) is None) is passes


def test_the_log_is_told_which_rule_of_the_operator_refused_and_what_lifts_it() -> None:
    world = World(replace(SETTINGS, denied_peers=(peers("8.8.8.0/24"),)))
    client = world.client()
    client.allocate()
    assert code(client.permit(Address("8.8.8.8", 80))) == 403
    (refused,) = world.take_events(PeerRefused)
    assert str(refused.rule) == "8.8.8.0/24 (denied by the configuration)"
    assert refused.rule.to_allow == (
        "take 8.8.8.0/24 out of deny_peer, or name a narrower network in allow_peer"
    )


def test_no_spelling_is_connected_to() -> None:
    """RFC 6062 §5.2; own listeners neither, whatever is allowed."""
    hosts = [host for host, _ in IPV4_SPECIAL + IPV6_SPECIAL]
    hosts += [carrier for host, _ in IPV4_SPECIAL for carrier in carriers(host)]
    assert len(hosts) >= 300
    world = World(replace(SETTINGS, own_addresses=(Address("8.8.8.8", 9600),)))
    ipv4, ipv6 = tcp_client(world, port=1), tcp_client(world, port=2)
    allocate_tcp(ipv4)
    allocate_tcp(ipv6, RequestedAddressFamily(2))
    peers = [Address.of(host, 80) for host in hosts]
    peers += [Address("8.8.8.8", 9600), SETTINGS.listeners[0]]
    peers += [Address.of(carrier, 9600) for carrier in carriers("8.8.8.8")[:5]]
    world.take_events(ConnectPeer)
    for each in peers:
        client = ipv4 if ":" not in each.host else ipv6
        assert code(client.request(Method.CONNECT, XorPeerAddress(each))) == 403, each
    assert world.take_events(ConnectPeer) == []
