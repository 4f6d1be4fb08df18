"""Our proxy as the edge of a registrar that is Kamailio: outbound, Path and flow tokens agree."""

from pathlib import Path as FilePath

import pytest

from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress, SipUri
from natkit.sip.kinds import CONTACT, REQUIRE, ROUTE, SUPPORTED, VIA
from sip_proxy.homes import Home
from tests.certificates import Authority
from tests.peering.kamailio_scripts import registrar
from tests.peering.plugin import StartKamailio
from tests.sip_proxy.shell.world import DOMAIN, agent, serving

pytestmark = pytest.mark.peer("kamailio")

UDP, TCP = Transport.UDP, Transport.TCP
FLOW = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>";reg-id=1'
SUPPORTS = HeaderField.of(SUPPORTED, "path", "outbound", "gruu")


@pytest.mark.parametrize("transport", [UDP, TCP])
async def test_a_phone_is_registered_through_us_called_by_its_flow_and_gone_with_it(
    start_kamailio: StartKamailio, tmp_path: FilePath, transport: Transport
) -> None:
    kamailio = start_kamailio(Authority(tmp_path).issue("registrar"), script=registrar())
    home = Home(DOMAIN, SipUri.parse(f"sip:{kamailio.plain}"))
    async with (
        serving(
            *("udp:127.0.0.1:0", "tcp:127.0.0.1:0"),
            domains=frozenset({"edge.example"}),
            authenticate=True,
            homes=(home,),
        ) as edge,
        agent("alice", UDP, edge.addresses[UDP]) as alice,
    ):
        async with agent("bob", transport, edge.addresses[transport]) as bob:
            registered = await bob.register(SUPPORTS, parameters=FLOW).final()
            assert registered.status == 200
            assert registered.headers.get_all(REQUIRE) == ("outbound",)
            named = registered.headers.first(CONTACT)
            assert isinstance(named, NameAddress)
            assert named.parameter("reg-id") == "1"
            for uri in (bob.uri, named.parameter("pub-gruu") or ""):
                assert await alice.whole_call(uri) == 200
            invite = (await bob.got("INVITE")).request
            # Through us to Kamailio, and back by the Route that we wrote into Path.
            ports = [via.port for via in invite.headers.get_all(VIA)]
            there, here = kamailio.plain.port, edge.addresses[UDP].port
            assert ports == [edge.addresses[transport].port, there, here, alice.path.local.port]
            assert not invite.headers.has(ROUTE)
            assert (await bob.got("BYE")).request.uri_text == bob.contact
        if transport is TCP:
            assert await alice.whole_call(f"sip:bob@{DOMAIN}") == 430
