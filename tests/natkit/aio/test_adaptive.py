"""What is measured beside a flow becomes its interval; what cannot be measured changes nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import pytest

from natkit.address import Address
from natkit.aio.adaptive import adapt
from natkit.aio.keepalive import keep
from natkit.aio.scripts import run_script
from natkit.behaviour.steps import Answer, Ask, Open, Script, Step
from natkit.machine import Transport
from natkit.stun.attributes import ResponsePort, XorMappedAddress
from natkit.stun.message import Message
from natkit.stun.transaction import Timing

QUICK = Timing(rto=0.05, request_count=2, last_wait=4)


class Server(asyncio.DatagramProtocol):
    """Answers where it is asked to, if it is one that does."""

    honours = True
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = Message.parse(data)
        wanted = request.get(ResponsePort)
        port = wanted.port if wanted is not None and self.honours else addr[1]
        answer = request.success(XorMappedAddress(Address(*addr)))
        self.transport.sendto(answer.encode(), (addr[0], port))


@contextlib.asynccontextmanager
async def serving(*, honours: bool = True) -> AsyncIterator[Address]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        Server, local_addr=("127.0.0.1", 0)
    )
    server.honours = honours
    yield Address(*transport.get_extra_info("sockname"))
    transport.close()


async def test_a_flow_gets_the_interval_that_was_measured() -> None:
    async with serving() as server:
        flow = keep(Transport.UDP, lambda _: None, bound=100.0)
        used: list[float] = []
        flow.use = used.append  # type: ignore[method-assign, assignment]
        found = await adapt(flow, server, shortest=0.1, longest=0.4, timing=QUICK)
        flow.close()
    assert (found.works, found.survived, found.fatal) == (True, 0.4, None)
    assert used == [pytest.approx(0.34)]


async def test_a_server_that_ignores_the_port_leaves_the_flow_as_it_is() -> None:
    async with serving(honours=False) as server:
        flow = keep(Transport.UDP, lambda _: None, bound=100.0)
        used: list[float] = []
        flow.use = used.append  # type: ignore[method-assign, assignment]
        found = await adapt(flow, server, shortest=0.1, longest=0.4, timing=QUICK)
        flow.close()
    assert not found.works
    assert "RESPONSE-PORT" in found.evidence[0]
    assert used == []


async def test_a_script_runs_on_real_sockets_and_its_steps_are_told() -> None:
    def ask(server: Address) -> Script[Address | None]:
        local = yield Open(Address("127.0.0.1", 0))
        assert isinstance(local, Address)
        answer = yield Ask(local, server)
        return answer.mapped if isinstance(answer, Answer) and answer.local == local else None

    steps: list[Step] = []
    async with serving() as server:
        mapped = await run_script(ask(server), on_step=steps.append)
    assert mapped is not None
    assert [type(step) for step in steps] == [Open, Ask]


async def test_what_a_script_raises_comes_out() -> None:
    def broken() -> Script[None]:
        yield Open(Address("127.0.0.1", 0))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_script(broken())
    with pytest.raises(ZeroDivisionError):
        await run_script(broken(), on_step=lambda _: None)
