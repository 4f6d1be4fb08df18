"""Phones behind each of the lab's NATs are called after several lifetimes of silence.

Each registers once, over UDP and over TCP, at a proxy that keeps flows open and at one that does
not, and says nothing more by itself.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import Sized
from tests.netlab.namespaces import Host, lab, run
from tests.netlab.nat64 import PREFIX
from tests.netlab.nats import PRIMARY, PRIMARY_IPV6, Behind, Internet, Kind
from tests.netlab.sip_phone_process import Told, until_the_end

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "nftables", "tayga", "bind9")]

KEPT, LEFT = 5060, 5070
"""The ports of the proxy that keeps flows open, and of the one that does not."""

LIFETIMES: Final = 3
"""So many pass in silence."""

REACHED: Final = [
    (kind, transport)
    for kind in Kind
    for transport in ("udp", "tcp")
    if (kind, transport) != (Kind.UDP_BLOCKED, "udp")
]
# These let in whatever comes, whether anybody has sent from there lately or not.
_OPEN_TO_UDP: Final = (*(Kind.OPEN, Kind.FULL_CONE, Kind.ADDRESS_RESTRICTED, Kind.HAIRPINNING),)
FORGOTTEN: Final = [
    (kind, transport)
    for kind, transport in REACHED
    if kind is not Kind.OPEN and not (transport == "udp" and kind in _OPEN_TO_UDP)
]

_CONFIG: Final = """
domains = ["example.org"]
[users]
authenticate = false
[nat]
keep_alive = "{keep_alive}"
interval = 1
connection_interval = 1
everybody = true
"""
_PROXY: Final = "import sys; from sip_proxy.cli import run; sys.exit(run())"


def name_of(kind: Kind, transport: str, port: int) -> str:
    """The user whose phone is there, registered at that port."""
    return f"{kind}-{transport}-{port}"


def server_for(behind: Behind) -> str:
    """The proxies' address, as a host there reaches it."""
    match behind.kind:
        case Kind.FIREWALL_IPV6:
            return PRIMARY_IPV6
        case Kind.NAT64:
            return PREFIX + PRIMARY
        case _:
            return PRIMARY


def forget_after(router: Host, seconds: int) -> None:
    """Have a router forget what is silent."""
    for name in ("udp_timeout", "udp_timeout_stream", "tcp_timeout_established"):
        run(router, "sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={seconds}")


def proxy(host: Host, directory: Path, port: int, keep_alive: str) -> "subprocess.Popen[str]":
    config = directory / f"{port}.toml"
    config.write_text(_CONFIG.format(keep_alive=keep_alive))
    listen = [f"--listen={PRIMARY}:{port}", f"--listen=[{PRIMARY_IPV6}]:{port}"]
    return subprocess.Popen(
        [
            *host.prefix,
            *(sys.executable, "-W", "error", "-c", _PROXY, f"--config={config}", *listen),
            f"--data-dir={directory / str(port)}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def phones_behind(behind: Behind) -> tuple[Told, int]:
    """Its phones, and how many they are."""
    there = [
        (name_of(kind, transport, port), transport, server_for(behind), str(port))
        for kind, transport in REACHED
        if kind is behind.kind
        for port in (KEPT, LEFT)
    ]
    return Told(behind.host, "phone", *[word for phone in there for word in phone]), len(there)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, sized: Sized) -> Iterator[set[str]]:
    """The names of the phones that answered."""
    directory = tmp_path_factory.mktemp("proxies")
    lifetime = sized(quick=4, full=20)
    with lab() as made, ExitStack() as stack:
        net = Internet(made)
        homes = [net.behind(kind) for kind in Kind]
        for home in homes:
            forget_after(home.router, lifetime)
        proxies = [
            proxy(net.servers, directory, port, keep_alive)
            for port, keep_alive in ((KEPT, "options"), (LEFT, "none"))
        ]
        stack.enter_context(until_the_end(proxies))
        phones = [phones_behind(home) for home in homes]
        stack.enter_context(until_the_end([each.process for each, _ in phones]))
        for each, count in phones:
            for _ in range(count):
                assert "registered" in each.line()
        time.sleep(LIFETIMES * lifetime)
        yield called(net.servers, stack)


def called(servers: Host, stack: ExitStack) -> set[str]:
    """Call everybody at once, until all who are to answer have; what the others do is in time.

    Who is reached is reached as fast as they are.
    """
    callers = {port: Told(servers, "caller", PRIMARY, str(port)) for port in (KEPT, LEFT)}
    stack.enter_context(until_the_end([each.process for each in callers.values()]))
    answered: set[str] = set()
    for port in (LEFT, KEPT):
        for kind, transport in REACHED:
            callers[port].say(name_of(kind, transport, port))
    for _ in REACHED:
        told = callers[KEPT].line()
        if told["status"] == 200:
            answered.add(str(told["called"]))
    return answered | answers_by_now(callers[LEFT])


def answers_by_now(caller: Told) -> set[str]:
    """Whom a caller has heard by the time that somebody who is there answered a second time."""
    answers: set[str] = set()
    last = name_of(Kind.OPEN, "tcp", LEFT)
    caller.say(last)
    while True:
        told = caller.line()
        if told["status"] == 200:
            if told["called"] == last and last in answers:
                return answers
            answers.add(str(told["called"]))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "transport"), REACHED)
def test_a_phone_is_called_after_several_lifetimes_of_silence(
    answered: set[str], kind: Kind, transport: str
) -> None:
    assert name_of(kind, transport, KEPT) in answered


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "transport"), FORGOTTEN)
def test_without_keep_alive_its_nat_has_forgotten_it(
    answered: set[str], kind: Kind, transport: str
) -> None:
    assert name_of(kind, transport, LEFT) not in answered
