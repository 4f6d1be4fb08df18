"""What the charts begin with."""

from dataclasses import replace

from stun_server.admin.history import INTERVAL, KEPT, History, Sample
from tests.stun_server.admin.world import asking
from tests.stun_server.test_administration import FIRST


def test_a_sample_has_what_is_drawn() -> None:
    assert Sample.of(FIRST, 1000.12345) == Sample(1000.123, 3, 1, 2, 3, 4, 5, 10)


def test_the_ring_keeps_the_newest_quarter_of_an_hour() -> None:
    history = History()
    for number in range(KEPT + 10):
        history.add(Sample.of(replace(FIRST, sessions=number), float(number)))
    assert [each.sessions for each in history.samples()] == list(range(10, KEPT + 10))
    assert KEPT * INTERVAL == 15 * 60


async def test_the_page_gets_what_there_was_before_it_was_opened() -> None:
    async with asking() as asked:
        while not (found := (await asked.json("/api/history"))["samples"]):
            pass
        assert isinstance(found, list)
        assert found[0]["sessions"] == 3
