"""What the plane in the kernel needs, and where it would run."""

import os
from pathlib import Path

import pytest

from natkit.net.interfaces import InterfaceAddress
from natkit.net.links import NetworkLink
from natkit.relay import attaching, kernel_ability
from natkit.relay.attaching import Mode, allow_routes, closed_settings, would_forget_routes
from natkit.relay.kernel_ability import foresee, interfaces_of, requirements
from natkit.relay.libbpf import BpfError

LOOPBACK = NetworkLink(1, "lo", bytes(6), False, "", 0, 0, is_loopback=True)
CARD = NetworkLink(2, "eth0", bytes.fromhex("020000000001"), True, "", 0, 0)
VLAN = NetworkLink(3, "eth0.7", CARD.mac, True, "vlan", 2, 7)
TUNNEL = NetworkLink(4, "wg0", b"", False, "wireguard", 0, 0)
DUMMY = NetworkLink(5, "dummy0", CARD.mac, True, "dummy", 0, 0)
BRIDGE = NetworkLink(7, "br0", CARD.mac, True, "bridge", 0, 0)
UPLINK = NetworkLink(6, "eth1", bytes.fromhex("020000000006"), True, "", 0, 0)
LINKS = (LOOPBACK, CARD, VLAN, TUNNEL, DUMMY, UPLINK)
ADDRESSES = (
    InterfaceAddress("lo", "127.0.0.1"),
    InterfaceAddress("eth0", "192.0.2.1"),
    InterfaceAddress("eth0.7", "198.51.100.1"),
    InterfaceAddress("wg0", "10.0.0.1"),
    InterfaceAddress("lo", "203.0.113.7"),
    InterfaceAddress("dummy0", "203.0.113.8"),
    InterfaceAddress("dummy0", "fe80::1%dummy0"),
)
# As /proc/net/ipv6_route has them: a network on the link, a default route, one by an advertisement.
ON_LINK = "20010db8 40 0 00 0 00 00000100 00000001 00000000 00000001     eth0"
DEFAULT = "0 00 0 00 fe80 00000400 00000001 00000000 00000003     eth0"
ADVERTISED = "0 00 0 00 fe80 00000400 00000001 00000000 00450003     eth0"


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        (["127.0.0.1"], ["lo"]),
        (["192.0.2.1"], ["eth0"]),
        (["198.51.100.1"], ["eth0"]),
        (["10.0.0.1"], []),
        (["127.0.0.1", "192.0.2.1", "198.51.100.1"], ["lo", "eth0"]),
        (["203.0.113.1"], []),
        (["fe80::1%dummy0"], []),
    ],
)
def test_it_runs_where_packets_for_the_addresses_come_in(
    hosts: list[str], names: list[str]
) -> None:
    assert [each.name for each in interfaces_of(hosts, ADDRESSES, LINKS)] == names


@pytest.mark.parametrize(
    ("ways_out", "names"),
    [([], []), ([6], ["eth1"]), ([2, 6], ["eth0", "eth1"]), ([3], ["eth0"]), ([4, 5], [])],
)
def test_packets_for_an_address_that_no_wire_has_come_in_by_the_ways_out(
    ways_out: list[int], names: list[str]
) -> None:
    """A service address, as many machines have the same one, is on ``lo`` or a dummy."""
    found = interfaces_of(["203.0.113.7"], ADDRESSES, LINKS, ways_out)
    assert {each.name for each in found} == {"lo", *names}
    found = interfaces_of(["203.0.113.8"], ADDRESSES, LINKS, ways_out)
    assert {each.name for each in found} == set(names)


@pytest.mark.parametrize(
    ("interface", "release", "runs_natively", "hides_tags", "mode", "count"),
    [
        (CARD, "6.6.0", True, False, Mode.NATIVE, 0),
        # The kernel does not say.
        (CARD, "6.1.0", None, False, Mode.NATIVE, 0),
        (CARD, "6.6.0", False, True, Mode.TC, 1),
        (CARD, "6.5.13", False, False, Mode.GENERIC, 2),
        (CARD, "6.5.13", False, True, None, 3),
        (BRIDGE, "7.0.1", True, True, Mode.TC, 0),
        (BRIDGE, "5.15.0", True, False, Mode.GENERIC, 1),
        (LOOPBACK, "6.6.0", True, False, Mode.TC, 0),
        (LOOPBACK, "6.1.0", True, False, None, 1),
    ],
)
def test_how_it_would_run_is_foreseen(
    monkeypatch: pytest.MonkeyPatch,
    interface: NetworkLink,
    release: str,
    runs_natively: bool | None,
    hides_tags: bool,
    mode: Mode | None,
    count: int,
) -> None:
    _be(monkeypatch, release)
    monkeypatch.setattr(kernel_ability, "runs_xdp", lambda _: runs_natively)
    monkeypatch.setattr(attaching, "takes_vlan_tags_off", lambda _: hides_tags)
    foreseen = foresee(interface, LINKS)
    assert (foreseen.mode, len(foreseen.reasons)) == (mode, count)


