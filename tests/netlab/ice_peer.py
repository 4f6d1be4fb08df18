"""An ICE agent behind a NAT of the lab, as a program that is told of its peer by its input.

It prints its description as a line of JSON, reads the peer's, and prints which path was found, and
after how many seconds the first data came by it.  Arguments: its role, families, servers::

    python ice_peer.py controlling ipv4 stun:203.0.113.10 turn:203.0.113.10?transport=tcp …
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from time import monotonic
from typing import cast

from natkit.address import Family
from natkit.aio.ice import Agent, IceFailed
from natkit.gather.settings import GatherSettings, StunServer, TurnServer
from natkit.ice.candidate import CandidateType

__all__ = ["PASSWORD", "USER", "main"]

USER = "user"
PASSWORD = "secret"
FAMILIES = {
    "ipv4": frozenset({Family.IPV4}),
    "both": frozenset(Family),
}


async def meet(role: str, family: str, uris: Sequence[str]) -> dict[str, object]:
    """Find the peer; what is said of the path."""
    servers = [
        TurnServer(uri, USER, PASSWORD) if uri.startswith("turn") else StunServer(uri)
        for uri in uris
    ]
    gathering = GatherSettings(
        servers=tuple(servers),
        families=FAMILIES[family],
    )
    async with Agent(controlling=role == "controlling", gathering=gathering) as agent:
        print(json.dumps(await agent.gather()), flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        began = monotonic()
        try:
            await agent.connect(cast("str", json.loads(line)))
        except IceFailed as error:
            return {"failed": f"{error}: {error.explanation}"}
        await agent.send(b"hello")
        data = await agent.receive()
        first = monotonic() - began
        while (pair := agent.selected_pair()) is None:
            await anext(agent)
        chosen = monotonic() - began
        # The peer is to have what was sent before this side is gone.
        print(json.dumps("heard"), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        types = (pair.local.type, pair.remote.type)
        return {
            "data": data.decode(),
            "relayed": CandidateType.RELAYED in types,
            "types": [str(each) for each in types],
            "first_data": first,
            "chosen": chosen,
        }


def main() -> None:
    """Run once."""
    role, family, *uris = sys.argv[1:]
    print(json.dumps(asyncio.run(meet(role, family, uris))), flush=True)


if __name__ == "__main__":
    main()
