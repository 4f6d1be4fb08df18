"""Tools that name NATs: how they are started behind one, and what their output says of it."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from natkit.behaviour import Filtering, Mapping
from tests.netlab.nats import Behind, Kind, Truth
from tests.netlab.servers import Server

TIME_LIMIT: Final = 120.0
PYSTUN3: Final = Path(__file__).parents[2] / ".cache" / "pystun3"
"""Where the table's program installs it: its wheel has a package ``tests``, as the project has."""

MAPPING: Final = {
    Mapping.NONE: "no NAT",
    Mapping.ENDPOINT_INDEPENDENT: "EIM",
    Mapping.ADDRESS_DEPENDENT: "ADM",
    Mapping.ADDRESS_AND_PORT_DEPENDENT: "APDM",
    Mapping.DEPENDENT: "ADM or APDM",
    Mapping.UNKNOWN: "",
}
FILTERING: Final = {
    Filtering.ENDPOINT_INDEPENDENT: "EIF",
    Filtering.ADDRESS_DEPENDENT: "ADF",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "APDF",
    Filtering.UNKNOWN: "",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool says, in the words of the table; empty when it says nothing.

    ``right`` is whether it is so; None when nothing is said.
    """

    words: str
    right: bool | None


NOTHING: Final = Said("", None)


@dataclass(frozen=True, slots=True)
class Tool:
    """A program: its arguments, whether it knows IPv6, and how its output is judged."""

    name: str
    command: Callable[[Behind, Server], tuple[str, ...]]
    judge: Callable[[Kind, Truth, str], Said]
    ipv6: bool = True
    directory: Path | None = None

    def takes(self, kind: Kind) -> bool:
        """Whether it can be asked there at all."""
        return self.ipv6 or kind not in (Kind.FIREWALL_IPV6, Kind.NAT64)


def words(truth: Truth) -> str:
    """A NAT in the words of the table."""
    return ", ".join(filter(None, (MAPPING[truth.mapping], FILTERING[truth.filtering])))


# ── natkit nat ──────────────────────────────────────────────────────────────────────────────────


def _natkit(behind: Behind, server: Server) -> tuple[str, ...]:
    program = "import sys; from natkit.cli.main import run; sys.exit(run())"
    return (sys.executable, "-c", program, "nat", *server.flags(behind), "--json")


def judge_natkit(kind: Kind, truth: Truth, output: str) -> Said:
    """Its JSON."""
    if not output:
        return NOTHING
    (family,) = cast("list[dict[str, dict[str, str]]]", json.loads(output)["families"])
    if kind is Kind.UDP_BLOCKED or cast("object", family["udp"]) == "blocked":
        blocked = cast("object", family["udp"]) == "blocked"
        return Said("UDP is blocked", kind is Kind.UDP_BLOCKED) if blocked else NOTHING
    found = Truth(Mapping(family["mapping"]["kind"]), Filtering(family["filtering"]["kind"]))
    return _compared(found, truth)


def _compared(found: Truth, truth: Truth) -> Said:
    """Half an answer is right when that half is."""
    said = words(found)
    if not said:
        return NOTHING
    return Said(
        said,
        found.mapping in (truth.mapping, Mapping.UNKNOWN)
        and found.filtering in (truth.filtering, Filtering.UNKNOWN),
    )


# ── turnutils_natdiscovery, of coturn ───────────────────────────────────────────────────────────


def _natdiscovery(behind: Behind, server: Server) -> tuple[str, ...]:
    return ("turnutils_natdiscovery", "-m", "-f", server.address(behind))


_DISCOVERED: Final = re.compile(r"^NAT with (.+) (Mapping|Filtering)!", re.MULTILINE)
_DEPENDENCES: Final = {
    "Endpoint Independent": (Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT),
    "Address Dependent": (Mapping.ADDRESS_DEPENDENT, Filtering.ADDRESS_DEPENDENT),
    "Address and Port Dependent": (
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
        Filtering.ADDRESS_AND_PORT_DEPENDENT,
    ),
}


def judge_natdiscovery(kind: Kind, truth: Truth, output: str) -> Said:
    """Lines such as ``NAT with Endpoint Independent Mapping!``; a host without NAT has them too."""
    said = {what: how for how, what in _DISCOVERED.findall(output)}
    mapping = _DEPENDENCES[said["Mapping"]][0] if "Mapping" in said else Mapping.UNKNOWN
    filtering = _DEPENDENCES[said["Filtering"]][1] if "Filtering" in said else Filtering.UNKNOWN
    if kind is Kind.UDP_BLOCKED:
        return NOTHING if not said else Said(words(Truth(mapping, filtering)), right=False)
    return _compared(Truth(mapping, filtering), truth)


# ── tools of RFC 3489 ───────────────────────────────────────────────────────────────────────────

_CLASSIC: Final = {
    (Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT): ("Open", "Open Internet"),
    (Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT): (
        *("Independent Mapping, Independent Filter", "Full Cone"),
    ),
    (Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT): (
        *("Independent Mapping, Address Dependent Filter", "Restric NAT"),
    ),
    (Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT): (
        *("Independent Mapping, Port Dependent Filter", "Restric Port NAT"),
    ),
    (Mapping.ADDRESS_AND_PORT_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT): (
        *("Dependent Mapping", "Symmetric NAT"),
    ),
    (Mapping.UNKNOWN, Filtering.UNKNOWN): ("Blocked or could not reach STUN server", "Blocked"),
}
"""What a NAT is called by stun-client and by pystun3."""


def _stun_client(behind: Behind, server: Server) -> tuple[str, ...]:
    return ("stun", server.address(behind))


def judge_stun_client(_: Kind, truth: Truth, output: str) -> Said:
    """``Primary: Independent Mapping, Port Dependent Filter, preserves ports, no hairpin``."""
    return _classic(output, r"Primary: (.*?)(?:, (?:preserves|random|no hairpin).*)?\s*$", truth, 0)


def _pystun3(behind: Behind, server: Server) -> tuple[str, ...]:
    return (sys.executable, "-m", "stun.cli", "-H", server.address(behind))


def judge_pystun3(_: Kind, truth: Truth, output: str) -> Said:
    """``NAT Type:`` and ``External IP:``, which is often None."""
    return _classic(output, r"NAT Type: (.*)$", truth, 1)


def _classic(output: str, pattern: str, truth: Truth, column: int) -> Said:
    found = re.search(pattern, output, re.MULTILINE)
    if found is None:
        return NOTHING
    return Said(found[1], found[1] == _CLASSIC[truth.mapping, truth.filtering][column])


TOOLS: Final = (
    Tool("natkit nat", _natkit, judge_natkit),
    Tool("turnutils_natdiscovery", _natdiscovery, judge_natdiscovery),
    Tool("stun (RFC 3489)", _stun_client, judge_stun_client, ipv6=False),
    Tool("pystun3", _pystun3, judge_pystun3, ipv6=False, directory=PYSTUN3),
)
