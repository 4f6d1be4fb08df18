"""An aiortc endpoint on our ICE agent that says "begin" and then echoes, steered by lines of JSON.

In come ``{"offer": sdp}``, ``{"make_offer": true}``, ``{"answer": sdp}`` and ``{"candidate": …}``;
out go ``{"sdp": …}``, ``{"open": true}``, ``{"report": …}`` for ``{"report": true}``, and for
``{"resolve": name}`` the address that the link tells, ``{"host": …}``.  Its own addresses are
hidden behind names, for which it answers.
"""

import asyncio
import json
import sys

import aiortc.rtcicetransport
from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from natkit.aio.mdns import Mdns
from natkit.compat.aioice import Connection

MADE: list["Made"] = []


class Made(Connection):
    """Remembers itself, to be asked for its pair."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        MADE.append(self)


def tell(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def attach(channel: RTCDataChannel) -> None:
    channel.on("message", channel.send)
    channel.send("begin")
    tell(open=True)


def hidden(sdp: str, mdns: Mdns) -> str:
    """The description with names for addresses, which aiortc itself could not write."""
    lines = []
    for line in sdp.splitlines():
        words = line.split(" ")
        if line.startswith("c="):
            words = ["c=IN", "IP4", "0.0.0.0"]
        elif line.startswith("a=candidate:") and mdns.can_publish(words[4]):
            words[4] = mdns.publish(words[4])
        lines.append(" ".join(words))
    return "\r\n".join(lines) + "\r\n"


async def obey(connection: RTCPeerConnection, mdns: Mdns, command: dict[str, object]) -> None:
    if "make_offer" in command:
        channel = connection.createDataChannel("echo")
        channel.on("open", lambda: attach(channel))
        await connection.setLocalDescription(await connection.createOffer())
        tell(sdp=hidden(connection.localDescription.sdp, mdns))
    elif "offer" in command:
        offer = RTCSessionDescription(sdp=str(command["offer"]), type="offer")
        await connection.setRemoteDescription(offer)
        await connection.setLocalDescription(await connection.createAnswer())
        tell(sdp=hidden(connection.localDescription.sdp, mdns))
    elif "answer" in command:
        answer = RTCSessionDescription(sdp=str(command["answer"]), type="answer")
        await connection.setRemoteDescription(answer)
    elif "candidate" in command:
        text = str(command["candidate"])
        candidate = candidate_from_sdp(text.partition(":")[2]) if text else None
        if candidate is not None:
            candidate.sdpMid = "0"
        await connection.addIceCandidate(candidate)
    elif "resolve" in command:
        tell(host=await mdns.resolve(str(command["resolve"])))
    elif "report" in command:
        (made,) = MADE
        assert made._agent is not None
        pair = made._agent.selected_pair()
        tell(
            report={
                "controlling": made.ice_controlling,
                "pair": str(pair),
                "explanation": str(made._agent.explain()),
            }
        )


async def main() -> None:
    aiortc.rtcicetransport.Connection = Made  # type: ignore[attr-defined, assignment]
    connection = RTCPeerConnection()
    connection.on("datachannel", attach)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell(ready=True)
    async with Mdns() as mdns:
        while line := await reader.readline():
            await obey(connection, mdns, json.loads(line))
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
