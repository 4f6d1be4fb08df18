"""Candidates and their priorities, against the figures in the RFCs."""

from ipaddress import ip_address
from itertools import product

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.ice.candidate import (
    Candidate,
    CandidateType,
    LocalCandidate,
    NamedAddress,
    TcpType,
)
from natkit.ice.pacing import Pacer
from natkit.ice.parameters import Parameters, draw_credentials
from natkit.ice.priority import (
    candidate_priority,
    local_preferences,
    pair_priority,
    peer_reflexive_priority,
    tcp_local_preference,
    type_preference,
)
from natkit.ice.settings import IceSettings
from natkit.machine import Transport
from natkit.stun.transaction import Timing

HOST = Address.of("192.0.2.1", 4000)


def test_the_priorities_in_the_examples_of_rfc_8839_come_out() -> None:
    # RFC 8839 §5.1 and the offer and answer of its Appendix A.
    assert candidate_priority(CandidateType.HOST, 0xFFFF, 1) == 2130706431
    assert candidate_priority(CandidateType.SERVER_REFLEXIVE, 0xFFFF, 1) == 1694498815
    assert candidate_priority(CandidateType.RELAYED, 0xFFFF, 1) == 16777215


def test_priority_falls_with_type_then_preference_then_component() -> None:
    ordered = [
        candidate_priority(kind, preference, component)
        for kind in (
            CandidateType.HOST,
            CandidateType.PEER_REFLEXIVE,
            CandidateType.SERVER_REFLEXIVE,
            CandidateType.RELAYED,
        )
        for preference in (65535, 65534, 0)
        for component in (1, 2, 256)
    ]
    assert ordered == sorted(set(ordered), reverse=True)


def test_a_check_offers_the_priority_of_a_peer_reflexive_candidate_of_its_base() -> None:
    # RFC 8445 §7.1.1
    host = candidate_priority(CandidateType.HOST, 777, 2)
    assert peer_reflexive_priority(host, Transport.UDP) == candidate_priority(
        CandidateType.PEER_REFLEXIVE, 777, 2
    )


def test_both_agents_give_a_pair_one_priority_and_no_two_pairs_of_candidates_share_it() -> None:
    # RFC 8445 §6.1.2.3: 2^32*MIN(G,D) + 2*MAX(G,D) + (G>D?1:0)
    assert pair_priority(1, 2) == (1 << 32) + 4
    assert pair_priority(2, 1) == (1 << 32) + 5
    values = [1, 5, 2**31 - 1, 16777215]
    assert len({pair_priority(a, b) for a, b in product(values, values)}) == 16


def test_tcp_stays_below_udp_and_active_goes_first_where_no_nat_helps() -> None:
    for kind in (CandidateType.HOST, CandidateType.SERVER_REFLEXIVE):
        assert type_preference(kind, Transport.TCP) < type_preference(kind, Transport.UDP)
    # RFC 6544 §4.2
    order = [TcpType.ACTIVE, TcpType.PASSIVE, TcpType.SIMULTANEOUS_OPEN]
    host = [tcp_local_preference(CandidateType.HOST, each) for each in order]
    assert host == [6 << 13, 4 << 13, 2 << 13]
    assert (
        tcp_local_preference(CandidateType.SERVER_REFLEXIVE, TcpType.SIMULTANEOUS_OPEN, 99_999)
        == (6 << 13) + 8191
    )


def test_ipv4_is_not_put_off_until_every_ipv6_address_was_tried() -> None:
    # RFC 8421 §4: with six of one family and two of the other, every fourth is of the other.
    v6 = [f"2001:db8::{number}" for number in range(1, 7)]
    v4 = ["192.0.2.1", "192.0.2.2"]
    preferences = local_preferences([*v6, *v4])
    ranked = sorted(preferences, key=lambda host: -preferences[host])
    assert [ip_address(host).version for host in ranked] == [6, 6, 6, 4, 6, 6, 6, 4]
    assert [host for host in ranked if host in v6] == v6
    assert max(preferences.values()) == 65535
    assert len(set(preferences.values())) == len(ranked)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (1, 1), (1, 5), (5, 1), (3, 4), (4, 3)])
