"""Phones at a proxy: one call that goes on, one that is refused, one that finds nobody.

Run as a program in a network namespace; it prints the Call-ID of the refused one.  ::

    python -m tests.netlab.sip_calls ADDRESS:PORT
"""

import asyncio
import sys

from natkit.address import Address
from natkit.machine import Transport
from tests.sip_proxy.shell.world import DOMAIN, agent


async def calls(proxy: Address) -> str:
    """Register, call, and leave the registrations and the answered call behind."""
    async with (
        agent("alice", Transport.UDP, proxy) as alice,
        agent("bob", Transport.UDP, proxy, answers=lambda _: (180, 486)) as bob,
        agent("carol", Transport.TCP, proxy) as carol,
    ):
        for phone in (alice, bob, carol):
            await phone.register().final()
        await alice.call(carol.uri).final()
        refused = alice.call(bob.uri)
        await refused.final()
        await alice.call(f"sip:nobody@{DOMAIN}").final()
        return refused.request.headers.fields("Call-ID")[0].text


if __name__ == "__main__":
    print(asyncio.run(calls(Address.parse(sys.argv[1]))))
