"""sipp behind routes: servers that are full, silent, lossy, or send callers elsewhere."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.sip import SipUri
from sip_proxy.route_rules import RouteRule, ToNextHops
from tests.peering.ports import free_port
from tests.peering.sipp_scenarios import answer, hear, of_bob, request, scenario, take
from tests.peering.sipp_world import DOMAIN, LOOPBACK, Served
from tests.peers.test_sipp_calls import (
    CALLS,
    CALLS_BOB,
    HANGS_UP,
    IS_HUNG_UP,
    TAKES_THE_CALL,
    all_succeed,
    lossy,
)

pytestmark = pytest.mark.peer("sipp")


@asynccontextmanager
async def serving(
    directory: Path, ports: tuple[int, ...], **changes: object
) -> AsyncIterator[Served]:
    """A proxy whose domain's requests go to the servers at these ports, the first that answers."""
    hops = tuple(SipUri.parse(f"sip:{LOOPBACK}:{port}") for port in ports)
    rule = RouteRule("servers", ToNextHops(hops), domains=frozenset({DOMAIN}))
    served = Served(
        directory,
        authenticate=False,
        change=lambda settings: replace(
            settings,
            **{"routes": (rule,), **changes},  # type: ignore[arg-type]
        ),
    )
    try:
        yield served
    finally:
        await served.aclose()


async def test_a_server_that_is_full_leaves_the_calls_to_the_next(tmp_path: Path) -> None:
    full, free = free_port(LOOPBACK), free_port(LOOPBACK)
    async with serving(tmp_path, (full, free)) as served:
        await served.sipp(
            "full", scenario(take("INVITE"), answer(503), take("ACK")), port=full, calls=CALLS
        )
        bob = await served.sipp(
            "bob", scenario(*TAKES_THE_CALL, *IS_HUNG_UP), port=free, calls=CALLS
        )
        alice = await served.sipp(
            "alice", scenario(*CALLS_BOB, *HANGS_UP), port=free_port(LOOPBACK), calls=CALLS
        )
        await all_succeed(alice, bob)


async def test_a_server_that_is_silent_costs_the_first_calls_a_moment(tmp_path: Path) -> None:
    free = free_port(LOOPBACK)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        ports = (silent.getsockname()[1], free)
        async with serving(tmp_path, ports, failover_after=0.5) as served:
            bob = await served.sipp(
                "bob", scenario(*TAKES_THE_CALL, *IS_HUNG_UP), port=free, calls=CALLS
            )
            alice = await served.sipp(
                "alice", scenario(*CALLS_BOB, *HANGS_UP), port=free_port(LOOPBACK), calls=CALLS
            )
            await all_succeed(alice, bob)


async def test_the_contacts_of_a_3xx_are_called_where_that_is_wished(tmp_path: Path) -> None:
    moved, there = free_port(LOOPBACK), free_port(LOOPBACK)
    elsewhere = answer(302).replace("[local_port];transport=[transport]", f"{there}")
    async with serving(tmp_path, (moved,), recurse=True) as served:
        first = await served.sipp(
            "moved", scenario(take("INVITE"), elsewhere, take("ACK")), port=moved, calls=CALLS
        )
        bob = await served.sipp(
            "bob", scenario(*TAKES_THE_CALL, *IS_HUNG_UP), port=there, calls=CALLS
        )
        alice = await served.sipp(
            "alice", scenario(*CALLS_BOB, *HANGS_UP), port=free_port(LOOPBACK), calls=CALLS
        )
        await all_succeed(alice, bob, first)


async def test_without_state_calls_and_refusals_find_their_way(tmp_path: Path) -> None:
    port = free_port(LOOPBACK)
    async with serving(tmp_path, (port,), stateless=True) as served:
        bob = await served.sipp(
            "bob", scenario(*TAKES_THE_CALL, *IS_HUNG_UP), port=port, calls=CALLS
        )
        alice = await served.sipp(
            "alice", scenario(*CALLS_BOB, *HANGS_UP), port=free_port(LOOPBACK), calls=CALLS
        )
        await all_succeed(alice, bob)
        busy = await served.sipp(
            "busy",
            scenario(take("INVITE"), answer(486, again=True), take("ACK")),
            port=port,
            calls=CALLS,
        )
        refused = await served.sipp(
            "refused",
            scenario(
                request("INVITE", 1),
                hear(486),
                # The ACK to a failure goes by the branch of its INVITE (RFC 3261 §17.1.1.3).
                request("ACK", 1, branch="[branch-2]", again=False, to="[last_To:]").replace(
                    "To: [last_To:]", "[last_To:]"
                ),
            ),
            port=free_port(LOOPBACK),
            calls=CALLS,
        )
        await all_succeed(refused, busy)


async def test_without_state_calls_survive_that_each_request_is_lost_once(tmp_path: Path) -> None:
    port = free_port(LOOPBACK)
    phone = Address(LOOPBACK, port)
    async with AsyncExitStack() as stack:
        relayed = free_port(LOOPBACK)
        served = await stack.enter_async_context(serving(tmp_path, (relayed,), stateless=True))
        to_proxy = await stack.enter_async_context(lossy(served.address, served.address))
        to_bob = await stack.enter_async_context(lossy(phone, served.address, port=relayed))
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
