"""Agents behind real NATs meet: directly where theory says that they can, else by the relay."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.conftest import Sized
from tests.netlab.ice_pairs import Pair, Peers, all_pairs, peers, theory
from tests.netlab.namespaces import lab
from tests.netlab.nats import Internet, Kind
from tests.netlab.servers import serving

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "nftables", "coturn")]

# A way of each kind: with none to ask, in one packet, by punching two holes, by one that is punched
# for a port that nobody knew, and by a relay for each of the three reasons.
PAIRS: Final = (
    (Kind.FULL_CONE, Kind.SYMMETRIC),
    (Kind.PORT_RESTRICTED, Kind.NESTED),
    (Kind.ADDRESS_RESTRICTED, Kind.SYMMETRIC),
    (Kind.PORT_RESTRICTED, Kind.SYMMETRIC),
    (Kind.OPEN, Kind.UDP_BLOCKED),
    (Kind.FIREWALL_IPV6, Kind.FIREWALL_IPV6),
    (Kind.FIREWALL_IPV6, Kind.OPEN),
)


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    """Our server, which all agents use for STUN and as the relay."""
    with lab() as made, serving(made) as net:
        yield net


@pytest.fixture(scope="module")
def meeting(internet: Internet) -> Iterator[dict[Pair, Peers]]:
    """All at once; each test waits for its own."""
    with peers(internet, PAIRS) as running:
        for each in running:
            each.introduce()
        yield dict(zip(PAIRS, running, strict=True))


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_agents_meet_directly_or_by_the_relay_as_theory_says(
    meeting: dict[Pair, Peers], pair: Pair
) -> None:
    assert meeting[pair].met().relayed is theory(*pair)


@pytest.mark.soak
@pytest.mark.peer("tayga", "bind9")
def test_all_pairs_of_nats_meet_as_theory_says_every_time(internet: Internet, sized: Sized) -> None:
    for _ in range(sized(quick=1, full=5)):
        for some in all_pairs(at_once=5):
            with lab() as this_round, peers(internet, some, this_round) as running:
                for each in running:
                    each.introduce()
                for pair, each in zip(some, running, strict=True):
                    assert each.met().relayed is theory(*pair), pair
