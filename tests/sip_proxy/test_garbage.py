"""What a call leaves behind is freed at once: no cycles wait for the garbage collector.

That runs seldom in a server, since it looks at every binding and every transaction: what waits for
it would be more than all that is in use.
"""

import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.garbage import only_collected
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, Phone, ProxyHost, Ringing, settings

OURS = ("sip_proxy", "natkit.sip", "sipdns")
LONG = 400.0
"""Seconds after which timer C and every transaction is over."""
BOB = f"sip:bob@{DOMAIN}"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(9) as made:
        yield made


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    with only_collected() as found:
        yield found


@pytest.mark.parametrize("statuses", [(486,), (200,), (603,), (302,), (180,), ()])
@pytest.mark.parametrize("gives_up", [False, True])
def test_a_call_leaves_no_cycles(
    network: Network, garbage: list[object], statuses: tuple[int, ...], gives_up: bool
) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")

    def answer(phone: Phone, ringing: Ringing) -> None:
        for status in statuses:
            phone.respond(ringing, status)

    for address in ("192.0.2.11", "192.0.2.12"):
        Phone(network, "bob", address, answers=answer).register()
        network.run_for(1.0)
    call = alice.invite(BOB)
    alice.send("OPTIONS", BOB)
    network.run_for(1.0)
    if gives_up:
        alice.cancel(call)
    network.run_for(LONG)
    assert (proxy.machine.load().transactions, proxy.machine.load().forks) == (0, 0)
    gc.collect()
    ours = [type(one) for one in garbage if type(one).__module__.startswith(OURS)]
    assert not Counter(each.__qualname__ for each in ours)
