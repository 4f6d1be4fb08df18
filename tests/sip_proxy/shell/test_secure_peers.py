"""TLS with other proxies on real sockets: whose certificate proves what (RFC 5922, RFC 5923)."""

import contextlib
import ipaddress
from dataclasses import replace
from pathlib import Path as FilePath

import pytest

from natkit.address import Address
from natkit.aio.tls import TlsClient, client_context, server_context
from natkit.locate import Target
from natkit.machine import Path, Transport
from natkit.server.certificates import CertificateFiles
from natkit.sip import Via
from natkit.sip.flows import ConnectionReuse
from natkit.sip.kinds import VIA
from sip_proxy.shell.securing import TlsSettings
from sip_proxy.shell.streams import StreamSettings
from tests.certificates import Authority, Issued
from tests.sip_proxy.shell.world import DOMAIN, Names, agent, server, serving, silent

TLS = Transport.TLS
PEER = "peer.example"


@pytest.fixture
def authority(tmp_path: FilePath) -> Authority:
    return Authority(tmp_path)


def files(issued: Issued) -> CertificateFiles:
    return CertificateFiles(issued.chain, issued.key)


def settings(authority: Authority, *, require: bool = False) -> StreamSettings:
    """Our certificate, and roots for servers and for clients."""
    own = files(authority.issue(DOMAIN, file="own"))
    return StreamSettings(
        TlsSettings(
            (own,), trust=authority.file, client_trust=authority.file, require_client=require
        )
    )


def client(authority: Authority, issued: Issued | None) -> TlsClient:
    certificate = None if issued is None else issued.files
    return TlsClient(DOMAIN, client_context(trust=authority.file, certificate=certificate))


def known(address: Address, *, domain: str = PEER, transport: Transport = TLS) -> Names:
    names = Names()
    names.known[domain] = (Target(transport, address, "host.example", domain),)
    return names


