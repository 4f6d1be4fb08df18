"""A proxy that starts keeps the flows open that its store knows of."""

import asyncio
import time

from natkit.address import Address
from natkit.aio.udp import bind_udp
from natkit.errors import StoreFailure
from natkit.machine import Failure, Path, Transport
from natkit.sip import Request, parse_message
from sip_proxy.location import Binding
from sip_proxy.nat import NatSettings
from sip_proxy.settings import Settings
from sip_proxy.shell.listening import ListenAddress, open_listeners
from sip_proxy.shell.resuming import tell_bindings
from sip_proxy.shell.running import RunningProxy
from sip_proxy.shell.stores import MemoryLocation
from sip_proxy.shell.users import Users
from tests.sip_proxy.shell.world import DOMAIN, LIMIT, Names

BOB = f"sip:bob@{DOMAIN}"


async def test_a_phone_registered_before_the_start_is_asked_whether_it_is_there() -> None:
    bound = open_listeners([ListenAddress.parse("udp:127.0.0.1:0")])
    (listener,) = [each.listener for each in bound]
    with bind_udp(Address("127.0.0.1", 0)) as phone:
        loop = asyncio.get_running_loop()
        flow = Path(Transport.UDP, listener.address, Address(*phone.getsockname()[:2]))
        entry = f"sip:token@127.0.0.1:{listener.address.port};lr;ob"
        now = time.time()
        binding = Binding(
            "sip:bob@10.0.0.2", now + 600, 1000, "1", 1, now, path=(entry,), flow=flow
        )
        location = MemoryLocation()
        location._table.put(BOB, (binding,))
        settings = Settings((listener,), frozenset({DOMAIN}), nat=NatSettings(interval=1.0))
        running = RunningProxy(settings, bound, Users(), Names(), location=location)
        try:
            data = await asyncio.wait_for(loop.sock_recv(phone, 2048), LIMIT)
        finally:
            await running.aclose()
    asked = parse_message(data)
    assert isinstance(asked, Request)
    assert (asked.method, asked.uri_text) == ("OPTIONS", "sip:bob@10.0.0.2")


class _Failing(MemoryLocation):
    """A store that lists and is then lost, or is lost at once."""

    def __init__(self, *, lists: bool) -> None:
        super().__init__()
        self._lists = lists

    async def listed(self, limit: int) -> list[str]:
        if not self._lists:
            raise StoreFailure("down")
        return [f"sip:{number}@{DOMAIN}" for number in range(limit)]

    def find(self, address_of_record: str, unix_now: float, found: object) -> None:
        del address_of_record, unix_now
        assert callable(found)
        found(Failure("down"))


async def test_a_store_that_fails_then_tells_nothing() -> None:
    told: list[str] = []
    for lists in (False, True):
        await tell_bindings(_Failing(lists=lists), 5, time.time, lambda name, _: told.append(name))
    assert told == []
