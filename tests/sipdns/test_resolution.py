import pytest

from natkit.address import Family
from natkit.errors import DnsFailure, NoService
from natkit.machine import Failure, Transport
from sipdns.decisions import Step, Verdict
from sipdns.plan import Plan
from sipdns.procedure import Procedure
from sipdns.records import Question, RecordType
from sipdns.resolution import MOST_QUESTIONS, AskDns, Limits, Resolution, Resolved
from sipdns.search import read_uri
from tests.sipdns.world import World, asked, look_up, look_up_at, plan

UDP, TCP, TLS, SCTP = Transport.UDP, Transport.TCP, Transport.TLS, Transport.SCTP

# The example of RFC 3263 §4.1, with servers behind it.
FULL = """
example.org NAPTR 50 50 "s" "SIPS+D2T" "" _sips._tcp.example.org
example.org NAPTR 90 50 "s" "SIP+D2T" "" _sip._tcp.example.org
example.org NAPTR 100 50 "s" "SIP+D2U" "" _sip._udp.example.org
_sips._tcp.example.org SRV 0 1 5061 sip1.example.org
_sips._tcp.example.org SRV 1 0 5061 sip2.example.org
_sip._tcp.example.org SRV 0 1 5060 sip1.example.org
_sip._udp.example.org SRV 0 1 5060 sip1.example.org
example.org A 192.0.2.9
sip1.example.org A 192.0.2.1
sip1.example.org AAAA 2001:db8::1
sip2.example.org A 192.0.2.2
"""


def reasons(outcome: object, step: Step, verdict: Verdict) -> list[str]:
    assert hasattr(outcome, "decisions")
    return [
        f"{one.subject}: {one.reason}"
        for one in outcome.decisions
        if one.step is step and one.verdict is verdict
    ]


# -- Transport, RFC 3263 §4.1


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


FULL_ADDRESSES = "example.org A 192.0.2.9\nexample.org AAAA 2001:db8::9"


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


# -- Port and address, RFC 3263 §4.2 and RFC 2782


def test_the_target_dot_closes_that_transport() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        _sip._udp.example.org SRV 0 0 0 .
        _sip._tcp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["tcp 192.0.2.1:5060"]
    assert len(reasons(outcome, Step.SRV, Verdict.PASSED_OVER)) == 1


@pytest.mark.parametrize("uri", ["sip:example.org", "sip:example.org;transport=udp"])
@pytest.mark.parametrize("target", [".", "gone.example.org"])
def test_no_address_fall_back_follows_an_srv_answer(uri: str, target: str) -> None:
    outcome = look_up(uri, f"_sip._udp.example.org SRV 0 0 5060 {target}\nexample.org A 192.0.2.9")
    assert outcome.targets == ()
    assert isinstance(outcome.error, NoService)
    assert any("no fall-back" in one for one in reasons(outcome, Step.ADDRESS, Verdict.PASSED_OVER))


def test_a_naptr_to_a_missing_srv_falls_back_to_addresses_by_its_transport() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.gone.example
        example.org A 192.0.2.9
        """,
    )
    assert plan(outcome) == ["tcp 192.0.2.9:5060"]


def test_a_naptr_to_a_missing_srv_uses_the_domains_own_srv_of_that_transport() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.gone.example
        _sip._tcp.example.org SRV 0 0 5060 a.example.org
        _sip._udp.example.org SRV 0 0 5060 a.example.org
        a.example.org A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["tcp 192.0.2.1:5060"]


def test_priorities_are_tried_in_order() -> None:
    outcome = look_up(
        "sip:example.org;transport=udp",
        """
        _sip._udp.example.org SRV 20 0 5060 c.example.org
        _sip._udp.example.org SRV 5 0 5062 a.example.org
        _sip._udp.example.org SRV 10 0 5060 b.example.org
        a.example.org A 192.0.2.1
        b.example.org A 192.0.2.2
        c.example.org A 192.0.2.3
        """,
    )
    assert plan(outcome) == ["udp 192.0.2.1:5062", "udp 192.0.2.2:5060", "udp 192.0.2.3:5060"]


def test_the_same_seed_gives_the_same_order_whatever_order_the_nameserver_sends() -> None:
    lines = [f"_sip._udp.example.org SRV 1 {index} 5060 h{index}.example.org" for index in range(9)]
    lines += [f"h{index}.example.org A 192.0.2.{index}" for index in range(9)]
    one = look_up("sip:example.org", "\n".join(lines), seed=7)
    other = look_up("sip:example.org", "\n".join(reversed(lines)), seed=7)
    assert plan(one) == plan(other)
    assert len(plan(one)) == 9
    assert plan(look_up("sip:example.org", "\n".join(lines), seed=8)) != plan(one)


def test_an_srv_target_that_is_an_alias_is_followed_and_noted() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        _sip._udp.example.org SRV 0 0 5060 alias.example.org
        alias.example.org CNAME real.example.net
        real.example.net A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["udp 192.0.2.1:5060"]
    assert outcome.targets[0].host == "alias.example.org"
    assert any("an SRV target must not be one" in one.reason for one in outcome.decisions)


def test_aliases_of_srv_and_naptr_names_are_followed() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        example.org CNAME example.net
        example.net NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.example.org
        _sip._udp.example.org CNAME _sip._udp.example.net
        _sip._udp.example.net SRV 0 0 5060 a.example.net
        a.example.net A 192.0.2.1
        """,
    )
    assert plan(outcome) == ["udp 192.0.2.1:5060"]
    assert outcome.targets[0].tls_name == "example.org"


