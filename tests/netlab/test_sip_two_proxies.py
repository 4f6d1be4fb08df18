"""Phones behind NATs that registered at one of two proxies are called through the other."""

from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from natkit.address import Address
from tests.netlab.namespaces import Lab
from tests.netlab.nats import ALTERNATE, PRIMARY, Internet, Kind
from tests.netlab.sip_phone_process import Told, until_the_end
from tests.peering.databases import RedisServer
from tests.sip_proxy.process import SipProxyProcess

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "nftables", "redis")]

KINDS: Final = (Kind.PORT_RESTRICTED, Kind.SYMMETRIC, Kind.NESTED)
TRANSPORTS: Final = ("udp", "tcp")
FIRST, SECOND = Address(PRIMARY, 5060), Address(ALTERNATE, 5060)


def test_a_phone_behind_a_nat_that_lets_in_one_proxy_alone_is_called_through_the_other(
    lab: Lab, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        net = Internet(lab)
        redis = RedisServer()
        stack.callback(redis.remove)
        tables = f'[users]\nauthenticate = false\n[registrations]\nstore = "{redis.unix_url}"\n'
        proxies = [
            SipProxyProcess(tmp_path / name, tables, net.servers.prefix, address)
            for name, address in (("first", FIRST), ("second", SECOND))
        ]
        for proxy in proxies:
            stack.callback(proxy.kill)
            proxy.begin()
        for proxy in proxies:
            proxy.wait()
        names = [f"{kind}-{transport}" for kind in KINDS for transport in TRANSPORTS]
        for kind in KINDS:
            phones = [
                word
                for transport in TRANSPORTS
                for word in (f"{kind}-{transport}", transport, FIRST.host, str(FIRST.port))
            ]
            told = Told(net.behind(kind).host, "phone", *phones)
            stack.enter_context(until_the_end([told.process]))
            for _ in TRANSPORTS:
                assert "registered" in told.line()
        caller = Told(net.servers, "caller", SECOND.host, str(SECOND.port))
        stack.enter_context(until_the_end([caller.process]))
        for name in names:
            caller.say(name)
        answers = [caller.line() for _ in names]
    assert {str(each["called"]): each["status"] for each in answers} == dict.fromkeys(names, 200)
