"""What calls between sipps do on their way: routes, forks, cancellations, challenges, losses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip.digest import Qop
from tests.peering.ports import free_port
from tests.peering.sipp import Sipp
from tests.peering.sipp_scenarios import (
    answer,
    answer_remembered,
    hear,
    of_bob,
    register,
    request,
    scenario,
    take,
    take_and_remember,
    within,
)
from tests.peering.sipp_world import LOOPBACK, Served

pytestmark = pytest.mark.peer("sipp")

CALLS = 10

TAKES_THE_CALL = (take("INVITE"), answer(180), answer(200, again=True), take("ACK"))
HANGS_UP = (within("BYE", 9), hear(200))
IS_HUNG_UP = (take("BYE"), answer(200, tag=False))
CALLS_BOB = (
    request("INVITE", 1),
    hear(100, optional=True),
    hear(180, optional=True),
    hear(200, rrs="true"),
    within("ACK", 1, again=False),
)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path, authenticate=False)
    yield served
    await served.aclose()


async def registered(
    served: Served, transport: Transport = Transport.UDP, parameters: str = ""
) -> int:
    """Another phone of Bob's; its port."""
    port = free_port(LOOPBACK)
    played = await served.sipp(
        f"registration-{port}",
        register(port, transport, parameters=parameters),
        port=free_port(LOOPBACK),
        transport=transport,
        calls=1,
    )
    assert (await played.played()).exit_status == 0
    return port


async def all_succeed(*sipps: Sipp) -> None:
    for each in sipps:
        played = await each.played()
        assert played.exit_status == 0, played.output


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
async def test_what_is_said_within_a_call_takes_the_route_of_its_first_request(
    served: Served, transport: Transport
) -> None:
    port = await registered(served, transport)
    bob = await served.sipp(
        "bob",
        scenario(
            *TAKES_THE_CALL,
            *(take("INVITE"), answer(200, tag=False, again=True), take("ACK")),
            *(take("UPDATE"), answer(200, tag=False)),
            *IS_HUNG_UP,
        ),
        port=port,
        transport=transport,
        calls=CALLS,
    )
    alice = await served.sipp(
        "alice",
        scenario(
            *CALLS_BOB,
            *(within("INVITE", 2), hear(100, optional=True), hear(200)),
            within("ACK", 2, again=False),
            *(within("UPDATE", 3), hear(200)),
            *HANGS_UP,
        ),
        port=free_port(LOOPBACK),
        transport=transport,
        calls=CALLS,
    )
    await all_succeed(alice, bob)


async def test_of_two_phones_that_ring_the_first_that_answers_has_the_call(served: Served) -> None:
    desk, mobile = await registered(served), await registered(served)
    silenced = await served.sipp(
        "desk",
        scenario(
            *(take_and_remember(), answer(180), take("CANCEL"), answer(200)),
            *(answer_remembered(487), take("ACK")),
        ),
        port=desk,
        calls=CALLS,
    )
    answers = await served.sipp(
        "mobile", scenario(*TAKES_THE_CALL, *IS_HUNG_UP), port=mobile, calls=CALLS
    )
    alice = await served.sipp(
        "alice",
        scenario(
            CALLS_BOB[0],
            *(hear(100, optional=True), hear(180, optional=True), hear(180, optional=True)),
            *CALLS_BOB[3:],
            *HANGS_UP,
        ),
        port=free_port(LOOPBACK),
        calls=CALLS,
    )
    await all_succeed(alice, answers, silenced)


async def test_when_the_better_phone_is_busy_the_other_rings(served: Served) -> None:
    first = await registered(served, parameters=";q=0.9")
    second = await registered(served, parameters=";q=0.3")
    busy = await served.sipp(
        "first", scenario(take("INVITE"), answer(486, again=True), take("ACK")),
        port=first, calls=CALLS,
    )  # fmt: skip
    answers = await served.sipp(
        "second", scenario(*TAKES_THE_CALL, *IS_HUNG_UP), port=second, calls=CALLS
    )
    alice = await served.sipp(
        "alice", scenario(*CALLS_BOB, *HANGS_UP), port=free_port(LOOPBACK), calls=CALLS
    )
    await all_succeed(alice, answers, busy)


async def test_a_caller_who_gives_up_hears_487(served: Served) -> None:
    port = await registered(served)
    bob = await served.sipp(
        "bob",
        scenario(
            *(take_and_remember(), answer(180), take("CANCEL"), answer(200)),
            *(answer_remembered(487), take("ACK")),
        ),
        port=port,
        calls=CALLS,
    )
    alice = await served.sipp(
        "alice",
        scenario(
            *(request("INVITE", 1), hear(100, optional=True), hear(180)),
            request("CANCEL", 1, branch="[branch-3]"),
            *(hear(200), hear(487)),
            request("ACK", 1, branch="[branch-6]", again=False),
        ),
        port=free_port(LOOPBACK),
        calls=CALLS,
    )
    await all_succeed(alice, bob)


