"""The timer service: one deadline a key, in the order of time."""

import random

from hypothesis import given
from hypothesis import strategies as st

from natkit.timers import TimerQueue


def test_timers_fire_in_the_order_of_their_deadlines() -> None:
    timers: TimerQueue[str] = TimerQueue()
    timers.set("late", 3.0)
    timers.set("early", 1.0)
    timers.set("middle", 2.0)

    assert list(timers.pop_due(2.0)) == ["early", "middle"]
    assert timers.next_deadline() == 3.0


def test_equal_deadlines_fire_in_the_order_they_were_set() -> None:
    timers: TimerQueue[str] = TimerQueue()
    for key in ("c", "a", "b"):
        timers.set(key, 1.0)

    assert list(timers.pop_due(1.0)) == ["c", "a", "b"]


def test_setting_a_key_again_replaces_its_deadline() -> None:
    timers: TimerQueue[str] = TimerQueue()
    timers.set("key", 1.0)
    timers.set("key", 5.0)

    assert list(timers.pop_due(4.0)) == []
    assert timers.deadline("key") == 5.0
    assert list(timers.pop_due(5.0)) == ["key"]
    assert "key" not in timers


def test_a_cancelled_timer_never_fires() -> None:
    timers: TimerQueue[str] = TimerQueue()
    timers.set("key", 1.0)
    timers.cancel("key")
    timers.cancel("never set")

    assert timers.next_deadline() is None
    assert list(timers.pop_due(9.0)) == []


def test_a_timer_set_while_others_fire_is_seen_if_it_is_due() -> None:
    timers: TimerQueue[str] = TimerQueue()
    timers.set("first", 1.0)
    fired = []
    for key in timers.pop_due(2.0):
        fired.append(key)
        if key == "first":
            timers.set("due", 2.0)
            timers.set("not due", 2.5)

    assert fired == ["first", "due"]


def test_keys_that_are_armed_over_and_over_take_no_memory() -> None:
    timers: TimerQueue[int] = TimerQueue()
    for round_number in range(10_000):
        timers.set(round_number % 3, float(round_number))

    assert len(timers) == 3
    assert len(timers._heap) <= 65


@given(st.integers(0, 2**32))
def test_any_sequence_of_commands_agrees_with_a_plain_dictionary(seed: int) -> None:
    source = random.Random(seed)
    timers: TimerQueue[int] = TimerQueue()
    model: dict[int, float] = {}
    now = 0.0
    for _ in range(200):
        key = source.randrange(12)
        match source.randrange(3):
            case 0:
                deadline = now + source.randrange(20)
                timers.set(key, deadline)
                model[key] = deadline
            case 1:
                timers.cancel(key)
                model.pop(key, None)
            case _:
                now += source.randrange(5)
                due = list(timers.pop_due(now))
                assert sorted(due) == sorted(k for k, when in model.items() if when <= now)
                assert [model[k] for k in due] == sorted(model[k] for k in due)
                for fired in due:
                    del model[fired]
        assert timers.next_deadline() == min(model.values(), default=None)
        assert len(timers) == len(model)


def test_a_quick_look_misses_nothing_that_is_due() -> None:
    timers: TimerQueue[str] = TimerQueue()
    assert not timers.may_be_due(9.0)
    timers.set("key", 1.0)
    assert not timers.may_be_due(0.5)
    assert timers.may_be_due(1.0)
    timers.set("key", 5.0)
    assert list(timers.pop_due(4.0)) == []
    assert not timers.may_be_due(4.0)
    assert timers.may_be_due(5.0)