class TestServers:
    """Whom we send to over TLS."""

    @pytest.mark.parametrize(
        ("named", "days", "foreign", "good"),
        [
            ("peer.example", (-1, 30), False, True),
            # The name of the host, which the DNS gave, proves nothing (RFC 5922 §7.3).
            ("host.example", (-1, 30), False, False),
            ("*.example", (-1, 30), False, False),
            ("peer.example", (-9, -1), False, False),
            ("peer.example", (-1, 30), True, False),
        ],
    )
    async def test_one_must_prove_the_domain_that_was_asked_for(
        self,
        authority: Authority,
        tmp_path: FilePath,
        named: str,
        days: tuple[float, float],
        foreign: bool,
        good: bool,
    ) -> None:
        streams = settings(authority)
        issuer = Authority(tmp_path, "Another Root") if foreign else authority
        context = server_context(issuer.issue(named, days=days, file="peer").files)
        async with (
            server("bob", TLS, context=context) as bob,
            serving("tls:127.0.0.1:0", "udp:127.0.0.1:0", streams=streams) as served,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            served.names.known.update(known(bob.path.local).known)
            answer = await alice.send("OPTIONS", f"sip:bob@{PEER}").final()
            assert answer.status == (200 if good else 500)
            assert len(bob.received) == good

    async def test_ones_certificate_is_not_looked_at_where_that_is_wished(
        self, authority: Authority
    ) -> None:
        own = files(authority.issue(DOMAIN, file="own"))
        streams = StreamSettings(TlsSettings((own,), verify=False))
        context = server_context(authority.issue("x.example", self_signed=True).files)
        async with (
            server("bob", TLS, context=context) as bob,
            serving("tls:127.0.0.1:0", "udp:127.0.0.1:0", streams=streams) as served,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            served.names.known.update(known(bob.path.local).known)
            assert (await alice.send("OPTIONS", f"sip:bob@{PEER}").final()).status == 200

    async def test_one_that_fails_in_the_handshake_is_passed_over(
        self, authority: Authority
    ) -> None:
        context = server_context(authority.issue(PEER, file="peer").files)
        async with (
            server("mute", Transport.TCP) as mute,
            server("bob", TLS, context=context) as bob,
            serving("tls:127.0.0.1:0", "udp:127.0.0.1:0", streams=settings(authority)) as served,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            served.names.known[PEER] = tuple(
                Target(TLS, each.path.local, "host.example", PEER) for each in (mute, bob)
            )
            assert (await alice.send("OPTIONS", f"sip:bob@{PEER}").final()).status == 200

    async def test_we_show_our_certificate_when_we_are_asked(self, authority: Authority) -> None:
        context = server_context(
            authority.issue(PEER, file="peer").files, client_trust=authority.file
        )
        async with (
            server("bob", TLS, context=context) as bob,
            serving("tls:127.0.0.1:0", "udp:127.0.0.1:0", streams=settings(authority)) as served,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            served.names.known.update(known(bob.path.local).known)
            assert (await alice.send("OPTIONS", f"sip:bob@{PEER}").final()).status == 200
            via = (await bob.got("OPTIONS")).request.headers.get_all(VIA)[0]
            assert via.wants_alias


class TestClients:
    """Who comes to us over TLS."""

    @pytest.mark.parametrize(
        ("named", "trusted"),
        [("peer.example", True), ("other.example", False), (None, False)],
    )
    async def test_a_peer_that_proves_a_trusted_domain_needs_no_credentials(
        self, authority: Authority, named: str | None, trusted: bool
    ) -> None:
        issued = None if named is None else authority.issue(named, file="peer")
        async with (
            serving(
                "tls:127.0.0.1:0",
                streams=settings(authority),
                authenticate=True,
                trusted_domains=frozenset({PEER}),
            ) as served,
            agent("alice", TLS, served.addresses[TLS], tls=client(authority, issued)) as alice,
        ):
            assert (await alice.register().final()).status == (200 if trusted else 401)

    @pytest.mark.parametrize("what", ["none", "foreign", "expired"])
    async def test_one_without_a_good_certificate_is_turned_away_where_one_is_required(
        self, authority: Authority, tmp_path: FilePath, what: str
    ) -> None:
        issuer = Authority(tmp_path, "Another Root") if what == "foreign" else authority
        days = (-9.0, -1.0) if what == "expired" else (-1.0, 30.0)
        issued = None if what == "none" else issuer.issue(PEER, days=days, file="peer")
        async with serving("tls:127.0.0.1:0", streams=settings(authority, require=True)) as served:
            # In TLS 1.3 a client learns of it after its handshake only.
            with contextlib.suppress(ConnectionError):
                async with agent(
                    "alice", TLS, served.addresses[TLS], tls=client(authority, issued)
                ) as alice:
                    pending = alice.register()
                    await alice.cut()
                    assert pending.responses == []
            good = client(authority, authority.issue(PEER, file="good"))
            async with agent("bob", TLS, served.addresses[TLS], tls=good) as bob:
                assert (await bob.register().final()).status == 200


class TestUsers:
    """Who has a certificate for a user."""

    @pytest.mark.parametrize(
        ("uri", "option", "status"),
        [
            (f"sip:alice@{DOMAIN}", True, 200),
            (f"sip:alice@{DOMAIN}", False, 401),
            (f"sip:bob@{DOMAIN}", True, 401),
            ("sip:alice@example.net", True, 401),
            (f"sip:{DOMAIN}", True, 401),
        ],
    )
    async def test_one_needs_no_password_to_register_as_that_user(
        self, authority: Authority, uri: str, option: bool, status: int
    ) -> None:
        tls = client(authority, authority.issue(uris=[uri], file="user"))
        async with (
            serving(
                "tls:127.0.0.1:0",
                streams=settings(authority),
                authenticate=True,
                user_certificates=option,
            ) as served,
            agent("alice", TLS, served.addresses[TLS], tls=tls) as alice,
        ):
            assert (await alice.register().final()).status == status

    async def test_one_whose_certificate_is_taken_back_is_turned_away_after_a_reload(
        self, authority: Authority
    ) -> None:
        issued = authority.issue(uris=[f"sip:alice@{DOMAIN}"], file="user")
        tls = client(authority, issued)
        streams = settings(authority)
        streams = replace(
            streams, tls=replace(streams.tls, client_revoked=authority.revocation_list())
        )
        async with serving(
            "tls:127.0.0.1:0", streams=streams, authenticate=True, user_certificates=True
        ) as served:
            async with agent("alice", TLS, served.addresses[TLS], tls=tls) as alice:
                assert (await alice.register().final()).status == 200
            authority.revocation_list(issued)
            served.proxy.streams.renew(streams.tls)
            # In TLS 1.3 a client learns of it after its handshake only.
            with contextlib.suppress(ConnectionError):
                async with agent("alice", TLS, served.addresses[TLS], tls=tls) as alice:
                    pending = alice.register()
                    await alice.cut()
                    assert pending.responses == []

    async def test_one_calls_as_that_user_and_as_nobody_else(self, authority: Authority) -> None:
        issued = authority.issue(uris=[f"sip:alice@{DOMAIN}"], file="user")
        tls = client(authority, issued)
        async with (
            server("carol", Transport.TCP) as carol,
            serving(
                "tls:127.0.0.1:0",
                "tcp:127.0.0.1:0",
                streams=settings(authority),
                authenticate=True,
                user_certificates=True,
                assert_identity=True,
            ) as served,
            agent("alice", TLS, served.addresses[TLS], tls=tls) as alice,
            agent("bob", TLS, served.addresses[TLS], tls=tls) as bob,
            agent("alice", Transport.TCP, served.addresses[Transport.TCP]) as stranger,
        ):
            uri = f"sip:carol@{carol.path.local};transport=tcp"
            assert (await alice.send("OPTIONS", uri).final()).status == 200
            asserted = carol.received[0].request.headers.fields("P-Asserted-Identity")
            assert [field.text for field in asserted] == [f"<sip:alice@{DOMAIN}>"]
            for other in (bob, stranger):
                assert (await other.send("OPTIONS", uri).final()).status == 407
            assert len(carol.received) == 1


class TestReuse:
    """RFC 5923."""

    @pytest.mark.parametrize(
        ("named", "alias", "reuse", "is_reused"),
        [
            (PEER, True, True, True),
            (PEER, True, False, False),
            (PEER, False, True, False),
            ("other.example", True, True, False),
        ],
    )
    async def test_a_peer_is_reached_by_the_connection_that_it_made(
        self, authority: Authority, named: str, alias: bool, reuse: bool, is_reused: bool
    ) -> None:
        context = server_context(authority.issue(PEER, file="host").files)
        tls = client(authority, authority.issue(named, file="peer"))
        async with (
            server("bob", TLS, context=context) as host,
            serving(
                "tls:127.0.0.1:0",
                "udp:127.0.0.1:0",
                streams=settings(authority),
                reuse=ConnectionReuse(secure=reuse),
            ) as served,
            agent("bob", TLS, served.addresses[TLS], tls=tls) as bob,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            served.names.known.update(known(host.path.local).known)
            via = Via.of(TLS, host.path.local, "z9hG4bKreuse", alias=alias)
            assert (await bob.send("OPTIONS", f"sip:{DOMAIN}", via=via).final()).status == 200
            assert (await alice.send("OPTIONS", f"sip:bob@{PEER}").final()).status == 200
            assert (len(bob.received), len(host.received)) == (is_reused, not is_reused)

    @pytest.mark.parametrize(("trusted", "status"), [(PEER, 200), ("other.example", 401)])
    async def test_a_peer_that_we_connected_to_is_known_when_it_sends_to_us(
        self, authority: Authority, trusted: str, status: int
    ) -> None:
        context = server_context(authority.issue(PEER, file="host").files)
        async with (
            server("bob", TLS, context=context, address=Address("127.0.0.2", 0)) as bob,
            serving(
                "tls:127.0.0.1:0",
                "udp:127.0.0.1:0",
                streams=settings(authority),
                authenticate=True,
                trusted=(ipaddress.ip_network("127.0.0.1"),),
                trusted_domains=frozenset({trusted}),
            ) as served,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            served.names.known.update(known(bob.path.local).known)
            assert (await alice.send("OPTIONS", f"sip:bob@{PEER}").final()).status == 200
            bob.path = bob.received[0].path
            assert (await bob.register().final()).status == status


async def test_a_response_whose_connection_is_gone_goes_to_the_sent_by(
    authority: Authority,
) -> None:
    context = server_context(authority.issue(PEER, file="host").files)
    tls = client(authority, None)
    async with (
        server("alice", TLS, context=context) as home,
        serving("tls:127.0.0.1:0", "udp:127.0.0.1:0", streams=settings(authority)) as served,
        agent("bob", Transport.UDP, served.addresses[Transport.UDP], answers=silent) as bob,
    ):
        async with agent("alice", TLS, served.addresses[TLS], tls=tls) as alice:
            via = Via.of(TLS, PEER, "z9hG4bKlost", port=home.path.local.port)
            alice.call(f"sip:bob@{bob.path.local};transport=udp", via=via)
            invite = await bob.got("INVITE")
        there = Path(TLS, alice.path.remote, alice.path.local)
        await served.until(lambda: there not in served.proxy.machine._flows)
        bob.respond(invite, 486)
        await home.until(lambda: "a 486 that answers nothing" in home.dropped)
