"""The line between hosts of the lab does what its weather says, and the same each time."""

import subprocess
import sys

import pytest

from tests.netlab.forwarder import QUEUE, Line, Weather
from tests.netlab.namespaces import Lab
from tests.netlab.world import CLIENT, CLIENT_IPV6, SERVER, SERVER_IPV6

PACKETS = 2000


def sent_through(line: Line, number: int = PACKETS) -> list[bytes]:
    """What arrives in the end of packets that are sent a millisecond apart."""
    for count in range(number):
        line.offer(count.to_bytes(4, "big"), count / 1000)
    return line.arrived(1e9)


def test_a_packet_arrives_after_the_delay_and_not_before() -> None:
    line = Line(Weather(delay=0.1), "")
    line.offer(b"packet", 5.0)
    assert line.next_arrival() == pytest.approx(5.1)
    assert line.arrived(5.09) == []
    assert line.arrived(5.11) == [b"packet"]
    assert line.next_arrival() is None


def test_packets_are_lost_at_the_rate_that_was_asked_for() -> None:
    line = Line(Weather(loss=0.05), "")
    arrived = sent_through(line)
    assert arrived == sorted(arrived)
    assert len(arrived) + line.lost == PACKETS
    assert 0.03 < line.lost / PACKETS < 0.07


def test_one_seed_loses_the_same_packets_and_another_one_others() -> None:
    weather = Weather(loss=0.2)
    assert sent_through(Line(weather, "1")) == sent_through(Line(weather, "1"))
    assert sent_through(Line(weather, "1")) != sent_through(Line(weather, "2"))


def test_a_narrow_line_passes_one_packet_after_the_other() -> None:
    line = Line(Weather(rate=1000.0, delay=1.0), "")
    for _ in range(3):
        line.offer(bytes(500), 0.0)
    assert [len(line.arrived(at)) for at in (1.4, 1.6, 2.1, 2.6)] == [0, 1, 1, 1]


def test_what_waits_for_a_narrow_line_is_bounded() -> None:
    line = Line(Weather(rate=1000.0), "")
    for _ in range(1000):
        line.offer(bytes(500), 0.0)
    assert len(line.arrived(1e9)) == QUEUE // 500
    assert line.lost == 1000 - QUEUE // 500


# Sends numbered packets, and prints which of their echoes came, and after how many seconds.
ASK = """
import selectors, socket, sys, time
host = sys.argv[1]
with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(10)
    began = time.monotonic()
    for number in range(50):
        sock.sendto(b"%d" % number, (host, 9999))
    for _ in range(10):
        sock.sendto(b"last", (host, 9999))
    echoes = []
    try:
        while (echo := sock.recv(100)) != b"last":
            echoes.append(int(echo))
            first = time.monotonic() - began if len(echoes) == 1 else first
    except TimeoutError:
        pass
    print(first, *echoes)
"""
ECHO = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    sock.bind(("::", 9999))
    print("ready", flush=True)
    while True:
        data, source = sock.recvfrom(100)
        sock.sendto(data, source)
"""


@pytest.mark.netns
@pytest.mark.peer("iproute2")
def test_hosts_on_a_line_in_bad_weather_reach_each_other_late_and_not_always(lab: Lab) -> None:
    client, server = lab.host("client"), lab.host("server")
    lab.cable(
        (client, "eth0", f"{CLIENT}/24 {CLIENT_IPV6}/64"),
        (server, "eth0", f"{SERVER}/24 {SERVER_IPV6}/64"),
        Weather(delay=0.1, loss=0.2, seed=7),
    )
    with subprocess.Popen(
        [*server.prefix, sys.executable, "-c", ECHO], stdout=subprocess.PIPE
    ) as echo:
        try:
            assert echo.stdout is not None
            assert echo.stdout.readline() == b"ready\n"
            for there in (SERVER, SERVER_IPV6):
                done = subprocess.run(
                    [*client.prefix, sys.executable, "-c", ASK, there],
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=True,
                )
                first, *echoes = done.stdout.split()
                assert float(first) >= 0.2
                # 0.64 of them on average; all of them, or none, would be another weather.
                assert 20 <= len(echoes) <= 45
        finally:
            echo.kill()
