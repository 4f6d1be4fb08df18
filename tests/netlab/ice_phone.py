"""Our end of a call: fixed SIP messages around our ICE agent; it sends back all RTP that it gets.

``ice_phone.py HOST [ADDRESS]``: waits for a call, or calls ``sip:phone@ADDRESS``.
"""

import asyncio
import json
import re
import sys

from natkit.address import Address
from natkit.aio.ice import Agent
from natkit.gather import GatherSettings
from natkit.ice.sdp import parse_description, write_media

RTP, RTCP = 1, 2
ENOUGH = 50
"""Packets sent back until it tells: a second of speech."""


def tell(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def header(message: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*?)\r$", message, re.MULTILINE | re.IGNORECASE)
    assert found is not None, message
    return found.group(1)


def body_of(agent: Agent, host: str) -> str:
    """An offer or answer of one audio stream, PCMA, whose default is the host candidate."""
    (media,) = parse_description(agent.local_description).media
    ports = {
        each.component: each.address.port
        for each in media.candidates
        if isinstance(each.address, Address) and each.address.host == host
    }
    lines = [
        *("v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"),
        *("a=ice-options:ice2", f"m=audio {ports[RTP]} RTP/AVP 8", "a=rtpmap:8 PCMA/8000"),
        *(f"a=rtcp:{ports[RTCP]} IN IP4 {host}", "a=sendrecv"),
        *(line for line in write_media(media) if not line.startswith("a=mid")),
    ]
    return "".join(f"{line}\r\n" for line in lines)


class Sip(asyncio.DatagramProtocol):
    """What arrives at the signalling socket."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[str, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait((data.decode(), addr))


async def answer(sip: Sip, transport: asyncio.DatagramTransport, agent: Agent, host: str) -> str:
    """Answer an INVITE; its body."""
    while True:
        request, caller = await sip.received.get()
        if request.startswith("INVITE "):
            break
    body = body_of(agent, host)
    port = transport.get_extra_info("sockname")[1]
    head = [
        "SIP/2.0 200 OK",
        f"Via: {header(request, 'Via')}",
        f"From: {header(request, 'From')}",
        f"To: {header(request, 'To')};tag=ours",
        f"Call-ID: {header(request, 'Call-ID')}",
        f"CSeq: {header(request, 'CSeq')}",
        f"Contact: <sip:ours@{host}:{port}>",
        "Content-Type: application/sdp",
        f"Content-Length: {len(body)}",
    ]
    transport.sendto(("\r\n".join(head) + "\r\n\r\n" + body).encode(), caller)
    return request.partition("\r\n\r\n")[2]


async def call(
    sip: Sip, transport: asyncio.DatagramTransport, agent: Agent, host: str, callee: Address
) -> str:
    """Call, and acknowledge the answer; its body."""
    body = body_of(agent, host)
    port = transport.get_extra_info("sockname")[1]

    def request(method: str, to: str, content: str) -> bytes:
        head = [
            f"{method} sip:phone@{callee} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{method.lower()}",
            "Max-Forwards: 70",
            f"From: <sip:ours@{host}>;tag=ours",
            f"To: {to}",
            f"Call-ID: one@{host}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:ours@{host}:{port}>",
            *(["Content-Type: application/sdp"] if content else []),
            f"Content-Length: {len(content)}",
        ]
        return ("\r\n".join(head) + "\r\n\r\n" + content).encode()

    transport.sendto(request("INVITE", f"<sip:phone@{callee}>", body), callee)
    while True:
        response, _ = await sip.received.get()
        if response.startswith("SIP/2.0 2"):
            break
    transport.sendto(request("ACK", header(response, "To"), ""), callee)
    return response.partition("\r\n\r\n")[2]


async def main(host: str, callee: Address | None) -> None:
    loop = asyncio.get_running_loop()
    transport, sip = await loop.create_datagram_endpoint(Sip, local_addr=(host, 0))
    gathering = GatherSettings(address_filter=lambda address: address.host == host)
    async with Agent(controlling=callee is not None, components=(2,), gathering=gathering) as agent:
        await agent.gather()
        tell(address=str(Address(*transport.get_extra_info("sockname"))))
        if callee is None:
            theirs = await answer(sip, transport, agent, host)
        else:
            theirs = await call(sip, transport, agent, host, callee)
        await agent.connect(theirs)
        types = set()
        for _ in range(ENOUGH):
            packet = await agent.receive(component=RTP)
            types.add(packet[1] & 0x7F)
            await agent.send(packet, component=RTP)
        pairs = [str(agent.selected_pair(component=each)) for each in (RTP, RTCP)]
        tell(echoed=ENOUGH, types=sorted(types), controlling=agent.controlling, pairs=pairs)
        await loop.run_in_executor(None, sys.stdin.readline)
    transport.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Address.parse(sys.argv[2]) if len(sys.argv) > 2 else None))