def test_every_address_gets_one_preference(counts: tuple[int, int]) -> None:
    first = [f"192.0.2.{number}" for number in range(counts[0])]
    second = [f"2001:db8::{number + 1}" for number in range(counts[1])]
    preferences = local_preferences([*first, *second])
    assert set(preferences) == {*first, *second}
    assert len(set(preferences.values())) == len(preferences)
    if first:
        assert preferences[first[0]] == 65535 or len(second) >= len(first)


def test_tcp_types_pair_by_who_opens() -> None:
    # RFC 6544 §6.2
    assert TcpType.ACTIVE.opposite is TcpType.PASSIVE
    assert TcpType.PASSIVE.opposite is TcpType.ACTIVE
    assert TcpType.SIMULTANEOUS_OPEN.opposite is TcpType.SIMULTANEOUS_OPEN


@pytest.mark.parametrize(
    ("name", "mdns"),
    [
        ("3d9f1a34-6d4b.local", True),
        ("3D9F.LOCAL.", True),
        ("host.example.org", False),
        ("a.b.local", False),
        (".local", False),
        ("local", False),
    ],
)
def test_only_single_labels_under_local_are_for_multicast_dns(name: str, mdns: bool) -> None:
    assert NamedAddress(name, 1).is_mdns is mdns


def candidate(**changes: object) -> Candidate:
    fields: dict[str, object] = {
        "foundation": "1",
        "component": 1,
        "transport": Transport.UDP,
        "priority": 1,
        "address": HOST,
        "type": CandidateType.HOST,
    }
    return Candidate(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"component": 0},
        {"component": 257},
        {"priority": 0},
        {"priority": 2**31},
        {"foundation": ""},
        {"foundation": "a" * 33},
        {"foundation": "a b"},
        {"transport": Transport.TLS},
        {"transport": Transport.TCP},
        {"tcp_type": TcpType.ACTIVE},
    ],
)
def test_a_candidate_out_of_the_grammar_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MisuseError):
        candidate(**changes)


def test_a_local_candidate_tells_its_base_unless_it_is_the_host() -> None:
    mapped = Address.of("198.51.100.1", 9)
    reflexive = LocalCandidate(
        component=1, type=CandidateType.SERVER_REFLEXIVE, address=mapped, base=HOST
    )
    assert reflexive.told_related == HOST
    host = LocalCandidate(component=1, type=CandidateType.HOST, address=HOST, base=HOST)
    assert host.told_related is None
    relayed = LocalCandidate(
        component=1, type=CandidateType.RELAYED, address=HOST, base=HOST, related=mapped
    )
    assert relayed.told_related == mapped
    with pytest.raises(MisuseError):
        LocalCandidate(component=1, type=CandidateType.PEER_REFLEXIVE, address=HOST, base=HOST)
    with pytest.raises(MisuseError):
        LocalCandidate(
            component=1, type=CandidateType.HOST, address=HOST, base=Address.of("2001:db8::1", 1)
        )


def test_credentials_have_the_lengths_of_rfc_8445_and_are_not_shown() -> None:
    fragment, password = draw_credentials(lambda count: bytes(range(count)))
    assert (len(fragment), len(password)) == (8, 24)
    shown = repr(Parameters(username_fragment=fragment, password=password))
    assert password not in shown


@pytest.mark.parametrize(
    ("fragment", "password"),
    [("abc", "p" * 22), ("a" * 257, "p" * 22), ("abcd", "p" * 21), ("ab:cd", "p" * 22)],
)
def test_parameters_out_of_the_grammar_are_refused(fragment: str, password: str) -> None:
    with pytest.raises(MisuseError):
        Parameters(username_fragment=fragment, password=password)


def test_settings_that_the_rfcs_forbid_are_refused() -> None:
    for settings in (
        {"pacing": 0.004},
        {"timing": Timing(rto=0.4)},
        {"most_pairs": 0},
        {"patience": -1.0},
        {"consent_interval": 30.0},
        {"keepalive_interval": 14.0},
    ):
        with pytest.raises(MisuseError):
            IceSettings(**settings)


def test_the_process_begins_a_transaction_every_five_milliseconds_at_most() -> None:
    pacer = Pacer()
    given = [pacer.reserve(1.0) for _ in range(4)]
    assert given == pytest.approx([1.0, 1.005, 1.01, 1.015])
    assert pacer.reserve(2.0) == 2.0
