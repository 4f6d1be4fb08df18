"""Our proxy with Kamailio: as the edge before us, and as the next hop that BIND leads to."""

from collections.abc import Callable
from pathlib import Path as FilePath

import pytest

from natkit.address import Address
from natkit.aio.secure import Trust
from natkit.aio.sip import Element
from natkit.aio.tls import TlsClient, client_context
from natkit.machine import Transport
from natkit.server.certificates import CertificateFiles
from natkit.sip import HeaderField
from natkit.sip.kinds import PATH, ROUTE, SUPPORTED, VIA
from sip_proxy.shell.securing import TlsSettings
from sip_proxy.shell.streams import StreamSettings
from sipdns import Locator
from tests.certificates import Authority, Issued
from tests.peering.kamailio_scripts import edge, next_hop
from tests.peering.plugin import StartKamailio, StartNamed
from tests.sip_proxy.shell.world import DOMAIN, Agent, agent, server, serving

pytestmark = [pytest.mark.peer("kamailio"), pytest.mark.peer("bind9")]

UDP, TCP, TLS, WS = Transport.UDP, Transport.TCP, Transport.TLS, Transport.WS
PEER = "kamailio.example"
OUTBOUND = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>";reg-id=1'


@pytest.fixture
def authority(tmp_path: FilePath) -> Authority:
    return Authority(tmp_path)


def secured(authority: Authority, *, mutual: bool = False) -> StreamSettings:
    own = authority.issue(DOMAIN, file="proxy")
    files = CertificateFiles(own.chain, own.key)
    trust = authority.file if mutual else None
    return StreamSettings(TlsSettings((files,), trust=authority.file, client_trust=trust))


@pytest.mark.parametrize(("phone_speaks", "edge_speaks"), [(WS, TCP), (TLS, TLS), (TCP, UDP)])
async def test_phones_behind_kamailio_register_and_are_called_by_path_and_flow(
    start_kamailio: StartKamailio,
    authority: Authority,
    phone_speaks: Transport,
    edge_speaks: Transport,
) -> None:
    listen = [f"{each}:127.0.0.1:0" for each in (UDP, TCP, TLS)]
    async with serving(*listen, streams=secured(authority)) as served:
        ours = served.addresses[edge_speaks]
        # In its Path it calls itself by its address.
        certificate = authority.issue(PEER, uris=["sip:127.0.0.1"], file="edge")
        kamailio = start_kamailio(certificate, script=edge(f"sip:{ours};transport={edge_speaks}"))
        there = kamailio.secure if phone_speaks.is_secure else kamailio.plain
        tls = TlsClient(PEER, client_context(trust=authority.file, check_hostname=True))
        async with (
            agent("bob", phone_speaks, there, tls=tls) as bob,
            agent("alice", UDP, served.addresses[UDP]) as alice,
        ):
            supported = HeaderField.of(SUPPORTED, "path", "outbound")
            registered = await bob.register(supported, parameters=OUTBOUND).final()
            assert registered.status == 200
            paths = registered.headers.get_all(PATH)
            assert paths
            assert all(path.uri.has_parameter("ob") for path in paths[-1:])  # type: ignore[union-attr]
            assert await alice.whole_call(bob.uri) == 200
            invite = (await bob.got("INVITE")).request
            assert [via.transport for via in invite.headers.get_all(VIA)] == [
                phone_speaks,
                edge_speaks,
                UDP,
            ]
            assert not invite.headers.has(ROUTE)
            await bob.got("BYE")
            # The other way round, by the same flows.
            assert (await alice.register().final()).status == 200
            assert await bob.whole_call(alice.uri) == 200
            await alice.got("BYE")


ZONE = """
@ IN NAPTR 10 10 "s" "{service}" "" {name}
{name} IN SRV 10 10 {first} sip1
{name} IN SRV 20 10 {second} sip2
sip1 IN A 127.0.0.1
sip2 IN A 127.0.0.1
"""
SERVICES = {
    UDP: ("SIP+D2U", "_sip._udp"),
    TCP: ("SIP+D2T", "_sip._tcp"),
    TLS: ("SIPS+D2T", "_sips._tcp"),
}


def zone(transport: Transport, first: Address, second: Address) -> dict[str, str]:
    service, name = SERVICES[transport]
    text = ZONE.format(service=service, name=name, first=first.port, second=second.port)
    return {PEER: text}


