"""Gateways that rewrite SIP, or anything, are found out by what comes back changed."""

from typing import Final

import pytest

from natkit.address import Address
from natkit.behaviour import Fact
from natkit.behaviour.sip_alg import sip_alg
from natkit.sip import Request, Response, parse_message
from natkit.sip.kinds import VIA
from tests.natkit.behaviour.test_discovery import discover
from tests.natkit.behaviour.world import OUTSIDE, PRIMARY, World, lying
from tests.simnet import Dependence, Endpoint, Gateway, Host, NatBehaviour

SIP: Final = Address("203.0.113.20", 5060)
TOKEN: Final = "0123456789abcdef01234567"
REST: Final = "From: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"


class SipServer:
    """Answers OPTIONS; ``stamps``: with where it received them from."""

    def __init__(self, host: Host) -> None:
        self.requests: list[Request] = []
        self.stamps = True
        self._host = host
        host.bind(SIP, self)

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        request = parse_message(data)
        assert isinstance(request, Request)
        self.requests.append(request)
        via = request.headers.first(VIA)
        assert via is not None
        stamped = via.stamped(remote) if self.stamps else via
        response = Response.to(request, 200, tag="there")
        headers = response.headers.replace_first(VIA, stamped)
        answer = Response(response.status, response.reason, headers)
        self._host.send_datagram(bytes(answer), local, remote)


class OddServer:
    """Has one answer to everything."""

    def __init__(self, host: Host, answer: bytes) -> None:
        self.asked = 0
        self._host, self._answer = host, answer
        host.bind(SIP, self)

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        self.asked += len(data) > 0
        self._host.send_datagram(self._answer, local, remote)


def world_with(
    gateway: Gateway, mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
) -> tuple[World, SipServer]:
    world = World(NatBehaviour(gateway=gateway, mapping=mapping))
    return world, SipServer(world.network.host("sip", SIP.host))


def asked(world: World) -> Fact:
    return world.find(sip_alg(world.local, SIP, PRIMARY, TOKEN)).rewrites


@pytest.mark.parametrize("mapping", Dependence)
def test_without_a_gateway_all_comes_back_as_it_was_sent(mapping: Dependence) -> None:
    world, server = world_with(Gateway.OFF, mapping)
    with world.network:
        assert asked(world) == Fact(
            holds=False,
            confidence=1.0,
            evidence=("4 of 4 things that gateways rewrite came back as they were sent",),
        )
    (request,) = server.requests
    assert (request.method, request.uri_text) == ("OPTIONS", f"sip:{SIP}")


@pytest.mark.parametrize("gateway", [Gateway.SIP, Gateway.SIP_OUT])
def test_a_gateway_that_rewrites_sip_is_seen_even_if_it_undoes_it(gateway: Gateway) -> None:
    world, server = world_with(gateway)
    with world.network:
        found = asked(world)
        assert (found.holds, found.confidence) == (True, 1.0), found
    via = server.requests[0].headers.first(VIA)
    assert via is not None
    assert via.host == OUTSIDE


def test_a_gateway_that_rewrites_sip_leaves_stun_alone() -> None:
    world, _ = world_with(Gateway.SIP)
    with world.network:
        report, _ = discover(world, sip_servers=(SIP,))
        assert report.rewritten.holds is False
        (sip,) = report.sip
        assert (sip.server, sip.rewrites.holds) == (SIP, True)


def test_a_gateway_that_rewrites_anything_is_seen_by_the_plain_address() -> None:
    world, _ = world_with(Gateway.ANYTHING)
    with world.network:
        report, _ = discover(world)
        assert report.rewritten.holds is True, report.rewritten
        assert report.mapped is not None
        assert report.mapped.host == OUTSIDE


def test_a_server_that_says_nothing_plainly_shows_nothing() -> None:
    world = World(NatBehaviour(), settings=lying(others=()))
    with world.network:
        report, _ = discover(world)
        assert report.rewritten.holds is None


def test_a_server_that_does_not_say_where_it_received_from_lowers_the_confidence() -> None:
    world, server = world_with(Gateway.OFF)
    server.stamps = False
    with world.network:
        found = asked(world)
        assert (found.holds, found.confidence) == (False, 0.75)


def test_silence_shows_nothing() -> None:
    world = World(NatBehaviour())
    with world.network:
        found = asked(world)
        assert (found.holds, found.confidence) == (None, 0.0)
        assert "swallows" in found.evidence[0]


@pytest.mark.parametrize(
    "answer",
    [
        "{token}",
        "SIP/2.0 200 OK\r\n{token}",
        "SIP/2.0 200 OK\r\nX: {token}\r\n\r\n",
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch={{token}};received=here\r\n{REST}",
    ],
)
def test_what_is_no_response_shows_nothing_and_raises_nothing(answer: str) -> None:
    world = World(NatBehaviour())
    host = world.network.host("sip", SIP.host)
    odd = OddServer(host, answer.format(token=TOKEN).encode())
    with world.network:
        assert asked(world).holds is None
    assert odd.asked


def test_an_echo_of_the_request_is_no_response() -> None:
    world = World(NatBehaviour())
    Endpoint(world.network.host("sip", SIP.host), SIP.port, echo=True)
    with world.network:
        assert asked(world).holds is None


def test_others_datagrams_are_not_taken_for_the_answer() -> None:
    world = World(NatBehaviour(filtering=Dependence.ENDPOINT_INDEPENDENT))
    with world.network:
        stranger = Endpoint(world.network.host("stranger", "203.0.113.66"))
        for port in range(1024, 1030):
            stranger.send(b"SIP/2.0 200 OK\r\n\r\n", Address(OUTSIDE, port))
        assert asked(world).holds is None
