import pytest

from natkit.address import Family
from natkit.errors import NoService
from natkit.machine import Transport
from sipdns.decisions import Step, Verdict
from tests.sipdns.world import (
    FULL,
    FULL_ADDRESSES,
    look_up,
    plan,
    reasons,
)

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS


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
