"""Dead processes: started again at once, then ever later, then not at all."""

from natkit.server.restarts import (
    CRASH_LOOP_DEATHS,
    CRASH_LOOP_TIME,
    LONGEST_PAUSE,
    Restarts,
)


def test_the_first_death_costs_no_time_and_later_ones_ever_more() -> None:
    restarts = Restarts()
    pauses = [restarts.died(10.0 + number) for number in range(CRASH_LOOP_DEATHS)]
    assert pauses[0] == 0
    assert pauses[-1] is None
    waited = [each for each in pauses[:-1] if each is not None]
    assert waited == sorted(set(waited))
    assert waited[-1] <= LONGEST_PAUSE
    assert restarts.total == CRASH_LOOP_DEATHS


def test_the_pauses_alone_do_not_hide_a_crash_loop() -> None:
    restarts, now, deaths = Restarts(), 0.0, 0
    while (pause := restarts.died(now)) is not None:
        now += pause + 1.0  # the second that it lives
        deaths += 1
        assert deaths < CRASH_LOOP_DEATHS
    assert now < CRASH_LOOP_TIME


def test_deaths_that_are_long_past_are_forgotten() -> None:
    restarts = Restarts()
    for number in range(100):
        assert restarts.died(number * CRASH_LOOP_TIME) == 0
    assert restarts.total == 100
