"""The outside address on real sockets: asked of a STUN server, and used between two clients."""

import asyncio
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.aio.turn import allocate
from natkit.errors import ConfigError
from stun_server.config import Config
from stun_server.shell.external_address import external_hosts
from stun_server.shell.serving import start
from stun_server.shell.state import ephemeral_keys
from tests.stun_server.shell.test_running import LIMIT, PASSWORD, USER, Running, running

OUTSIDE = "203.0.113.77"


def configuration(**listeners: object) -> Config:
    return Config.model_validate(
        {
            "listeners": {"listen": ["127.0.0.1:0"], **listeners},
            "users": {"passwords": {USER: PASSWORD}, "store": "none"},
        }
    )


async def test_two_clients_meet_by_outside_addresses_by_indications_and_channels(
    tmp_path: Path,
) -> None:
    config = configuration(external={"127.0.0.1": OUTSIDE})
    with capture_logs() as log:
        server = Running(await start(config, ephemeral_keys(), structlog.get_logger()), log)
        try:
            async with (
                asyncio.timeout(LIMIT),
                allocate(server.uri("udp"), username=USER, password=PASSWORD) as one,
                allocate(server.uri("tcp"), username=USER, password=PASSWORD) as two,
            ):
                here, there = one.relayed_address, two.relayed_address
                assert here.host == there.host == OUTSIDE
                await one.permit(there)
                await two.permit(here)
                for channel in (False, True):
                    if channel:
                        await one.bind_channel(there)
                        await two.bind_channel(here)
                    await one.send(b"ping", there)
                    assert await two.receive() == (b"ping", here)
                    await two.send(b"pong", here)
                    assert await one.receive() == (b"pong", there)
        finally:
            await server.server.aclose()


async def test_a_stun_server_is_asked_for_the_outside_address() -> None:
    async with running() as stun:
        # It sees loopback as it is: no NAT, nothing to translate.
        config = configuration(relay_ipv4="127.0.0.1", external_from=f"stun:{stun.address}")
        assert await external_hosts(config, ()) == ()
        assert (await stun.server.administration.status()).bindings == 1
        known = configuration(
            relay_ipv4="127.0.0.1",
            external={"127.0.0.1": OUTSIDE},
            external_from=f"stun:{stun.address}",
        )
        # What is configured need not be asked for.
        assert await external_hosts(known, ()) == (("127.0.0.1", OUTSIDE),)
        assert (await stun.server.administration.status()).bindings == 1


@pytest.mark.parametrize(
    ("listeners", "said"),
    [
        ({"external": {"10.0.0.1": "2001:db8::1"}}, "different families"),
        ({"external": {"10.0.0.1": "1.2.3.4", "10.0.0.2": "1.2.3.4"}}, "of its own"),
        ({"external": {"10.0.0.1": "0.0.0.0"}}, "no address of a host"),
        ({"external_from": "turn:example.org"}, "TURN server"),
        ({"external_from": "stuns:example.org"}, "not asked over UDP"),
    ],
)
def test_mistakes_are_named(listeners: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configuration(**listeners)


async def test_a_server_outside_that_is_not_there_is_a_mistake() -> None:
    config = configuration(relay_ipv4="127.0.0.1", external_from="stun:[::1]:9")
    with pytest.raises(ConfigError, match="external_from: "):
        await external_hosts(config, ())
