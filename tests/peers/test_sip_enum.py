"""A number is called at the address that BIND 9 has for it."""

import pytest

from natkit.machine import Transport
from sip_proxy.route_rules import AskNumber, RouteRule
from sipdns import Locator
from tests.peering.plugin import StartNamed
from tests.sip_proxy.shell.world import agent, server, serving

pytestmark = pytest.mark.peer("bind9")

NAME = "3.8.0.0.6.9.2.3.6.1.4.4"


async def test_a_number_is_called_where_its_naptr_records_say(start_named: StartNamed) -> None:
    rule = RouteRule("enum", AskNumber(("e164.arpa",)))
    async with server("bob", Transport.UDP) as bob:
        tree = (
            f'{NAME} 60 IN NAPTR 100 10 "u" "E2U+voice:tel" "!^(.*)$!tel:\\\\1!" .\n'
            f'{NAME} 60 IN NAPTR 100 20 "u" "E2U+sip" "!^.*$!sip:bob@{bob.path.local}!" .\n'
        )
        named = start_named({"e164.arpa": tree})
        async with (
            Locator(nameservers=[named]) as locator,
            serving("udp:127.0.0.1:0", numbers=locator, routes=(rule,)) as served,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            found = await alice.send("OPTIONS", "tel:+44-1632-960083").final()
            assert found.status == 200
            request = (await bob.got("OPTIONS")).request
            assert request.uri_text == f"sip:bob@{bob.path.local}"
            unknown = await alice.send("OPTIONS", "tel:+44-1632-960084").final()
            assert unknown.status == 404
