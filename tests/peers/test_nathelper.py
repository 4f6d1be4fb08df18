"""Kamailio's nathelper pings what registered with it: our flow tells those from its own traffic."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from natkit.address import Address
from natkit.aio.keepalive import KeptFlow, keep
from natkit.keepalive import Alive
from natkit.machine import Transport
from natkit.sip import Request, Response, parse_message
from tests.peering.ports import free_port
from tests.peering.process import PeerProcess
from tests.peering.roster import program_path

pytestmark = pytest.mark.peer("kamailio")

LIMIT: Final = 60.0
# Who registers from behind a NAT is pinged each second: by OPTIONS, or by four bytes of zero.
CONFIGURATION: Final = """\
#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=1
disable_core_dump=yes
dns=no
rev_dns=no
listen=udp:127.0.0.1:{port}

loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "tm.so"
loadmodule "kex.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "stun.so"
loadmodule "nathelper.so"
modparam("usrloc", "nat_bflag", 6)
modparam("registrar", "received_avp", "$avp(RECEIVED)")
modparam("nathelper", "received_avp", "$avp(RECEIVED)")
modparam("nathelper", "natping_interval", 1)
modparam("nathelper", "ping_nated_only", 1)
modparam("nathelper", "sipping_bflag", 7)
modparam("nathelper", "sipping_from", "sip:ping@invalid.invalid")

request_route {{
    if (is_method("REGISTER")) {{
        fix_nated_register();
        setbflag(6);
        {how}
        save("location");
        exit;
    }}
    sl_send_reply("501", "Not Implemented");
}}
"""
BY: Final = {"options": "setbflag(7);", "zeros": ""}
REGISTER: Final = (
    "REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.2:5060;rport;"
    "branch=z9hG4bKregister\r\nMax-Forwards: 70\r\nFrom: <sip:alice@127.0.0.1>;tag=1\r\n"
    "To: <sip:alice@127.0.0.1>\r\nCall-ID: register\r\nCSeq: 1 REGISTER\r\n"
    "Contact: <sip:alice@192.168.1.2:5060>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
)


class Phone(asyncio.DatagramProtocol):
    """Has a socket for SIP and STUN, and answers OPTIONS."""

    def __init__(self) -> None:
        self.flow: KeptFlow | None = None
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, _: object) -> None:
        if self.flow is None or not self.flow.received(data):
            self.arrived.put_nowait(data)
            if data.startswith(b"OPTIONS "):
                request = parse_message(data)
                assert isinstance(request, Request)
                self.transport.sendto(bytes(Response.to(request, 200, tag="here")))


@pytest.fixture(params=BY)
def pinging(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Address]]:
    how = str(request.param)
    program = program_path("kamailio")
    assert program is not None
    address = Address("127.0.0.1", free_port("127.0.0.1"))
    configuration = tmp_path / "kamailio.cfg"
    configuration.write_text(CONFIGURATION.format(port=address.port, how=BY[how]))
    process = PeerProcess(
        "kamailio",
        [program, "-f", configuration, "-DD", "-E", "-m", "32", "-Y", tmp_path],
        tmp_path,
    )
    yield how, address
    process.stop()


async def test_its_pings_reach_the_application_and_our_keep_alives_are_answered(
    pinging: tuple[str, Address],
) -> None:
    how, address = pinging
    transport, phone = await asyncio.get_running_loop().create_datagram_endpoint(
        Phone, remote_addr=address
    )
    async with asyncio.timeout(LIMIT), keep(Transport.UDP, transport.sendto, bound=0.2) as flow:
        phone.flow = flow
        # It answers STUN once it has started.
        assert isinstance(await anext(flow), Alive)
        transport.sendto(REGISTER.encode())
        assert (await phone.arrived.get()).startswith(b"SIP/2.0 200 ")
        for _ in range(2):
            ping = await phone.arrived.get()
            expected = rb"OPTIONS sip:alice@192\.168\.1\.2" if how == "options" else rb"\0{4}$"
            assert re.match(expected, ping), ping
            alive = await anext(flow)
            assert isinstance(alive, Alive)
            assert alive.mapped == transport.get_extra_info("sockname")
    transport.close()
