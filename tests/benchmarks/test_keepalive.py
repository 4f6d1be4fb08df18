from dataclasses import replace

from benchmarks.keepalive.edge import edge
from benchmarks.keepalive.measure import Measured, simulated
from benchmarks.keepalive.report import section
from benchmarks.keepalive.results import Results, bars
from natkit.aio.server_flow import connect_flow
from natkit.locate import Target
from natkit.machine import Transport

ONE = Measured(flows=1000, seconds=10.0, keep_alives=400, failed=0, cpu_seconds=0.02, bytes=900_000)


def results(*loopback: Measured) -> Results:
    return Results(
        commit="0123456789ab",
        date="2026-01-01",
        machine="a processor",
        python="3.11.2",
        real_time=True,
        flows=1000,
        simulated=[ONE],
        loopback=list(loopback) or [ONE],
    )


def test_memory_and_lost_flows_have_bars() -> None:
    assert all(bar.reached for bar in bars(results()))
    fat = replace(ONE, bytes=3_000_000)
    assert [bar.reached for bar in bars(results(fat))] == [True, False, True]
    lost = replace(ONE, failed=1)
    assert [bar.reached for bar in bars(results(lost))] == [True, True, False]


def test_the_section_states_memory_and_processor_time() -> None:
    text = section(results())
    assert text.startswith("## Keep-alive: 1,000 flows in one process\n")
    assert "| bytes a flow | 900 | 900 |" in text
    assert "| CPU of a keep-alive, µs | 50.0 | 50.0 |" in text
    assert "| share of one processor | 0.2% | 0.2% |" in text
    assert "chrt -f 10" in text


def test_in_simulated_time_every_flow_is_kept_as_often_as_its_bound_asks() -> None:
    measured = simulated(500, 120.0)
    assert (measured.flows, measured.failed) == (500, 0)
    # Intervals of 23.2 to 29 s: four or five in 120 s.
    assert 500 * 4 <= measured.keep_alives <= 500 * 5
    assert measured.bytes_a_flow < 4096
    assert measured.cpu_seconds > 0


async def test_the_far_end_answers_on_every_socket() -> None:
    with edge(3) as servers:
        for server in servers:
            target = Target(Transport.UDP, server, server.host, server.host)
            async with await connect_flow([target], timeout=30.0) as flow:
                assert flow.first.mapped == flow.path.local
