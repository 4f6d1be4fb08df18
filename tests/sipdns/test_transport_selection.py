import pytest

from natkit.errors import NoService
from natkit.machine import Transport
from sipdns.decisions import Step, Verdict
from sipdns.records import RecordType
from tests.sipdns.world import (
    FULL,
    FULL_ADDRESSES,
    World,
    asked,
    look_up,
    plan,
    reasons,
)

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS


def test_naptr_chooses_the_transport_and_srv_the_servers() -> None:
    outcome = look_up("sip:alice@example.org", FULL)
    assert plan(outcome) == ["tls [2001:db8::1]:5061", "tls 192.0.2.1:5061", "tls 192.0.2.2:5061"]
    assert [one.host for one in outcome.targets] == [
        "sip1.example.org",
        "sip1.example.org",
        "sip2.example.org",
    ]
    assert {one.tls_name for one in outcome.targets} == {"example.org"}
    assert [(one.priority, one.weight) for one in outcome.targets] == [(0, 1), (0, 1), (1, 0)]
    assert outcome.error is None


def test_a_cold_lookup_takes_two_rounds() -> None:
    outcome = look_up("sip:example.org", FULL)
    assert asked(outcome, 1) == {
        "example.org NAPTR",
        "_sip._udp.example.org SRV",
        "_sip._tcp.example.org SRV",
        "_sips._tcp.example.org SRV",
        "example.org A",
        "example.org AAAA",
    }
    assert asked(outcome, 2) == {
        "sip1.example.org A",
        "sip1.example.org AAAA",
        "sip2.example.org A",
        "sip2.example.org AAAA",
    }
    assert outcome.rounds == 2


def test_a_domain_with_addresses_only_takes_one_round() -> None:
    outcome = look_up("sip:example.org", "example.org A 192.0.2.9")
    assert plan(outcome) == ["udp 192.0.2.9:5060"]
    assert outcome.rounds == 1


def test_hosted_sip_takes_three_rounds() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.hosted.example
        _sip._tcp.hosted.example SRV 0 0 5070 a.hosted.example
        a.hosted.example A 192.0.2.7
        """,
    )
    assert plan(outcome) == ["tcp 192.0.2.7:5070"]
    assert outcome.rounds == 3
    assert outcome.targets[0].tls_name == "example.org"


def test_naptr_for_transports_that_we_lack_is_passed_over() -> None:
    outcome = look_up("sip:example.org", FULL, transports=[UDP, TCP])
    assert plan(outcome) == ["tcp [2001:db8::1]:5060", "tcp 192.0.2.1:5060"]
    passed = reasons(outcome, Step.NAPTR, Verdict.PASSED_OVER)
    assert passed[0].startswith('50 50 "s" "SIPS+D2T" _sips._tcp.example.org: the services that')


def test_the_order_of_naptr_beats_our_own_preference() -> None:
    for transports in ([UDP, TCP, TLS], [TLS, TCP, UDP], [TCP, UDP, TLS]):
        outcome = look_up("sip:example.org", FULL, transports=transports)
        assert outcome.targets[0].transport is TLS


def test_order_comes_before_preference_in_naptr() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 10 90 "s" "SIP+D2T" "" _sip._tcp.example.org
        example.org NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.example.org
        _sip._tcp.example.org SRV 0 0 5060 a.example.org
        _sip._udp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["tcp 192.0.2.1:5060"]
    assert reasons(outcome, Step.NAPTR, Verdict.PASSED_OVER) == [
        '20 10 "s" "SIP+D2U" _sip._udp.example.org: order 10 applies, so no higher one does'
    ]


def test_within_one_order_the_next_preference_is_tried() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.example.org
        example.org NAPTR 10 20 "s" "SIP+D2U" "" _sip._udp.example.org
        _sip._udp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["udp 192.0.2.1:5060"]


def test_no_higher_order_is_used_when_the_usable_one_leads_nowhere() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.example.org
        example.org NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.example.org
        _sip._tcp.example.org SRV 0 0 5060 gone.example.org
        _sip._udp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == []
    assert isinstance(outcome.error, NoService)


@pytest.mark.parametrize(
    "record",
    [
        '5 1 "u" "SIP+D2T" "" _sip._tcp.bad.example',
        '5 1 "p" "SIP+D2T" "" _sip._tcp.bad.example',
        '5 1 "sa" "SIP+D2T" "" _sip._tcp.bad.example',
        '5 1 "s" "SIP+D2T" "!.*!x!" .',
        '5 1 "s" "SIP+D2T" "!.*!x!" _sip._tcp.bad.example',
        '5 1 "s" "SIP+D2T" "" .',
        '5 1 "s" "SIP+D2X" "" _sip._tcp.bad.example',
        '5 1 "s" "E2U+sip" "" _sip._tcp.bad.example',
        '5 1 "s" "SIP+D2W" "" _sip._ws.bad.example',
        '5 1 "s" "SIPS+D2W" "" _sips._ws.bad.example',
        '5 1 "s" "SIP+D2S" "" _sip._sctp.bad.example',
        '5 1 "s" "SIPX+D2T" "" _sip._tcp.bad.example',
        '5 1 "s" "SIP" "" _sip._tcp.bad.example',
        '5 1 "s" "" "" _sip._tcp.bad.example',
    ],
)
def test_a_naptr_record_that_does_not_apply_is_passed_over_for_a_higher_order(record: str) -> None:
    outcome = look_up(
        "sip:example.org",
        f"""
        example.org NAPTR {record}
        example.org NAPTR 9 1 "S" "sip+d2u" "" _sip._udp.example.org
        _sip._tcp.bad.example SRV 0 0 5060 bad.example
        bad.example A 192.0.2.66
        _sip._udp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["udp 192.0.2.1:5060"]
    assert len(reasons(outcome, Step.NAPTR, Verdict.PASSED_OVER)) == 1