def test_one_family_is_enough_and_the_other_is_asked_for() -> None:
    outcome = look_up("sip:example.org:5060", "example.org AAAA 2001:db8::9")
    assert plan(outcome) == ["udp [2001:db8::9]:5060"]


def test_families_follow_preference_and_routes() -> None:
    first = look_up("sip:example.org", FULL_ADDRESSES, prefer=Family.IPV4)
    assert plan(first) == ["udp 192.0.2.9:5060", "udp [2001:db8::9]:5060"]
    second = look_up("sip:example.org", FULL_ADDRESSES, usable=[Family.IPV4])
    assert plan(second) == ["udp 192.0.2.9:5060", "udp [2001:db8::9]:5060"]


def test_case_and_final_dots_make_no_difference() -> None:
    assert plan(look_up("sip:Alice@EXAMPLE.org.", FULL)) == plan(look_up("sip:example.org", FULL))


# -- When the DNS does not answer


def test_a_nameserver_that_never_answers_for_naptr_delays_a_lookup_by_a_bounded_time() -> None:
    world = World(FULL, silent=lambda question: question.type is RecordType.NAPTR)
    outcome, took = look_up_at("sip:example.org", world)
    assert plan(outcome) == ["udp [2001:db8::1]:5060", "udp 192.0.2.1:5060"]
    assert Limits().straggler <= took <= Limits().straggler + 1
    assert reasons(outcome, Step.NAPTR, Verdict.FAILED) == [
        "example.org: NAPTR: no answer within 3 s"
    ]


def test_a_question_that_hangs_does_not_matter_when_its_answer_cannot() -> None:
    world = World(FULL, silent=lambda question: question.name == "_sip._udp.example.org")
    outcome, took = look_up_at("sip:example.org", world)
    assert outcome.targets[0].transport is TLS
    assert took < 0.2


def test_a_family_that_is_never_answered_leaves_the_other() -> None:
    world = World(FULL, silent=lambda question: question.type is RecordType.AAAA)
    outcome, took = look_up_at("sip:example.org", world)
    assert plan(outcome) == ["tls 192.0.2.1:5061", "tls 192.0.2.2:5061"]
    assert took < 4


def test_a_dns_that_is_silent_is_a_failure_of_the_dns_in_bounded_time() -> None:
    outcome, took = look_up_at("sip:example.org", World(silent=lambda _: True))
    assert isinstance(outcome.error, DnsFailure)
    assert took == Limits().query


def test_a_broken_srv_name_does_not_hide_the_others() -> None:
    outcome = look_up(
        "sip:example.org;transport=udp", World(FULL, broken=["_sip._udp.example.org"])
    )
    assert plan(outcome) == ["udp 192.0.2.9:5060"]
    assert reasons(outcome, Step.SRV, Verdict.FAILED)


def test_nothing_found_and_something_broken_is_a_failure_of_the_dns() -> None:
    world = World("example.net A 192.0.2.1", broken=["_sip._tcp.example.org"])
    assert isinstance(look_up("sip:example.org", world).error, DnsFailure)
    assert isinstance(look_up("sip:example.org", "example.net A 192.0.2.1").error, NoService)


