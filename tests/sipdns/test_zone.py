"""``sipdns zone``: what it prints is what ``sipdns check`` wants."""

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natkit.address import Address
from natkit.cli.entry import run
from natkit.machine import Transport
from sipdns.cli import app
from sipdns.diagnosis import Examination, Status, Surroundings
from sipdns.examiner import examine_zone
from sipdns.services import DEFAULT_TRANSPORTS, SIP_SERVICES
from sipdns.zone import PublishedServer, read_server, zone_lines
from sipdns.zonefile import ZoneFile


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = run(app, "sipdns", arguments=["zone", *arguments])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_records_are_whole_lines_in_the_order_of_preference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert printed(
        capsys,
        "Example.org.",
        "--server",
        "sip1=192.0.2.1,2001:db8::1,udp,tcp,tls:5071",
        "--server",
        "sip2.example.org.=192.0.2.2,2001:db8::2,tls,udp,tcp,priority:20,weight:0",
        "--ttl",
        "600",
    ).splitlines() == [
        'example.org. 600 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.example.org.',
        'example.org. 600 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.example.org.',
        'example.org. 600 IN NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp.example.org.',
        "_sips._tcp.example.org. 600 IN SRV 10 10 5071 sip1.example.org.",
        "_sips._tcp.example.org. 600 IN SRV 20 0 5061 sip2.example.org.",
        "_sip._tcp.example.org. 600 IN SRV 10 10 5060 sip1.example.org.",
        "_sip._tcp.example.org. 600 IN SRV 20 0 5060 sip2.example.org.",
        "_sip._udp.example.org. 600 IN SRV 10 10 5060 sip1.example.org.",
        "_sip._udp.example.org. 600 IN SRV 20 0 5060 sip2.example.org.",
        "sip1.example.org. 600 IN A 192.0.2.1",
        "sip1.example.org. 600 IN AAAA 2001:db8::1",
        "sip2.example.org. 600 IN A 192.0.2.2",
        "sip2.example.org. 600 IN AAAA 2001:db8::2",
    ]


def test_what_follows_from_the_servers_is_accepted_in_comments(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = printed(capsys, "example.org", "--server", "sip1=192.0.2.1,udp,tcp,tls")
    assert [line.split()[3] for line in text.splitlines() if line.startswith(";")] == [
        "single-point-of-failure",
        "one-family",
    ]
    file = tmp_path / "zone"
    file.write_text(text)
    assert run(app, "sipdns", arguments=["check", "example.org", "--zonefile", str(file)]) == 0
    assert "Findings  none" in capsys.readouterr().out


def test_json_has_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "a.example", "--server", "b=192.0.2.1,wss", "--json"))
    assert document == {
        "schema": 1,
        "domain": "a.example",
        "records": [
            'a.example. 3600 IN NAPTR 10 10 "a" "SIPS+D2W" "" b.a.example.',
            "b.a.example. 3600 IN A 192.0.2.1",
        ],
        "accepted": ["caller-without-server", "single-point-of-failure", "one-family"],
    }


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
TRANSPORTS = st.lists(st.sampled_from(list(SIP_SERVICES)), min_size=1, max_size=7, unique=True)
ADDRESSES = st.lists(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(
        lambda one: not (one.is_multicast or one.is_unspecified or "::ffff:" in str(one))
    ),
    min_size=1,
    max_size=3,
    unique=True,
)


@st.composite
def servers(draw: st.DrawFn) -> tuple[str, list[PublishedServer]]:
    """A domain and servers as --server takes them."""
    domain = ".".join([draw(NAMES), draw(NAMES), "example"])
    found = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        items = [str(one) for one in draw(ADDRESSES)]
        for transport in draw(TRANSPORTS):
            has_port = SIP_SERVICES[transport].srv and draw(st.booleans())
            port = f":{draw(st.integers(1, 65535))}" if has_port else ""
            items.append(f"{transport}{port}")
        items.append(f"priority:{draw(st.integers(0, 65535))}")
        items.append(f"weight:{draw(st.integers(0, 65535))}")
        found.append(read_server(f"{name}={','.join(draw(st.permutations(items)))}", domain))
    return domain, found


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(servers(), st.integers(0, 2**31 - 1))
def test_a_check_of_the_records_finds_nothing_but_what_the_servers_bring_along(
    drawn: tuple[str, list[PublishedServer]], ttl: int
) -> None:
    domain, published = drawn
    text = "\n".join(zone_lines(domain, published, ttl)) + "\n"
    examination = Examination(
        domain,
        DEFAULT_TRANSPORTS,
        draw=lambda _: 0,
        now=0.0,
        surroundings=Surroundings(0.0, offline=True),
    )
    diagnosis = examine_zone(examination, ZoneFile(text, domain, "zone"))
    found = {one.rule.id for one in diagnosis.checks if one.findings}
    assert found == brought_along(published, ttl)
    # And each server is reached over each of its transports.
    plans = dict(diagnosis.plans)
    for server in published:
        for transport, port in server.ports:
            reached = {str(one.address) for one in plans[transport].targets}
            assert {str(Address.of(one, port)) for one in server.addresses} <= reached
    assert not {one.status for one in diagnosis.checks} & {Status.ERROR, Status.FAILED}


