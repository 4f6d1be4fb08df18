"""Multicast DNS on the loopback interface: real sockets of the real group."""

import asyncio
import socket

import pytest

from natkit.address import Address
from natkit.aio.mdns import Mdns
from natkit.errors import MisuseError, NoService
from natkit.ice.mdns.messages import query
from natkit.ice.mdns.registry import GROUP_IPV4, PORT
from natkit.net.interfaces import InterfaceAddress

LOOPBACK = (InterfaceAddress("lo", "127.0.0.1"),)
LIMIT = 30.0
NOBODYS = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"


async def test_a_name_that_one_publishes_another_resolves() -> None:
    async with asyncio.timeout(LIMIT), Mdns(LOOPBACK) as one, Mdns(LOOPBACK) as other:
        name = one.publish("127.0.0.1")
        assert name.endswith(".local")
        hosts = await asyncio.gather(other.resolve(name), other.resolve(name))
        assert [*hosts] == ["127.0.0.1"] * 2


async def test_a_withdrawn_name_is_answered_for_no_more() -> None:
    async with asyncio.timeout(LIMIT), Mdns(LOOPBACK) as one, Mdns(LOOPBACK) as other:
        first = one.publish("127.0.0.1")
        assert await other.resolve(first) == "127.0.0.1"
        one.withdraw(first)
        # What is announced after the goodbye arrives after it.
        assert await other.resolve(one.publish("127.0.0.1")) == "127.0.0.1"
        lost = asyncio.ensure_future(other.resolve(first))
        await asyncio.sleep(0)
        assert not lost.done()
        await other.aclose()
        with pytest.raises(NoService, match="closed meanwhile"):
            await lost


async def test_whoever_stops_waiting_leaves_nothing_behind() -> None:
    async with asyncio.timeout(LIMIT), Mdns(LOOPBACK) as mdns:
        waiting = asyncio.ensure_future(mdns.resolve(NOBODYS))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert mdns._waiting == {}
        assert mdns._running[0].next_deadline() is None


async def test_a_foreign_resolver_that_asks_once_from_any_port_is_answered() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT), Mdns(LOOPBACK) as mdns:
        name = mdns.publish("127.0.0.1")
        with socket.socket(type=socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            asker.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
            )
            asker.bind(("127.0.0.1", 0))
            asker.sendto(query(name), (GROUP_IPV4, PORT))
            data = await loop.sock_recv(asker, 2000)
        assert Address("127.0.0.1", 0).packed in data


async def test_an_address_of_no_link_is_not_published() -> None:
    async with asyncio.timeout(LIMIT), Mdns(LOOPBACK) as mdns:
        assert mdns.can_publish("127.0.0.1")
        assert not mdns.can_publish("192.0.2.1")
        with pytest.raises(MisuseError):
            mdns.publish("192.0.2.1")


async def test_without_a_link_every_name_stays_a_name() -> None:
    async with asyncio.timeout(LIMIT), Mdns(()) as mdns:
        with pytest.raises(NoService, match="no link"):
            await mdns.resolve(NOBODYS)