def test_an_answer_after_its_deadline_is_dropped() -> None:
    resolution = Resolution(read_uri("sip:example.org:5060"), draw=lambda _: 0, now=0)
    requests = []
    while (event := resolution.next_event()) is not None:
        assert isinstance(event, AskDns)
        requests.append(event)
    resolution.handle_timer(100)
    ended = resolution.next_event()
    assert isinstance(ended, Resolved)
    world = World("example.org A 192.0.2.1")
    for request in requests:
        resolution.answer(request.request_id, world.answer(request.question), 101)
    resolution.answer(999, Failure("unknown"), 101)
    assert resolution.next_event() is None


# -- Hostile zones


def test_a_huge_srv_set_is_looked_at_in_order_of_priority_up_to_a_bound() -> None:
    lines = [
        f"_sip._udp.example.org SRV {index} 0 5060 h{index}.example.org" for index in range(900)
    ]
    lines += [f"h{index}.example.org A 192.0.2.1" for index in range(900)]
    outcome = look_up("sip:example.org", "\n".join(reversed(lines)))
    assert [one.priority for one in outcome.targets] == list(range(128))
    assert len(outcome.asked) <= MOST_QUESTIONS
    assert any("left out" in one.reason for one in outcome.decisions)


def test_many_naptr_records_to_many_srv_names_ask_a_bounded_number_of_questions() -> None:
    lines = [
        f'example.org NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.h{index}.example' for index in range(900)
    ]
    outcome = look_up("sip:example.org", "\n".join(lines))
    assert isinstance(outcome.error, NoService | DnsFailure)
    assert len(outcome.asked) <= MOST_QUESTIONS


def test_additional_records_save_a_round() -> None:
    world = World(FULL)
    resolution = Resolution(read_uri("sip:example.org;transport=udp"), draw=lambda _: 0, now=0)
    sip1 = [Question("sip1.example.org", kind) for kind in (RecordType.A, RecordType.AAAA)]
    while (event := resolution.next_event()) is not None:
        if isinstance(event, Resolved):
            assert event.outcome.rounds == 1
            assert len(event.outcome.targets) == 2
            return
        answer = world.answer(event.question)
        if event.question.type is RecordType.SRV:
            assert not isinstance(answer, Failure)
            extra = []
            for question in sip1:
                found = world.answer(question)
                assert not isinstance(found, Failure)
                extra.append((question, found.records))
            answer = type(answer)(answer.status, answer.records, (), tuple(extra))
        resolution.answer(event.request_id, answer, 0.1)
    raise AssertionError("the lookup does not end")


# -- Rounds, and how often the walk is run


def test_a_question_is_of_the_round_after_the_answer_that_made_it_necessary() -> None:
    resolution = Resolution(read_uri("sip:example.org"), draw=lambda _: 0, now=0)
    world = World(
        """
        example.org NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.hosted.example
        _sip._udp.hosted.example SRV 1 0 5060 a.hosted.example
        a.hosted.example A 192.0.2.1
        """
    )
    late = None
    rounds = {}
    while not isinstance(event := resolution.next_event(), Resolved):
        if event is None:
            # The nameserver was slow for NAPTR: all else has been answered by now.
            assert late is not None
            event, late = late, None
        elif event.question.type is RecordType.NAPTR:
            late = event
            continue
        rounds[str(event.question)] = event.round
        resolution.answer(event.request_id, world.answer(event.question), 0.1)
    assert rounds["_sip._udp.hosted.example SRV"] == 2
    assert rounds["a.hosted.example A"] == 3
    assert event.outcome.rounds == 3


def test_while_one_answer_is_overdue_the_next_round_is_asked() -> None:
    world = World(FULL, silent=lambda question: question.type is RecordType.NAPTR)
    outcome, took = look_up_at("sip:example.org", world)
    assert took == Limits().straggler
    assert asked(outcome, 2) == {"sip1.example.org A", "sip1.example.org AAAA"} | {
        "sip2.example.org A",
        "sip2.example.org AAAA",
    }


def test_the_walk_is_run_a_few_times_however_many_answers_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = 0
    run = Procedure.run

    def counted(walk: Procedure) -> Plan | None:
        nonlocal runs
        runs += 1
        return run(walk)

    monkeypatch.setattr(Procedure, "run", counted)
    lines = [f"_sip._udp.example.org SRV {n} 0 5060 h{n}.example.org" for n in range(128)]
    lines += [f"h{n}.example.org A 192.0.2.{n}" for n in range(128)]
    outcome = look_up("sip:example.org", "\n".join(lines))
    assert len(outcome.targets) == 128
    assert len(outcome.asked) == 6 + 256
    assert runs <= 5


# -- STUN and TURN


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
