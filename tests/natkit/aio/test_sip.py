"""Requests and answers of SIP, awaited on real sockets."""

import asyncio
from collections.abc import Sequence
from pathlib import Path as FilePath

import pytest

from natkit.address import Address
from natkit.aio.secure import Trust
from natkit.aio.sip import Element, Incoming
from natkit.aio.tls import server_context
from natkit.errors import MisuseError, TransactionTimeout, UnreachableError
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import HeaderField, Response
from natkit.sip.digest import (
    AUTHORIZATION,
    WWW_AUTHENTICATE,
    Algorithm,
    Challenge,
    Credentials,
    Qop,
    ha1,
)
from natkit.sip.kinds import CSEQ, VIA
from natkit.sip.transactions import SipTiming
from tests.certificates import Authority
from tests.sip_proxy.shell.world import server

LOOPBACK = Address("127.0.0.1", 0)
BRIEF = SipTiming(t1=0.01)


class Fixed:
    """A locator that gives what the test says."""

    def __init__(self, *targets: Target) -> None:
        self.targets = targets

    async def locate(self, _uri: str) -> Sequence[Target]:
        return self.targets


def at(address: Address, transport: Transport = Transport.UDP, name: str = "") -> Target:
    return Target(transport, address, name, name)


async def echo(incoming: Incoming) -> Response:
    return incoming.response(200, body=incoming.request.body[::-1])


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_request_gets_its_answer(transport: Transport, host: str) -> None:
    async with Element(answer=echo) as server_, Element(sender="sip:ann@example.org") as client:
        there = await server_.listen(transport, Address(host, 0))
        uri = f"sip:{there};transport={transport}"
        answers = await asyncio.gather(
            *[client.request("MESSAGE", uri, body=b"%d0" % number) for number in range(1, 6)]
        )
        assert [answer.status for answer in answers] == [200] * 5
        assert [answer.body for answer in answers] == [b"0%d" % number for number in range(1, 6)]
        if transport is Transport.TCP:
            again = await client.request("MESSAGE", uri)
            # The connection is used again.
            ports = {answer.headers.get_all(VIA)[0].port for answer in (answers[-1], again)}
            assert len(ports) == 1


async def test_a_challenge_is_answered_once() -> None:
    seen: list[int] = []

    async def ask(incoming: Incoming) -> Response:
        cseq = incoming.request.headers.get(CSEQ)
        assert cseq is not None
        seen.append(cseq.number)
        for credentials in incoming.request.headers.get_all(AUTHORIZATION):
            secret = ha1("ann", "example.org", "secret", Algorithm.SHA_256)
            assert isinstance(credentials, Credentials)
            if credentials.proves(secret, "REGISTER", b""):
                return incoming.response(200)
        challenge = Challenge("example.org", "nonce", Algorithm.SHA_256, (Qop.AUTH,))
        return incoming.response(401, HeaderField.of(WWW_AUTHENTICATE, challenge))

    async with Element(answer=ask) as registrar:
        there = await registrar.listen(Transport.UDP, LOOPBACK)
        for password, status in (("secret", 200), ("wrong", 401)):
            async with Element(username="ann", password=password) as phone:
                answer = await phone.request("REGISTER", f"sip:{there}", to="sip:ann@example.org")
                assert answer.status == status
        assert seen == [1, 2, 1, 2]


async def test_the_next_server_is_asked_when_one_is_gone_or_refuses() -> None:
    async def busy(incoming: Incoming) -> Response:
        return incoming.response(503)

    async with Element(answer=busy) as first, Element(answer=echo) as second:
        refusing = at(await first.listen(Transport.UDP, LOOPBACK))
        good = at(await second.listen(Transport.TCP, LOOPBACK), Transport.TCP)
        closed = at(Address("127.0.0.1", 1), Transport.TCP)
        async with Element(locator=Fixed(refusing, closed, good)) as client:
            assert (await client.request("OPTIONS", "sip:example.org")).status == 200
        async with Element(locator=Fixed(closed, refusing)) as client:
            assert (await client.request("OPTIONS", "sip:example.org")).status == 503
        async with Element(locator=Fixed(closed)) as client:
            with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 over TCP"):
                await client.request("OPTIONS", "sip:example.org")


async def test_a_silent_server_is_a_timeout_and_a_lost_connection_an_error() -> None:
    async with (
        server("mute", Transport.UDP, answers=lambda _: ()) as mute,
        Element(locator=Fixed(at(mute.path.local)), timing=BRIEF) as client,
    ):
        with pytest.raises(TransactionTimeout):
            await client.request("OPTIONS", "sip:example.org")
    async with server("mute", Transport.TCP, answers=lambda _: ()) as mute:
        locator = Fixed(at(mute.path.local, Transport.TCP))
        async with Element(locator=locator) as client, asyncio.TaskGroup() as group:

            async def asks() -> None:
                with pytest.raises(UnreachableError, match="ended before"):
                    await client.request("OPTIONS", "sip:example.org")

            group.create_task(asks())
            await mute.got("OPTIONS")
            await mute.aclose()


async def test_who_serves_nothing_says_so_and_a_defect_is_500() -> None:
    async def fail(_: Incoming) -> Response:
        raise KeyError("defect")

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with Element() as nothing, Element(answer=fail) as broken, Element() as client:
        for element, status in ((nothing, 501), (broken, 500)):
            there = await element.listen(Transport.UDP, LOOPBACK)
            assert (await client.request("OPTIONS", f"sip:{there}")).status == status


@pytest.mark.parametrize(("name", "good"), [("example.org", True), ("other.example", False)])
async def test_over_tls_the_server_proves_its_domain(
    tmp_path: FilePath, name: str, good: bool
) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority.issue(name).files)
    async with server("bob", Transport.TLS, context=context) as bob:
        locator = Fixed(at(bob.path.local, Transport.TLS, "example.org"))
        async with Element(locator=locator, trust=Trust(authority.file)) as client:
            if good:
                assert (await client.request("OPTIONS", "sip:example.org")).status == 200
            else:
                with pytest.raises(UnreachableError, match=r"not for example\.org"):
                    await client.request("OPTIONS", "sip:example.org")
                assert bob.received == []


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("INVITE", "sip:127.0.0.1"),
        ("ACK", "sip:127.0.0.1"),
        ("OPTIONS", "sip:"),
        ("OPTIONS", "http://example.org"),
        ("OPTIONS", "sip:127.0.0.1;transport=sctp"),
        ("OPTIONS", "sip:127.0.0.1;transport=pigeon"),
    ],
)
async def test_what_cannot_be_asked_is_a_misuse(method: str, uri: str) -> None:
    async with Element() as client:
        with pytest.raises(MisuseError):
            await client.request(method, uri)


async def test_closing_ends_what_waits() -> None:
    async with server("mute", Transport.UDP, answers=lambda _: ()) as mute:
        client = Element(locator=Fixed(at(mute.path.local)))
        asked = asyncio.create_task(client.request("OPTIONS", "sip:example.org"))
        await mute.got("OPTIONS")
        await client.aclose()
        with pytest.raises(UnreachableError, match="closed"):
            await asked


async def test_requests_are_taken_over_udp_and_tcp_alone() -> None:
    async with Element() as element:
        with pytest.raises(MisuseError, match="UDP and TCP"):
            await element.listen(Transport.TLS, LOOPBACK)
