"""``natkit nat`` names each real NAT right; all are asked side by side."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, cast

import pytest

from tests.conftest import Sized
from tests.netlab.forwarder import Weather
from tests.netlab.namespaces import lab
from tests.netlab.nat64 import PREFIX
from tests.netlab.nats import SHORT_LIFETIME, TRUTH, Behind, Internet, Kind
from tests.netlab.servers import Server, serving

pytestmark = [
    pytest.mark.netns,
    pytest.mark.peer("iproute2", "nftables", "tayga", "bind9", "coturn"),
]

NATKIT: Final = (
    sys.executable,
    "-W",
    "error",
    "-c",
    "import sys; from natkit.cli.main import run; sys.exit(run())",
)
# Silence that is long enough for a loaded machine; a NAT that filters is silent twice a test.
PATIENCE: Final = ("--patience", "4")
# Exit status 1: the mapping depends on the destination, UDP is blocked, or, where hairpinning is
# asked for, there is none.
IN_THE_WAY: Final = (
    *(Kind.SYMMETRIC, Kind.SYMMETRIC_INPUT_OPEN, Kind.UDP_BLOCKED, Kind.FULL_CONE),
)
# What it is told to do beside the tests that it always makes.
EXTRA: Final = {
    Kind.FULL_CONE: ("--hairpin",),
    Kind.NAT64: ("--nat64",),
    Kind.HAIRPINNING: ("--hairpin",),
    Kind.SHORT_LIVED: (
        *("--lifetime", "--lifetime-from", "1", "--lifetime-to", "60", "--lifetime-limit", "9"),
        *("--votes", "1", "--patience", "2"),
    ),
}
BAD_WEATHER: Final = Weather(delay=0.1, loss=0.05, seed=7)
IN_BAD_WEATHER: Final = (Kind.FULL_CONE, Kind.PORT_RESTRICTED, Kind.SYMMETRIC)
"""Each a filter or a mapping that lost packets could be taken for."""


class Asked:
    """A running ``natkit nat`` behind one NAT."""

    def __init__(self, behind: Behind, server: Server = Server.OURS) -> None:
        self.behind = behind
        self._process = subprocess.Popen(
            [
                *behind.host.prefix,
                *(*NATKIT, "nat", *server.flags(behind), "--json", *PATIENCE),
                *EXTRA.get(behind.kind, ()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> tuple[int, dict[str, object]]:
        """Exit status, and the one family that was tested, with what is said of a NAT64."""
        output, errors = self._process.communicate(timeout=180)
        assert errors == "", errors
        found = json.loads(output)
        (family,) = cast("list[dict[str, object]]", found["families"])
        return self._process.returncode, {**family, "nat64": found["nat64"]}

    def stop(self) -> None:
        """If it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    """Our server and coturn, seen from behind all of them."""
    with lab() as made, serving(made) as net:
        yield net


class Cases:
    """Everybody is asked at once; each test waits for its own."""

    def __init__(self) -> None:
        self.plain: dict[tuple[Kind, Server], Asked] = {}
        self.in_bad_weather: dict[Kind, Asked] = {}

    def stop(self) -> None:
        """All of them."""
        for each in (*self.plain.values(), *self.in_bad_weather.values()):
            each.stop()


@pytest.fixture(scope="module")
def asked(internet: Internet) -> Iterator[Cases]:
    """Two at a time behind each NAT, where there are two servers to ask."""
    cases = Cases()
    with ExitStack() as stack:
        stack.callback(cases.stop)
        # What takes longest goes first.
        for kind in sorted(Kind, key=lambda kind: kind is not Kind.SHORT_LIVED):
            behind = internet.behind(kind)
            for server in Server:
                cases.plain[kind, server] = Asked(behind, server)
        for kind in IN_BAD_WEATHER:
            far = internet.behind(kind, weather=BAD_WEATHER)
            cases.in_bad_weather[kind] = Asked(far)
        yield cases


def said(family: dict[str, object], section: str, key: str = "kind") -> object:
    return cast("dict[str, object]", family[section])[key]


@pytest.mark.parametrize("server", Server)
@pytest.mark.parametrize("kind", Kind)
def test_each_nat_is_named_right(asked: Cases, kind: Kind, server: Server) -> None:
    case = asked.plain[kind, server]
    status, family = case.result()
    judge(kind, family)
    assert status == (kind in IN_THE_WAY), family
    if kind not in (Kind.UDP_BLOCKED, Kind.FIREWALL_IPV6):
        outside = case.behind.outside
        assert cast("dict[str, object]", family["mapped_address"])["address"] == outside


def judge(kind: Kind, family: dict[str, object]) -> None:
    """Whether all that was said of a NAT is right."""
    found = [said(family, section) for section in ("mapping", "filtering", "ports")]
    truth = TRUTH[kind]
    assert found == [truth.mapping, truth.filtering, truth.ports], (kind, family)
    check = CHECKS.get(kind)
    if check is not None:
        check(family)


@pytest.mark.parametrize("kind", IN_BAD_WEATHER)
def test_nats_far_away_by_a_line_that_loses_packets_are_named_right(
    asked: Cases, kind: Kind
) -> None:
    _, family = asked.in_bad_weather[kind].result()
    judge(kind, family)
    (server,) = cast("list[dict[str, float]]", family["servers"])
    assert server["round_trip"] >= 2 * BAD_WEATHER.delay


def does_not_hairpin(family: dict[str, object]) -> None:
    assert said(family, "hairpin", "works") is False, family


def hairpins(family: dict[str, object]) -> None:
    assert said(family, "hairpin", "works") is True, family
    assert said(family, "hairpin", "external_source") is True, family


def is_blocked(family: dict[str, object]) -> None:
    assert family["udp"] == "blocked"
    (server,) = cast("list[dict[str, object]]", family["servers"])
    assert (server["answers"], server["tcp"]) == (False, True)


def is_short_lived(family: dict[str, object]) -> None:
    survived = cast("float", said(family, "lifetime", "survived"))
    fatal = cast("float", said(family, "lifetime", "fatal"))
    # The kernel may keep a binding a little longer, and a slow machine waits a little longer.
    assert survived <= SHORT_LIFETIME + 1, family
    assert fatal >= SHORT_LIFETIME - 1, family


def is_translated(family: dict[str, object]) -> None:
    assert family["family"] == "ipv6"
    assert said(family, "nat64", "prefixes") == [f"{PREFIX}/96"]
    works = cast("dict[str, object]", said(family, "nat64", "works"))
    assert works["holds"] is True, family


CHECKS: Final = {
    Kind.FULL_CONE: does_not_hairpin,
    Kind.NAT64: is_translated,
    Kind.HAIRPINNING: hairpins,
    Kind.UDP_BLOCKED: is_blocked,
    Kind.SHORT_LIVED: is_short_lived,
}


@pytest.mark.soak
def test_each_nat_is_named_right_every_time(internet: Internet, sized: Sized) -> None:
    for _ in range(sized(quick=1, full=10)):
        with lab() as this_round, ExitStack() as stack:
            running = [
                Asked(behind, server)
                for behind in [internet.behind(kind, lab=this_round) for kind in Kind]
                for server in Server
            ]
            for each in running:
                stack.callback(each.stop)
            for each in running:
                judge(each.behind.kind, each.result()[1])
