"""Zones drawn at random, loops and nonsense among them, with answers that come late or never."""

from hypothesis import given, settings
from hypothesis import strategies as st

from natkit.errors import DnsFailure, NoService
from natkit.machine import Transport
from sipdns.records import Question
from sipdns.resolution import MOST_QUESTIONS, Limits
from tests.sipdns.world import World, look_up_at

names = st.sampled_from(
    [
        "example.org",
        "a.example",
        "b.example",
        "_sip._udp.example.org",
        "_sip._tcp.example.org",
        "_sips._tcp.example.org",
        "_sip._udp.a.example",
        "a\\.b\\000.example",
        ".",
    ]
)
small = st.integers(0, 3)
flags = st.sampled_from(["", "s", "S", "a", "u", "p", "sa"])
services = st.sampled_from(["", "SIP+D2U", "sip+d2t", "SIPS+D2T", "SIP+D2S", "SIP", "E2U+sip", "+"])
expressions = st.sampled_from(["", "", "!^.*$!sip:x@y!", "!(a+)+$!x!"])

naptr = st.builds(
    '{} NAPTR {} {} "{}" "{}" "{}" {}'.format,
    names,
    small,
    small,
    flags,
    services,
    expressions,
    names,
)
srv = st.builds("{} SRV {} {} {} {}".format, names, small, small, st.integers(0, 65535), names)
a = st.builds("{} A 192.0.2.{}".format, names, small)
aaaa = st.builds("{} AAAA 2001:db8::{}".format, names, small)
cname = st.builds("{} CNAME {}".format, names, names)
zones = st.lists(st.one_of(naptr, srv, srv, a, aaaa, cname), max_size=20)
uris = st.sampled_from(
    [
        "sip:example.org",
        "sips:example.org",
        "sip:example.org;transport=tcp",
        "sip:example.org:5099",
        "sips:a.example;maddr=example.org",
    ]
)


@settings(max_examples=300)
@given(uris, zones, st.sets(names), st.sets(names), st.integers(0, 99))
def test_any_zone_has_a_clear_outcome_in_bounded_time(
    uri: str, lines: list[str], silent: set[str], broken: set[str], seed: int
) -> None:
    def is_silent(question: Question) -> bool:
        return question.name in silent

    world = World("\n".join(lines), broken=tuple(broken), silent=is_silent)
    outcome, took = look_up_at(uri, world, seed=seed)
    assert took <= Limits().whole + 1
    assert len(outcome.asked) <= MOST_QUESTIONS
    if outcome.targets:
        assert outcome.error is None
        assert len({one.transport for one in outcome.targets}) == 1
        assert all(0 < one.probability <= 1 for one in outcome.targets)
        priorities = [one.priority or 0 for one in outcome.targets]
        assert priorities == sorted(priorities)
        if uri.startswith("sips"):
            assert outcome.targets[0].transport is Transport.TLS
    else:
        assert isinstance(outcome.error, NoService | DnsFailure)
        assert "\n" not in str(outcome.error)
