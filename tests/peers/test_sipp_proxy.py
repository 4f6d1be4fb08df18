"""sipp calls sipp through the proxy, and registers at it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip.digest import Algorithm
from sip_proxy.settings import Settings
from sip_proxy.shell.listening import ListenAddress, open_listeners
from sip_proxy.shell.running import RunningProxy
from sip_proxy.shell.users import Users
from sipdns import Locator
from tests.peering.ports import free_port
from tests.peering.sipp import Sipp

pytestmark = pytest.mark.peer("sipp")

DOMAIN = "example.org"
LOOPBACK = "127.0.0.1"
# sipp 3.6 knows MD5 alone, and looks at the first challenge only.
ALGORITHMS = (Algorithm.MD5,)
CALLS = 20


class Served:
    """A proxy on a free port of loopback, and sipps that use it."""

    def __init__(self, directory: Path, *, authenticate: bool) -> None:
        bound = open_listeners([ListenAddress.parse(f"{LOOPBACK}:0")])
        self.address = bound[0].listener.address
        self._directory = directory
        self._sipps: list[Sipp] = []
        settings = Settings(
            tuple(each.listener for each in bound),
            frozenset({DOMAIN, LOOPBACK}),
            authenticate=authenticate,
            algorithms=ALGORITHMS,
        )
        self._proxy = RunningProxy(
            settings,
            bound,
            Users.of_passwords({"bob": "secret"}, [DOMAIN]),
            Locator(transports=(Transport.UDP, Transport.TCP)),
        )

    async def sipp(
        self,
        name: str,
        scenario: str,
        *options: str,
        port: int,
        transport: Transport = Transport.UDP,
        calls: int = CALLS,
    ) -> Sipp:
        """Start one that plays a scenario, with the proxy as its remote."""
        started = await Sipp.start(
            self._directory,
            name,
            Address(LOOPBACK, port),
            self.address,
            scenario,
            *("-m", str(calls)),
            *options,
            transport=transport,
        )
        self._sipps.append(started)
        return started

    async def aclose(self) -> None:
        """End all."""
        for each in self._sipps:
            await each.stop()
        await self._proxy.aclose()


@pytest.fixture
async def open_proxy(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path, authenticate=False)
    yield served
    await served.aclose()


@pytest.fixture
async def strict_proxy(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path, authenticate=True)
    yield served
    await served.aclose()


def register(
    port: int,
    transport: Transport = Transport.UDP,
    *,
    domain: str = DOMAIN,
    password: str | None = None,
) -> str:
    """Bob registers a contact on ``port``; with a password after a challenge."""
    parameter = "" if transport is Transport.UDP else f";transport={transport}"

    def request(number: int, more: str = "") -> str:
        return f"""<send retrans="500"><![CDATA[
REGISTER sip:{domain} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
From: <sip:bob@{domain}>;tag=[call_number]
To: <sip:bob@{domain}>
Call-ID: [call_id]
CSeq: {number} REGISTER
Contact: <sip:bob@[local_ip]:{port}{parameter}>
{more}Content-Length: 0

]]></send>
"""

    steps = request(1)
    if password is not None:
        credentials = f"[authentication username=bob password={password}]\n"
        steps += f'<recv response="401" auth="true"/>{request(2, credentials)}'
    return (
        f'<?xml version="1.0"?><scenario name="register">{steps}<recv response="200"/></scenario>'
    )


async def test_with_its_password_bob_registers(strict_proxy: Served) -> None:
    port = free_port(LOOPBACK)
    scenario = register(port, password="secret")
    played = await (await strict_proxy.sipp("bob", scenario, port=port, calls=1)).played()
    assert played.exit_status == 0, played.output


async def test_with_another_password_he_does_not(strict_proxy: Served) -> None:
    port = free_port(LOOPBACK)
    scenario = register(port, password="wrong")
    played = await (await strict_proxy.sipp("bob", scenario, port=port, calls=1)).played()
    assert played.exit_status == 1
    assert "401 Unauthorized" in played.output


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
async def test_alice_calls_bob_over_and_over(open_proxy: Served, transport: Transport) -> None:
    bob, alice = free_port(LOOPBACK), free_port(LOOPBACK)
    # sipp's own scenarios call a user at the address of the proxy.
    scenario = register(bob, transport, domain=str(open_proxy.address))
    registered = await open_proxy.sipp(
        "registration", scenario, port=free_port(LOOPBACK), transport=transport, calls=1
    )
    assert (await registered.played()).exit_status == 0
    called = await open_proxy.sipp("bob", "uas", port=bob, transport=transport)
    caller = await open_proxy.sipp(
        "alice", "uac", "-s", "bob", "-r", "20", port=alice, transport=transport
    )
    played = await caller.played()
    assert played.exit_status == 0, played.output
    assert (await called.played()).exit_status == 0