def test_an_old_kernel_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for release, is_met in (("5.10.0-30-amd64", False), ("5.15.1", True), ("6.1.0", True)):
        _be(monkeypatch, release)
        kernel = requirements()[0]
        assert (kernel.found, kernel.is_met) == (f"Linux {release}", is_met)


def _be(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    real = os.uname()
    found = os.uname_result((real.sysname, real.nodename, release, "", real.machine))
    monkeypatch.setattr(os, "uname", lambda: found)


def test_what_brings_the_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> tuple[int, int]:
        raise BpfError("libbpf.so.1 is missing; Debian has it in the package libbpf1")

    monkeypatch.setattr(kernel_ability, "library_version", missing)
    library = requirements()[1]
    assert not library.is_met
    assert library.found == "missing"
    assert "libbpf1" in library.remedy


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ("000001ffffffffff", "all"),
        ("0000000000000400", "without CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
        ("0000008000001000", "without CAP_PERFMON"),
    ],
)
def test_capabilities_that_miss_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: str, found: str
) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t{held}\nCapBnd:\t0\n")
    monkeypatch.setattr(kernel_ability, "_STATUS", status)
    capabilities = requirements()[2]
    assert (capabilities.found, capabilities.is_met) == (found, found == "all")


@pytest.mark.parametrize(
    ("table", "accepts", "forgets"),
    [
        ([ON_LINK, DEFAULT], False, False),
        ([ON_LINK, ADVERTISED], False, True),
        ([ON_LINK, ADVERTISED], True, False),
        ([ADVERTISED.replace("eth0", "lo")], False, False),
        ([], False, False),
    ],
)
def test_routes_that_routers_advertised_are_not_put_at_risk(
    table: list[str], accepts: bool, forgets: bool
) -> None:
    assert would_forget_routes("\n".join(table), lambda _: accepts) == forgets


def test_a_setting_that_may_not_be_set_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loopback = tmp_path / "ipv4" / "conf" / "lo"
    loopback.mkdir(parents=True)
    # Which nobody can write.
    (loopback / "forwarding").symlink_to("/proc/version")
    monkeypatch.setattr(attaching, "_SYSTEM", tmp_path)
    with pytest.raises(BpfError, match=r"^net\.ipv4\.conf\.lo\.forwarding must be 1 .* at boot"):
        allow_routes()


@pytest.mark.parametrize(
    ("values", "may_be_set", "found"),
    [
        ({"ipv4": "1", "ipv6": "1"}, False, ()),
        ({"ipv4": "0", "ipv6": "0"}, True, ()),
        ({"ipv4": "0"}, False, ("net.ipv4.conf.lo.forwarding",)),
        ({"ipv4": "1", "ipv6": "0"}, False, ("net.ipv6.conf.lo.forwarding",)),
    ],
)
def test_a_setting_that_may_not_be_set_is_foreseen(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    values: dict[str, str],
    may_be_set: bool,
    found: tuple[str, ...],
) -> None:
    for family, value in values.items():
        setting = tmp_path / family / "conf" / "lo" / "forwarding"
        setting.parent.mkdir(parents=True)
        setting.write_text(f"{value}\n")
    routes = tmp_path / "routes"
    routes.write_text("")
    monkeypatch.setattr(attaching, "_SYSTEM", tmp_path)
    monkeypatch.setattr(attaching, "_ROUTES", routes)
    monkeypatch.setattr(os, "access", lambda *_, **__: may_be_set)
    assert closed_settings() == found


@pytest.mark.parametrize(
    ("refusal", "closed", "unmet"),
    [
        (None, (), []),
        ("Operation not permitted", (), ["the system call bpf"]),
        (None, ("net.ipv4.conf.lo.forwarding",), ["net.*.conf.lo.forwarding = 1"]),
    ],
)
def test_what_a_container_or_a_unit_forbids_is_found(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    refusal: str | None,
    closed: tuple[str, ...],
    unmet: list[str],
) -> None:
    status = tmp_path / "status"
    status.write_text("CapEff:\t000001ffffffffff\n")
    monkeypatch.setattr(kernel_ability, "_STATUS", status)
    monkeypatch.setattr(kernel_ability, "library_version", lambda: (1, 1))
    monkeypatch.setattr(kernel_ability, "why_not_called", lambda: refusal)
    monkeypatch.setattr(kernel_ability, "closed_settings", lambda: closed)
    _be(monkeypatch, "6.1.0")
    assert [each.name for each in requirements() if not each.is_met] == unmet
    status.write_text("CapEff:\t0\n")
    assert len(requirements()) == 3