def test_when_no_naptr_applies_srv_names_of_the_domain_are_used() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 1 1 "s" "SIP+D2S" "" _sip._sctp.example.org
        _sip._tcp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["tcp 192.0.2.1:5060"]


def test_a_naptr_with_flag_a_leads_to_addresses() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 1 1 "a" "SIPS+D2T" "" edge.example.net
        edge.example.net A 192.0.2.8
        """,
    )
    assert plan(outcome) == ["tls 192.0.2.8:5061"]
    assert outcome.targets[0].tls_name == "example.org"


def test_a_naptr_that_is_not_terminal_is_followed() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 1 1 "" "" "" hosted.example
        hosted.example NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.hosted.example
        _sip._tcp.hosted.example SRV 0 0 5060 a.hosted.example
        a.hosted.example A 192.0.2.8
        """,
    )
    assert plan(outcome) == ["tcp 192.0.2.8:5060"]


@pytest.mark.parametrize("chain", [1, 2, 3])
def test_naptr_records_in_a_loop_come_to_an_end(chain: int) -> None:
    names = ["example.org", *(f"n{index}.example" for index in range(1, chain))]
    loop = "\n".join(
        f'{name} NAPTR 1 1 "" "" "" {following}'
        for name, following in zip(names, [*names[1:], names[0]], strict=True)
    )
    outcome = look_up("sip:example.org", f"{loop}\nexample.org A 192.0.2.1")
    assert plan(outcome) == ["udp 192.0.2.1:5060"]
    assert any("a loop" in one for one in reasons(outcome, Step.NAPTR, Verdict.PASSED_OVER))


def test_an_endless_chain_of_naptr_records_is_cut() -> None:
    text = "\n".join(
        f"{'example.org' if index == 0 else f'n{index}.example'} "
        f'NAPTR 1 1 "" "" "" n{index + 1}.example'
        for index in range(50)
    )
    outcome = look_up("sip:example.org", f"{text}\nexample.org A 192.0.2.1")
    assert plan(outcome) == ["udp 192.0.2.1:5060"]
    assert outcome.rounds < 8


def test_naptr_records_that_branch_ask_a_bounded_number_of_questions() -> None:
    # Each of 16 names leads to 16 others, five deep.
    text = "\n".join(
        f"{'example.org' if name == 0 else f'n{name}.example'} "
        f'NAPTR 1 1 "" "" "" n{name * 16 + branch}.example'
        for name in range(256)
        for branch in range(1, 17)
    )
    outcome = look_up("sip:example.org", f"{text}\nexample.org A 192.0.2.1")
    assert plan(outcome) == ["udp 192.0.2.1:5060"]
    assert sum(one.question.type is RecordType.NAPTR for one in outcome.asked) == 16


def test_without_naptr_our_own_preference_chooses_among_the_srv_names() -> None:
    text = """
        _sips._tcp.example.org SRV 0 0 5061 a.example.org
        _sip._tcp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
    """
    assert plan(look_up("sip:example.org", text)) == ["tcp 192.0.2.1:5060"]
    tls_first = look_up("sip:example.org", text, transports=[TLS, TCP, UDP])
    assert plan(tls_first) == ["tls 192.0.2.1:5061"]


def test_without_srv_sip_goes_by_udp_and_sips_by_tls() -> None:
    assert plan(look_up("sip:example.org", FULL_ADDRESSES)) == [
        "udp [2001:db8::9]:5060",
        "udp 192.0.2.9:5060",
    ]
    assert plan(look_up("sips:example.org", FULL_ADDRESSES)) == [
        "tls [2001:db8::9]:5061",
        "tls 192.0.2.9:5061",
    ]


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("sip:192.0.2.5", "udp 192.0.2.5:5060"),
        ("sips:192.0.2.5", "tls 192.0.2.5:5061"),
        ("sip:192.0.2.5;transport=tcp", "tcp 192.0.2.5:5060"),
        ("sip:192.0.2.5;transport=tls", "tls 192.0.2.5:5061"),
        ("sip:192.0.2.5:5090", "udp 192.0.2.5:5090"),
        ("sips:192.0.2.5:5090", "tls 192.0.2.5:5090"),
        ("sip:[2001:DB8:0::5]", "udp [2001:db8::5]:5060"),
        ("sip:[2001:db8::5]:5070;transport=TLS", "tls [2001:db8::5]:5070"),
        ("sip:example.org;maddr=192.0.2.5", "udp 192.0.2.5:5060"),
        ("sips:example.org:5099;maddr=[2001:db8::5]", "tls [2001:db8::5]:5099"),
    ],
)
def test_a_numeric_target_needs_no_dns(uri: str, target: str) -> None:
    outcome = look_up(uri, World(silent=lambda _: True))
    assert plan(outcome) == [target]
    assert outcome.asked == ()


