"""Has two ICE agents meet behind each pair of NATs of the lab, and writes docs/ice-nats.md.

``python -m tests.netlab.ice_table`` needs root, the peers of the lab, and a machine that does
nothing else: it measures.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.netlab.ice_pairs import KINDS, Met, Pair, all_pairs, peers
from tests.netlab.namespaces import lab
from tests.netlab.nats import Kind
from tests.netlab.servers import serving

PAGE: Final = Path(__file__).parents[2] / "docs" / "ice-nats.md"
AT_ONCE: Final = 5
"""Pairs that gather side by side; they meet one after the other."""

TITLES: Final = {
    Kind.OPEN: "no NAT",
    Kind.FULL_CONE: "full cone",
    Kind.ADDRESS_RESTRICTED: "filters by address",
    Kind.PORT_RESTRICTED: "filters by port",
    Kind.SYMMETRIC: "symmetric",
    Kind.NESTED: "carrier's and own",
    Kind.UDP_BLOCKED: "UDP blocked",
    Kind.FIREWALL_IPV6: "IPv6, a firewall",
    Kind.NAT64: "NAT64",
}


def measure() -> dict[Pair, Met]:
    """All pairs."""
    found: dict[Pair, Met] = {}
    with lab() as made, serving(made) as net:
        for some in all_pairs(AT_ONCE):
            print(*some[0], "and so on", file=sys.stderr, flush=True)
            with lab() as theirs, peers(net, some, theirs) as running:
                for each in running:
                    each.gather()
                for pair, each in zip(some, running, strict=True):
                    each.introduce()
                    found[pair] = each.met()
    return found


def page(found: Mapping[Pair, Met]) -> str:
    """The whole document."""
    titles = ["", *(TITLES[kind] for kind in KINDS)]
    rows = [[TITLES[one], *(_cell(found.get((one, other))) for other in KINDS)] for one in KINDS]
    lines = [titles, ["---"] * len(titles), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""\
# ICE behind real NATs

`python -m tests.netlab.ice_table` writes this page: two agents (`natkit.aio.ice`), each behind a
NAT of its own in the lab (Linux with nftables, TAYGA for the NAT64), one `stun-server` for STUN and
for TURN over UDP and TCP, no delay on the lines. Each has gathered its candidates when it is told
the other's. The seconds are from then until the first data of the peer is there, for the slower one
of the two, in one run. *relayed* is by the TURN server. Agents have IPv4 alone, but in the last two
rows and columns, where they have IPv6, and relays of both.

{table}

A path is direct or relayed as `natkit.behaviour.way_to` says of the two NATs; a test holds each
cell to it.
"""


def _cell(met: Met | None) -> str:
    if met is None:
        return ""
    way = "*relayed*" if met.relayed else "direct"
    return f"{way} {met.first_data:.2f}"


def main() -> int:
    """Write the page; 2 where something is missing."""
    if os.geteuid() != 0:
        print("error: network namespaces need root: run it as root", file=sys.stderr)
        return 2
    PAGE.write_text(page(measure()), encoding="utf-8")
    print(f"page: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