@pytest.mark.parametrize("transport", [UDP, TCP, TLS])
async def test_calls_reach_kamailio_by_naptr_and_srv_and_go_on_when_one_of_two_dies(
    start_kamailio: StartKamailio,
    start_named: StartNamed,
    authority: Authority,
    transport: Transport,
) -> None:
    certificate = authority.issue(uris=[f"sip:{PEER}"], file="peer")
    listen = [f"{each}:127.0.0.1:0" for each in (UDP, TCP, TLS)]
    async with server("bob", UDP) as bob:
        script = next_hop(f"sip:{bob.path.local}")
        pair = [start_kamailio(certificate, script=script) for _ in range(2)]
        addresses = [each.secure if transport is TLS else each.plain for each in pair]
        named = start_named(zone(transport, *addresses))
        async with (
            Locator(nameservers=[named], transports=(UDP, TCP, TLS)) as locator,
            serving(
                *listen, streams=secured(authority), locator=locator, failover_after=3.0
            ) as served,
            agent("alice", UDP, served.addresses[UDP]) as alice,
        ):
            uri = f"sip:bob@{PEER}"
            for _ in range(3):
                assert await alice.whole_call(uri) == 200
            assert _ports(bob) == {pair[0].plain.port}
            bob.received.clear()
            pair[0].process.stop()
            for _ in range(3):
                assert await alice.whole_call(uri) == 200
            assert _ports(bob) == {pair[1].plain.port}


def _ports(callee: Agent) -> set[int | None]:
    """Through which Kamailios the INVITEs came."""
    invites = [each.request for each in callee.received if each.request.method == "INVITE"]
    return {invite.headers.get_all(VIA)[0].port for invite in invites}


async def test_kamailio_is_called_over_a_websocket(
    start_kamailio: StartKamailio, authority: Authority
) -> None:
    async with (
        server("bob", UDP) as bob,
        serving("udp:127.0.0.1:0", "ws:127.0.0.1:0") as served,
        agent("alice", UDP, served.addresses[UDP]) as alice,
    ):
        certificate = authority.issue(PEER, file="peer")
        kamailio = start_kamailio(certificate, script=next_hop(f"sip:{bob.path.local}"))
        assert await alice.whole_call(f"sip:bob@{kamailio.plain};transport=ws") == 200
        vias = (await bob.got("INVITE")).request.headers.get_all(VIA)
        assert [via.transport for via in vias] == [UDP, WS, UDP]


@pytest.mark.parametrize(
    "issue",
    [
        lambda root: root.issue("sip1.kamailio.example", file="peer"),
        lambda root: root.issue(PEER, days=(-30, -2), file="peer"),
    ],
    ids=["name of the host", "expired"],
)
async def test_a_kamailio_that_does_not_prove_its_domain_gets_nothing(
    start_kamailio: StartKamailio,
    start_named: StartNamed,
    authority: Authority,
    issue: Callable[[Authority], Issued],
) -> None:
    async with server("bob", UDP) as bob:
        script = next_hop(f"sip:{bob.path.local}")
        kamailio = start_kamailio(issue(authority), script=script)
        named = start_named(zone(TLS, kamailio.secure, kamailio.secure))
        async with (
            Locator(nameservers=[named], transports=(TLS,)) as locator,
            serving(
                "udp:127.0.0.1:0",
                "tls:127.0.0.1:0",
                streams=secured(authority),
                locator=locator,
            ) as served,
            agent("alice", UDP, served.addresses[UDP]) as alice,
        ):
            assert await alice.whole_call(f"sip:bob@{PEER}") == 500
            assert bob.received == []


@pytest.mark.parametrize("trusted", [True, False])
async def test_kamailio_proves_its_domain_to_us_by_its_certificate(
    start_kamailio: StartKamailio, authority: Authority, trusted: bool
) -> None:
    certificate = authority.issue(PEER, file="peer")
    async with serving(
        "tls:127.0.0.1:0",
        streams=secured(authority, mutual=True),
        authenticate=True,
        trusted_domains=frozenset({PEER if trusted else "other.example"}),
    ) as served:
        kamailio = start_kamailio(
            certificate, script=edge(f"sip:{served.addresses[TLS]};transport=tls")
        )
        async with agent("bob", UDP, kamailio.plain) as bob:
            assert (await bob.register().final()).status == (200 if trusted else 401)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:{plain}",
        "sip:{plain};transport=tcp",
        "sip:{plain};transport=ws",
        "sips:{secure}",
        "sips:{secure};transport=ws",
    ],
)
async def test_kamailio_answers_our_element_over_every_transport(
    start_kamailio: StartKamailio, authority: Authority, uri: str
) -> None:
    certificate = authority.issue(uris=["sip:127.0.0.1"], file="peer")
    kamailio = start_kamailio(certificate)
    async with Element(trust=Trust(authority.file)) as element:
        answer = await element.request(
            "OPTIONS", uri.format(plain=kamailio.plain, secure=kamailio.secure)
        )
        assert (answer.status, answer.reason) == (200, "Alive")