def test_maddr_changes_where_to_go_and_not_whose_certificate_is_wanted() -> None:
    outcome = look_up(
        "sips:example.org;maddr=edge.example.net",
        """
        _sips._tcp.edge.example.net SRV 0 0 5061 a.example.net
        a.example.net A 192.0.2.4
        """,
    )
    assert plan(outcome) == ["tls 192.0.2.4:5061"]
    assert outcome.targets[0].tls_name == "example.org"


def test_an_explicit_port_asks_for_addresses_only() -> None:
    outcome = look_up("sip:example.org:5099", FULL)
    assert plan(outcome) == ["udp 192.0.2.9:5099"]
    assert asked(outcome, 1) == {"example.org A", "example.org AAAA"}
    assert plan(look_up("sips:example.org:5099", FULL)) == ["tls 192.0.2.9:5099"]
    assert plan(look_up("sip:example.org:5099;transport=tcp", FULL)) == ["tcp 192.0.2.9:5099"]


@pytest.mark.parametrize(
    ("uri", "target", "question"),
    [
        ("sip:example.org;transport=udp", "udp [2001:db8::1]:5060", "_sip._udp.example.org SRV"),
        ("sip:example.org;transport=TCP", "tcp [2001:db8::1]:5060", "_sip._tcp.example.org SRV"),
        ("sip:example.org;transport=tls", "tls [2001:db8::1]:5061", "_sips._tcp.example.org SRV"),
        ("sips:example.org;transport=tcp", "tls [2001:db8::1]:5061", "_sips._tcp.example.org SRV"),
        ("sips:example.org;transport=tls", "tls [2001:db8::1]:5061", "_sips._tcp.example.org SRV"),
    ],
)
def test_a_named_transport_asks_its_srv_name_and_no_naptr(
    uri: str, target: str, question: str
) -> None:
    outcome = look_up(uri, FULL)
    assert plan(outcome)[0] == target
    assert asked(outcome, 1) == {question, "example.org A", "example.org AAAA"}


def test_a_named_transport_without_srv_falls_back_to_addresses_on_its_port() -> None:
    assert plan(look_up("sip:example.org;transport=tls", "example.org A 192.0.2.9")) == [
        "tls 192.0.2.9:5061"
    ]


@pytest.mark.parametrize(
    ("transport", "record", "target"),
    [
        ("sctp", "_sip._sctp.example.org SRV 0 0 5060 a.example.org", "sctp 192.0.2.1:5060"),
        (
            "tls-sctp",
            "_sips._sctp.example.org SRV 0 0 5061 a.example.org",
            "tls-sctp 192.0.2.1:5061",
        ),
        ("ws", "example.org A 192.0.2.1", "ws 192.0.2.1:80"),
        ("wss", "example.org A 192.0.2.1", "wss 192.0.2.1:443"),
    ],
)
def test_other_transports_are_found_when_they_are_ours(
    transport: str, record: str, target: str
) -> None:
    world = f"{record}\na.example.org A 192.0.2.1"
    outcome = look_up(
        f"sip:example.org;transport={transport}", world, transports=[Transport(transport)]
    )
    assert plan(outcome) == [target]


@pytest.mark.parametrize(
    ("uri", "transports"),
    [
        ("sip:example.org;transport=sctp", [UDP, TCP, TLS]),
        ("sip:example.org;transport=carrier-pigeon", [UDP, TCP, TLS]),
        ("sips:example.org", [UDP, TCP]),
        ("sips:192.0.2.1", [UDP, TCP]),
        ("sip:example.org", []),
    ],
)
def test_a_transport_that_we_lack_is_no_service(uri: str, transports: list[Transport]) -> None:
    outcome = look_up(uri, FULL, transports=transports)
    assert outcome.targets == ()
    assert isinstance(outcome.error, NoService)
    assert outcome.asked == ()


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        FULL_ADDRESSES,
        'example.org NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.example.org\n' + FULL_ADDRESSES,
        "_sip._udp.example.org SRV 0 0 5060 a.example.org\na.example.org A 192.0.2.1",
        '_sip._tcp.example.org SRV 0 0 5060 a.example.org\nexample.org NAPTR 1 1 "a" "SIP+D2T" "" x',  # noqa: E501
    ],
)
@pytest.mark.parametrize("suffix", ["", ";transport=tcp", ":5061", ";maddr=example.org"])
def test_sips_never_falls_to_an_insecure_hop(text: str, suffix: str) -> None:
    outcome = look_up(f"sips:example.org{suffix}", text)
    assert {one.transport for one in outcome.targets} <= {TLS}
