import socket

import pytest

from natkit.net import fragmentation

LINUX = pytest.mark.skipif(not fragmentation.CAN_FORBID, reason="set on Linux only")
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
IPV6_MTU_DISCOVER = 23


@LINUX
@pytest.mark.parametrize(
    ("family", "level", "option", "forbids"),
    [
        (socket.AF_INET, socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO),
        (socket.AF_INET6, socket.IPPROTO_IPV6, getattr(socket, "IPV6_DONTFRAG", 0), 1),
    ],
    ids=["ipv4", "ipv6"],
)
def test_fragments_are_forbidden_inside_and_as_before_outside(
    family: socket.AddressFamily, level: int, option: int, forbids: int
) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        before = sock.getsockopt(level, option)
        assert before != forbids
        with fragmentation.forbidden(sock):
            assert sock.getsockopt(level, option) == forbids
        assert sock.getsockopt(level, option) == before
        with pytest.raises(OSError, match="Destination address"), fragmentation.forbidden(sock):
            sock.send(b"nowhere")
        assert sock.getsockopt(level, option) == before


def test_where_it_can_not_be_set_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragmentation, "CAN_FORBID", False)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(OSError, match="does not let a program set Don't Fragment"),
        fragmentation.forbidden(sock),
    ):
        pytest.fail("nothing may be sent then")


@LINUX
def test_packets_may_be_fragmented_whatever_the_path_allows() -> None:
    ip_pmtudisc_omit = 5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fragmentation.allow(sock)
        with fragmentation.forbidden(sock):
            assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DO
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == ip_pmtudisc_omit
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        before = sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
        fragmentation.allow(sock)
        assert sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) == before