def brought_along(published: list[PublishedServer], ttl: int) -> set[str]:
    """The rules that these servers break by what they are."""
    found = set()
    hosts = addresses_by_host(published)
    addresses = {one for several in hosts.values() for one in several}
    families = {":" in one for one in addresses}
    if len(addresses) <= len(families) and (len(hosts) == 1 or len(addresses) == 1):
        found.add("single-point-of-failure")
    if any({":" in one for one in several} != {True, False} for several in hosts.values()):
        found.add("one-family")
    if any(not globally(one) for one in addresses):
        found.add("address-not-global")
    spoken = {transport for server in published for transport, _ in server.ports}
    by_srv = {one for one in spoken if SIP_SERVICES[one].srv}
    if by_srv and not any(one.is_secure for one in spoken):
        found.add("sips-missing")
    if not spoken & set(DEFAULT_TRANSPORTS):
        found.add("caller-without-server")
    if Transport.UDP in spoken and Transport.TCP not in spoken:
        found.add("tcp-missing")
    if ttl < 30:
        found.add("ttl-short")
    if ttl > 86400:
        found.add("ttl-long")
    for transport in by_srv:
        group = [
            (one, dict(one.ports)[transport]) for one in published if transport in dict(one.ports)
        ]
        if any(port == (5060 if transport.is_secure else 5061) for _, port in group):
            found.add("srv-port-crossed")
        for priority in {one.priority for one, _ in group}:
            weights = [one.weight for one, _ in group if one.priority == priority]
            if len(weights) > 1 and not any(weights):
                found.add("srv-weights-zero")
            if 0 in weights and any(weights):
                found.add("srv-weight-zero-beside-others")
    return found


def addresses_by_host(published: list[PublishedServer]) -> dict[str, set[str]]:
    """Servers of a transport without SRV records stand behind one host."""
    hosts: dict[str, set[str]] = {}
    for transport, service in SIP_SERVICES.items():
        speakers = [one for one in published if transport in dict(one.ports)]
        for one in speakers:
            name = transport if service.srv is None and len(speakers) > 1 else one.name
            hosts.setdefault(name, set()).update(one.addresses)
    return hosts


def globally(text: str) -> bool:
    address = ipaddress.ip_address(text)
    documented = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
    return address.is_global or any(
        address in ipaddress.ip_network(one)
        for one in documented
        if ipaddress.ip_network(one).version == address.version
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["192.0.2.1", "--server", "a=192.0.2.1,udp"], "is an address"),
        (["exa mple", "--server", "a=192.0.2.1,udp"], "is no domain name"),
        (["example.org"], "--server"),
        (["example.org", "--server", "sip1"], "write NAME=LIST"),
        (["example.org", "--server", "sip1=192.0.2.1"], "names no transport"),
        (["example.org", "--server", "sip1=udp"], "names no address"),
        (["example.org", "--server", "sip1=192.0.2.1,quic"], "'quic'"),
        (["example.org", "--server", "sip1=::ffff:192.0.2.1,tls"], "not the address of one host"),
        (["example.org", "--server", "sip1=0.0.0.0,tls"], "not the address of one host"),
        (["example.org", "--server", "sip1=192.0.2.1,tls:0"], "from 1 to 65535"),
        (["example.org", "--server", "sip1=192.0.2.1,tls:x"], "needs a number"),
        (["example.org", "--server", "sip1=192.0.2.1,wss:8443"], "must be 443"),
        (["example.org", "--server", "sip.example.net.=192.0.2.1,tls"], "published elsewhere"),
        (
            ["example.org", "--server", "a=192.0.2.1,tls", "--server", "A=192.0.2.1,udp"],
            "a.example.org twice",
        ),
        (
            ["example.org", "--server", "a=192.0.2.1,wss", "--server", "b.example.=wss"],
            "one host must have the addresses of all",
        ),
        (["example.org", "--server", "a=192.0.2.1,tls", "--ttl", "-1"], "--ttl"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run(app, "sipdns", arguments=["zone", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_websocket_servers_share_a_host_name(capsys: pytest.CaptureFixture[str]) -> None:
    two = ["--server", "a=192.0.2.1,wss", "--server", "b=192.0.2.2,wss"]
    lines = printed(capsys, "example.org", *two).splitlines()
    assert [line for line in lines if "sip-wss" in line] == [
        'example.org. 3600 IN NAPTR 10 10 "a" "SIPS+D2W" "" sip-wss.example.org.',
        "sip-wss.example.org. 3600 IN A 192.0.2.1",
        "sip-wss.example.org. 3600 IN A 192.0.2.2",
    ]


def test_a_server_of_another_domain_is_named_without_addresses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, "example.org", "--server", "sip.example.net.=tls").splitlines()
    assert "_sips._tcp.example.org. 3600 IN SRV 10 10 5061 sip.example.net." in lines
    assert not any(" A " in line or " AAAA " in line for line in lines)