async def test_a_call_that_is_answered_while_the_caller_gives_up_is_a_call(served: Served) -> None:
    port = await registered(served)
    bob = await served.sipp(
        "bob",
        scenario(
            *(take_and_remember(), answer(180), take("CANCEL"), answer(200)),
            *(answer_remembered(200), take("ACK"), *IS_HUNG_UP),
        ),
        port=port,
        calls=CALLS,
    )
    alice = await served.sipp(
        "alice",
        scenario(
            *(request("INVITE", 1), hear(100, optional=True), hear(180)),
            request("CANCEL", 1, branch="[branch-3]"),
            *(hear(200), hear(200, rrs="true")),
            *(within("ACK", 1, again=False), *HANGS_UP),
        ),
        port=free_port(LOOPBACK),
        calls=CALLS,
    )
    await all_succeed(alice, bob)


async def test_a_redirecting_proxy_names_the_phone_and_steps_aside(tmp_path: Path) -> None:
    served = Served(tmp_path, authenticate=False, redirect=True)
    try:
        await registered(served)
        alice = await served.sipp(
            "alice",
            scenario(
                *(request("INVITE", 1), hear(302)),
                request("ACK", 1, branch="[branch-2]", again=False),
            ),
            port=free_port(LOOPBACK),
            calls=CALLS,
        )
        await all_succeed(alice)
    finally:
        await served.aclose()


@pytest.mark.parametrize("qop", list(Qop))
async def test_with_her_password_alice_calls(tmp_path: Path, qop: Qop) -> None:
    """The body of her INVITE is a description, which ``auth-int`` protects too."""
    served = Served(tmp_path, authenticate=True, change=lambda one: replace(one, qop=(qop,)))
    try:
        port = free_port(LOOPBACK)
        registration = register(port, password="secret")
        played = await served.sipp("r", registration, port=free_port(LOOPBACK), calls=1)
        await all_succeed(played)
        bob = await served.sipp(
            "bob", scenario(*TAKES_THE_CALL, *IS_HUNG_UP), port=port, calls=CALLS
        )
        credentials = "[authentication username=alice password=secret]"
        alice = await served.sipp(
            "alice",
            scenario(
                *(request("INVITE", 1), hear(407, auth="true")),
                request("ACK", 1, branch="[branch-2]", again=False),
                *(request("INVITE", 2, credentials), *CALLS_BOB[1:4]),
                within("ACK", 2, again=False),
                *HANGS_UP,
            ),
            port=free_port(LOOPBACK),
            calls=CALLS,
        )
        await all_succeed(alice, bob)
    finally:
        await served.aclose()


async def test_a_request_with_no_hop_left_ends_here(served: Served) -> None:
    await registered(served)
    alice = await served.sipp(
        "alice",
        scenario(
            *(request("INVITE", 1, hops=0), hear(483)),
            request("ACK", 1, branch="[branch-2]", again=False),
        ),
        port=free_port(LOOPBACK),
        calls=CALLS,
    )
    await all_succeed(alice)


class LosesEverythingOnce(asyncio.DatagramProtocol):
    """Passes on what is for ``target``, but for the first copy of each request.

    What comes from there goes to ``back``.
    """

    def __init__(self, target: Address, back: Address) -> None:
        self._target = target
        self._back = back
        self._seen: set[tuple[bytes, ...]] = set()
        self.lost: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = Address(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # An ACK is another one each time, for all but who reads it.
        lines = data.split(b"\r\n")
        key = (lines[0].split(b" ")[0], *(one for one in lines if one[:5] in (b"Call-", b"CSeq:")))
        if addr == tuple(self._target):
            self._transport.sendto(data, tuple(self._back))
        elif lines[0].startswith(b"SIP/") or key in self._seen:
            self._transport.sendto(data, tuple(self._target))
        else:
            self._seen.add(key)
            self.lost.append(lines[0])


@asynccontextmanager
async def lossy(
    target: Address, back: Address, *, port: int = 0
) -> AsyncIterator[LosesEverythingOnce]:
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: LosesEverythingOnce(target, back), local_addr=(LOOPBACK, port)
    )
    try:
        yield made
    finally:
        transport.close()


async def test_calls_survive_that_each_request_is_lost_once_on_its_way_in_and_on_its_way_out(
    served: Served,
) -> None:
    port = free_port(LOOPBACK)
    proxy, phone = served.address, Address(LOOPBACK, port)
    async with lossy(proxy, proxy) as to_proxy, lossy(phone, proxy) as to_bob:
        registration = register(to_bob.address.port)
        played = await served.sipp("r", registration, port=free_port(LOOPBACK), calls=1)
        await all_succeed(played)
        bob = await served.sipp(
            "bob",
            # What Bob says within the call shows that the ACK has come.
            scenario(*TAKES_THE_CALL, of_bob("INFO", 1), hear(200), *IS_HUNG_UP).replace(
                "sip:bob@[local_ip]:[local_port]", f"sip:bob@{to_bob.address}"
            ),
            port=port,
            calls=CALLS,
        )
        alice = await served.sipp(
            "alice",
            scenario(*CALLS_BOB, take("INFO"), answer(200, tag=False), *HANGS_UP),
            port=free_port(LOOPBACK),
            calls=CALLS,
            through=to_proxy.address,
        )
        await all_succeed(alice, bob)
        for each in (to_proxy, to_bob):
            assert {line.split(b" ")[0] for line in each.lost} == {b"ACK", b"BYE", b"INVITE"}
            assert len(each.lost) == 3 * CALLS
