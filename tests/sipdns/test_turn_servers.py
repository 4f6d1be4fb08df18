import pytest

from natkit.machine import Transport
from tests.sipdns.world import (
    look_up,
    plan,
)

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("stun:example.org", "udp 192.0.2.1:3490"),
        ("stuns:example.org", "tls 192.0.2.9:5349"),
        ("stun:example.org:3500", "udp 192.0.2.9:3500"),
        ("stun:192.0.2.5", "udp 192.0.2.5:3478"),
        ("turn:example.org", "tcp 192.0.2.1:3491"),
        ("turn:example.org?transport=udp", "udp 192.0.2.9:3478"),
        ("turn:example.org:3500?transport=tcp", "tcp 192.0.2.9:3500"),
        ("turns:example.org", "tls 192.0.2.1:5350"),
        ("turns:example.org:5350?transport=tcp", "tls 192.0.2.9:5350"),
    ],
)
def test_stun_and_turn_servers_are_found(uri: str, target: str) -> None:
    outcome = look_up(
        uri,
        """
        example.org A 192.0.2.9
        example.org NAPTR 1 1 "s" "RELAY:turn.tcp:turn.tls" "" _turn._tcp.example.org
        example.org NAPTR 0 1 "s" "RELAY:turn.tls" "" _turns._tcp.example.org
        _stun._udp.example.org SRV 0 0 3490 a.example.org
        _turn._tcp.example.org SRV 0 0 3491 a.example.org
        _turns._tcp.example.org SRV 0 0 5350 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == [target]


TURN = """
turn.example A 192.0.2.9
_turn._tcp.turn.example SRV 0 0 3491 a.turn.example
_turns._tcp.turn.example SRV 0 0 5350 a.turn.example
a.turn.example A 192.0.2.1
"""


@pytest.mark.parametrize(
    ("uri", "targets"),
    [
        # RFC 5928 §3, steps 1, 2, 3 and 5; an address, or no transport: each of ours in turn.
        ("turn:192.0.2.5", ["udp 192.0.2.5:3478", "tcp 192.0.2.5:3478"]),
        ("turns:192.0.2.5", ["tls 192.0.2.5:5349", "dtls 192.0.2.5:5349"]),
        ("turn:192.0.2.5:80?transport=tcp", ["tcp 192.0.2.5:80"]),
        ("turn:turn.example:80", ["udp 192.0.2.9:80", "tcp 192.0.2.9:80"]),
        ("turn:turn.example?transport=tcp", ["tcp 192.0.2.1:3491"]),
        ("turn:turn.example?transport=udp", ["udp 192.0.2.9:3478"]),
        ("turn:turn.example", ["udp 192.0.2.9:3478", "tcp 192.0.2.1:3491"]),
        ("turns:turn.example", ["tls 192.0.2.1:5350", "dtls 192.0.2.9:5349"]),
        ("turns:turn.example?transport=udp", ["dtls 192.0.2.9:5349"]),
    ],
)
def test_turn_servers_are_given_for_each_transport_in_turn(uri: str, targets: list[str]) -> None:
    transports = [UDP, TCP, TLS, Transport.DTLS]
    assert plan(look_up(uri, TURN, transports=transports)) == targets


def test_the_target_dot_closes_a_turn_transport_but_not_the_others() -> None:
    outcome = look_up("turn:turn.example", TURN + "_turn._udp.turn.example SRV 0 0 0 .")
    assert plan(outcome) == ["tcp 192.0.2.1:3491"]


# S-NAPTR in two steps: the first record set names services, the second SRV names.
S_NAPTR = """
example.net NAPTR 100 10 "" "RELAY:turn.udp:turn.tcp:turn.tls" "" datagram.example.net
example.net NAPTR 100 20 "" "RELAY:turn.tcp:turn.tls" "" stream.example.net
datagram.example.net NAPTR 100 10 "S" "RELAY:turn.udp" "" _turn._udp.example.net
datagram.example.net NAPTR 100 10 "S" "RELAY:turn.tls" "" _turns._tcp.example.net
stream.example.net NAPTR 100 10 "S" "RELAY:turn.tcp" "" _turn._tcp.example.net
stream.example.net NAPTR 100 5 "S" "RELAY:turn.udp" "" _turn._udp.elsewhere.example
_turn._udp.example.net SRV 0 0 3478 a.example.net
_turn._udp.elsewhere.example SRV 0 0 3478 x.example.net
_turn._tcp.example.net SRV 0 0 5000 a.example.net
_turns._tcp.example.net SRV 0 0 5349 a.example.net
a.example.net A 192.0.2.1
x.example.net A 192.0.2.66
"""


def test_s_naptr_leads_to_turn_servers_within_the_services_that_each_record_allows() -> None:
    # stream.example.net has a record for UDP, but the record that leads there has no UDP.
    assert plan(look_up("turn:example.net", S_NAPTR)) == [
        "udp 192.0.2.1:3478",
        "tcp 192.0.2.1:5000",
    ]
    assert plan(look_up("turns:example.net", S_NAPTR)) == ["tls 192.0.2.1:5349"]
    assert look_up("turn:example.net", S_NAPTR).rounds == 3


def test_of_equal_naptr_records_those_of_the_transport_that_we_prefer_come_first() -> None:
    both = """
        example.net NAPTR 1 1 "s" "RELAY:turn.tcp" "" _turn._tcp.example.net
        example.net NAPTR 1 1 "s" "RELAY:turn.udp" "" _turn._udp.example.net
        _turn._tcp.example.net SRV 0 0 1 a.example.net
        _turn._udp.example.net SRV 0 0 2 a.example.net
        a.example.net A 192.0.2.1
    """
    tcp, udp = "tcp 192.0.2.1:1", "udp 192.0.2.1:2"
    assert plan(look_up("turn:example.net", both, transports=[UDP, TCP])) == [udp, tcp]
    assert plan(look_up("turn:example.net", both, transports=[TCP, UDP])) == [tcp, udp]


def test_one_naptr_record_may_name_several_transports_of_one_host() -> None:
    text = """
        example.net NAPTR 1 1 "a" "RELAY:turn.tcp:turn.udp" "" a.example.net
        a.example.net A 192.0.2.1
    """
    targets = ["udp 192.0.2.1:3478", "tcp 192.0.2.1:3478"]
    assert plan(look_up("turn:example.net", text)) == targets
