from functools import partial

import pytest

from natkit.address import Address
from tests.simnet import Conditions, Endpoint, LimitReached, Livelock, Network, Simulation


def test_things_happen_in_the_order_of_their_times_and_at_one_time_in_the_order_asked() -> None:
    simulation = Simulation(1)
    done: list[str] = []
    for name, delay in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        simulation.after(delay, partial(done.append, name))
    simulation.run_for(1.0)
    assert done == ["first", "second"]
    simulation.run_for(4.0)
    assert done == ["first", "second", "late"]
    assert simulation.now == simulation.started + 5.0


def test_what_was_cancelled_does_not_happen() -> None:
    simulation = Simulation(1)
    done: list[str] = []
    simulation.after(1.0, lambda: done.append("kept"))
    simulation.after(1.0, lambda: done.append("cancelled")).cancel()
    simulation.run_until_quiet(2.0)
    assert done == ["kept"]


def test_the_past_is_done_now() -> None:
    simulation = Simulation(1)
    times: list[float] = []
    simulation.at(simulation.started - 10.0, lambda: times.append(simulation.now))
    simulation.run_for(0.0)
    assert times == [simulation.started]


def test_run_until_stops_as_soon_as_the_condition_holds() -> None:
    simulation = Simulation(1)
    done: list[int] = []
    for second in range(1, 6):
        simulation.after(float(second), partial(done.append, second))
    simulation.run_until(lambda: len(done) == 3, limit=10.0)
    assert simulation.now == simulation.started + 3.0
    simulation.run_until(lambda: True, limit=0.0)
    assert done == [1, 2, 3]


def test_waiting_for_what_does_not_happen_ends_at_the_limit() -> None:
    simulation = Simulation(1)
    with pytest.raises(LimitReached, match="within 7"):
        simulation.run_until(lambda: False, limit=7.0)
    assert simulation.now == simulation.started + 7.0


def test_work_without_end_at_one_instant_is_an_error() -> None:
    simulation = Simulation(1)

    def again() -> None:
        simulation.after(0.0, again)

    again()
    with pytest.raises(Livelock):
        simulation.run_for(1.0)


def test_a_storm_of_ever_smaller_steps_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simnet.simulation.STEPS_IN_ONE_RUN", 1_000)
    simulation = Simulation(1)

    def again() -> None:
        simulation.after(1e-6, again)

    again()
    with pytest.raises(Livelock):
        simulation.run_for(1.0)


def test_each_purpose_has_a_source_of_its_own_and_the_seed_rules_all() -> None:
    def draw(seed: int, purpose: str) -> bytes:
        return Simulation(seed).random_bytes(purpose)(16)

    assert draw(1, "a") == draw(1, "a")
    assert len({draw(seed, purpose) for seed in (1, 2) for purpose in "ab"}) == 4


def run_and_digest(seed: int) -> str:
    network = Network(seed)
    rough = Conditions(loss=0.2, jitter=0.02, duplication=0.1, reordering=0.2)
    nat = network.nat("home", "198.51.100.7", link=rough)
    here = Endpoint(network.host("here", "192.168.1.2", behind=nat, link=rough))
    there = Endpoint(network.host("there", "203.0.113.1", link=rough), echo=True)
    for number in range(50):
        here.send(bytes([number]), there.address)
    network.run_until_quiet(60.0)
    return network.trace.digest()


def test_the_same_seed_gives_the_same_trace() -> None:
    assert run_and_digest(5) == run_and_digest(5)
    assert run_and_digest(5) != run_and_digest(6)


def test_a_failing_run_prints_its_seed_and_what_happened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = Network(4711)
    network.host("there", "203.0.113.1")
    Endpoint(network.host("here", "203.0.113.2")).send(b"lost", Address("203.0.113.1", 9))
    with pytest.raises(LimitReached), network:
        network.run_until(lambda: False, limit=1.0)
    printed = capsys.readouterr().out
    assert "seed 4711" in printed
    assert "port unreachable" in printed
    assert "udp 203.0.113.2:49152 → 203.0.113.1:9 4 bytes 6c6f7374" in printed


def test_a_long_trace_keeps_its_end_and_says_what_it_left_out() -> None:
    simulation = Simulation(1)
    for number in range(10):
        simulation.trace.add(simulation.now, "here", "counted", number)
    assert simulation.trace.format(last=2).splitlines()[0] == "… 8 earlier records"
    assert simulation.trace.format(last=2).splitlines()[-1].endswith("9")
    assert simulation.trace.count("counted") == simulation.trace.count("counted", "here") == 10
    assert simulation.trace.count("counted", "elsewhere") == 0
