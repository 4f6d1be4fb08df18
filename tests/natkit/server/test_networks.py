"""The narrowest network around an address comes first."""

from ipaddress import ip_address, ip_network
from random import Random

from natkit.address import IPNetwork
from natkit.server.networks import NetworkTable


def table(*networks: str) -> NetworkTable[str]:
    return NetworkTable([(ip_network(each), each) for each in networks])


def around(networks: NetworkTable[str], host: str) -> list[str]:
    return list(networks.around(ip_address(host).packed))


def test_the_narrowest_comes_first_and_equal_ones_as_they_were_given() -> None:
    entries = [(ip_network("10.0.0.0/8"), 1), (ip_network("10.0.0.0/8"), 2)]
    assert list(NetworkTable(entries).around(bytes((10, 1, 2, 3)))) == [1, 2]
    networks = table("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "a00::/8")
    assert around(networks, "10.1.2.3") == ["10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]
    assert around(networks, "10.2.0.1") == ["10.0.0.0/8", "0.0.0.0/0"]
    assert around(networks, "a01::1") == ["a00::/8", "::/0"]


def test_nothing_is_in_no_network() -> None:
    assert not table()
    assert table("::/0")
    assert around(table(), "10.0.0.1") == []
    assert around(table("::/0"), "10.0.0.1") == []


def test_the_table_agrees_with_asking_each_network() -> None:
    random = Random(5)
    networks: list[IPNetwork] = []
    for _ in range(200):
        bits, size = random.choice(((32, 4), (128, 16)))
        length = random.randrange(bits + 1)
        host = random.getrandbits(3) << bits - 3
        networks.append(ip_network((host.to_bytes(size, "big"), length), strict=False))
    found = NetworkTable([(each, each) for each in networks])
    for _ in range(500):
        bits = random.choice((32, 128))
        address = ip_address((random.getrandbits(4) << bits - 4).to_bytes(bits // 8, "big"))
        expected = [each for each in networks if address in each]
        got = list(found.around(address.packed))
        assert sorted(map(str, got)) == sorted(map(str, expected))
        lengths = [each.prefixlen for each in got]
        assert lengths == sorted(lengths, reverse=True)
