"""Dialogs through the proxy machine, of which a third of the messages is damaged."""

import pytest

from tests.conftest import Sized
from tests.fuzz.sip_parties import WITHIN, Parties
from tests.fuzz.sip_target import Attacked

ONE_DAY = 86_400.0


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_damaged_dialogs_raise_nothing_and_end(seed: int, sized: Sized) -> None:
    print("seed", seed)
    target = Attacked(seed, authenticate=False)
    parties = Parties(target, seed)
    for _ in range(sized(quick=1_500, full=50_000)):
        parties.step()
    target.wait(ONE_DAY)
    assert target.is_idle
    print(sorted(target.answered))
    # They got somewhere: calls that were taken, refused, given up, and what was said in them.
    assert {("INVITE", 200), ("CANCEL", 200)} <= target.answered
    assert target.answered & {("INVITE", 486), ("INVITE", 487), ("INVITE", 603)}
    said = {method for method, status in target.answered if 200 <= status < 300}
    assert said & (set(WITHIN) - {"INVITE", "CANCEL"})
