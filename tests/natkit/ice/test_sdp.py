"""ICE in session descriptions: the RFCs' examples, what other stacks write, and hostile text."""

import random
import string
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.ice.candidate import Candidate, CandidateType, NamedAddress, TcpType
from natkit.ice.candidate_attribute import (
    LONGEST_ATTRIBUTE,
    UnusableCandidate,
    parse_candidate,
    write_candidate,
)
from natkit.ice.parameters import Parameters
from natkit.ice.sdp import (
    LONGEST_DESCRIPTION,
    MOST_CANDIDATES,
    MOST_MEDIA,
    Description,
    MediaDescription,
    RemoteCandidate,
    parse_description,
    write_fragment,
    write_media,
    write_session,
)
from natkit.machine import Transport
from tests.conftest import Sized

# RFC 8839 §5.1 and Appendix A, RFC 6544 §4.5, RFC 8840 §4.4: the attributes as printed there.
RFC_CANDIDATES: Final = (
    "candidate:1 1 UDP 2130706431 203.0.113.141 8998 typ host",
    "candidate:1 1 UDP 2130706431 fe80::6676:baff:fe9c:ee4a 8998 typ host",
    (
        "candidate:2 1 UDP 1694498815 2001:db8:8101:3a55:4858:a2a9:22ff:99b9 45664 typ srflx "
        "raddr fe80::6676:baff:fe9c:ee4a rport 8998"
    ),
    "candidate:1 1 TCP 2128609279 10.0.1.1 9 typ host tcptype active",
    "candidate:2 1 TCP 2124414975 10.0.1.1 8998 typ host tcptype passive",
    "candidate:3 1 TCP 2120220671 10.0.1.1 8999 typ host tcptype so",
    "candidate:4 1 TCP 1688207359 192.0.2.3 9 typ srflx raddr 10.0.1.1 rport 9 tcptype active",
    "candidate:6 1 TCP 1684013055 192.0.2.3 45687 typ srflx raddr 10.0.1.1 rport 8999 tcptype so",
)
RFC_8839_OFFER: Final = """\
v=0\r
o=jdoe 2890844526 2890842807 IN IP6 fe80::6676:baff:fe9c:ee4a\r
s=\r
c=IN IP6 2001:db8:8101:3a55:4858:a2a9:22ff:99b9\r
t=0 0\r
a=ice-options:ice2\r
a=ice-pacing:50\r
a=ice-pwd:asd88fgpdd777uzjYhagZg\r
a=ice-ufrag:8hhY\r
m=audio 45664 RTP/AVP 0\r
b=RS:0\r
b=RR:0\r
a=rtpmap:0 PCMU/8000\r
a=candidate:1 1 UDP 2130706431 fe80::6676:baff:fe9c:ee4a 8998 typ host\r
a=candidate:2 1 UDP 1694498815 2001:db8:8101:3a55:4858:a2a9:22ff:99b9 45664 typ srflx \
raddr fe80::6676:baff:fe9c:ee4a rport 8998\r
"""
RFC_8840_FRAGMENT: Final = """\
a=ice-pwd:asd88fgpdd777uzjYhagZg\r
a=ice-ufrag:8hhY\r
m=audio 9 RTP/AVP 0\r
a=mid:1\r
a=candidate:1 1 UDP 2130706432 2001:db8:a0b:12f0::1 5000 typ host\r
a=candidate:1 2 UDP 2130706431 2001:db8:a0b:12f0::1 5001 typ host\r
a=end-of-candidates\r
m=audio 9 RTP/AVP 0\r
a=mid:2\r
a=candidate:1 1 UDP 2130706432 2001:db8:a0b:12f0::1 6000 typ host\r
a=end-of-candidates\r
"""
CHROMIUM: Final = (
    "candidate:3885250869 1 udp 2113937151 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 54596 typ "
    "host generation 0 ufrag uoXR network-id 1 network-cost 999"
)
FIREFOX: Final = "candidate:0 1 UDP 2122187007 192.168.1.20 61665 typ host"
PJSIP: Final = "a=candidate:Hc0a80114 1 UDP 2130706431 192.168.1.20 4000 typ host\r\n"
LIBNICE_TCP: Final = (
    "a=candidate:5 1 TCP 1015021823 10.0.1.2 9 typ host tcptype active"  # before raddr, no rport
)

ICE_CHARS = string.ascii_letters + string.digits + "+/"
ice_text = st.text(ICE_CHARS, min_size=1, max_size=32)
tokens = st.text(string.ascii_letters + string.digits + "-._:/=", min_size=1, max_size=20)
ports = st.integers(0, 65535)
addresses = st.builds(
    Address.of, st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), ports
)
names = st.builds(NamedAddress, st.uuids().map(lambda each: f"{each}.local"), ports)
KNOWN = {"raddr", "rport", "tcptype", "ufrag", "generation", "network-id", "network-cost"}
numbers = st.none() | st.integers(0, 9999)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    transport = draw(st.sampled_from([Transport.UDP, Transport.TCP]))
    kind = draw(st.sampled_from(CandidateType))
    related = draw(addresses)
    hidden = related.port == 9 and related.host in ("0.0.0.0", "::")
    extensions = draw(
        st.dictionaries(tokens.filter(lambda name: name not in KNOWN), tokens, max_size=4)
    )
    return Candidate(
        foundation=draw(ice_text),
        component=draw(st.integers(1, 256)),
        transport=transport,
        priority=draw(st.integers(1, 2**31 - 1)),
        address=draw(st.one_of(addresses, names)),
        type=kind,
        related=None if kind is CandidateType.HOST or hidden or draw(st.booleans()) else related,
        tcp_type=draw(st.sampled_from(TcpType)) if transport is Transport.TCP else None,
        username_fragment=draw(st.none() | ice_text),
        generation=draw(numbers),
        network_id=draw(numbers),
        network_cost=draw(numbers),
        extensions=tuple(extensions.items()),
    )


parameters = st.builds(
    Parameters,
    username_fragment=st.text(ICE_CHARS, min_size=4, max_size=256),
    password=st.text(ICE_CHARS, min_size=22, max_size=256),
    lite=st.booleans(),
    ice2=st.booleans(),
    pacing=st.integers(1, 60_000).map(lambda each: each / 1000),
    trickle=st.booleans(),
    renomination=st.booleans(),
)


@pytest.mark.parametrize("text", RFC_CANDIDATES)
def test_candidates_of_the_rfcs_are_read_and_written_as_printed(text: str) -> None:
    assert write_candidate(parse_candidate(text)) == text
    assert parse_candidate(f"a={text}\r\n") == parse_candidate(text.partition(":")[2])


def test_the_offer_of_rfc_8839() -> None:
    description = parse_description(RFC_8839_OFFER)
    assert description.options == {"ice2"}
    assert description.pacing == 0.05
    assert not description.lite
    (media,) = description.media
    assert media.parameters == Parameters(
        username_fragment="8hhY", password="asd88fgpdd777uzjYhagZg", trickle=False
    )
    assert [(each.type, each.priority) for each in media.candidates] == [
        (CandidateType.HOST, 2130706431),
        (CandidateType.SERVER_REFLEXIVE, 1694498815),
    ]
    assert media.candidates[1].related == Address("fe80::6676:baff:fe9c:ee4a", 8998)
    assert media.default == media.candidates[1].address
    assert not media.is_mismatched
    assert not media.end_of_candidates


def test_the_fragment_of_rfc_8840() -> None:
    description = parse_description(RFC_8840_FRAGMENT)
    assert [media.mid for media in description.media] == ["1", "2"]
    assert [len(media.candidates) for media in description.media] == [2, 1]
    assert all(media.end_of_candidates for media in description.media)
    assert {media.parameters for media in description.media} == {
        Parameters(
            username_fragment="8hhY", password="asd88fgpdd777uzjYhagZg", ice2=False, trickle=False
        )
    }


def test_what_browsers_and_other_stacks_write_is_understood() -> None:
    ours = parse_candidate(CHROMIUM)
    assert ours.address == NamedAddress("1f4712db-ea17-4bcf-a596-105139dfd8bf.local", 54596)
    assert (ours.username_fragment, ours.generation, ours.network_id, ours.network_cost) == (
        "uoXR",
        0,
        1,
        999,
    )
    assert parse_candidate(FIREFOX).address == Address("192.168.1.20", 61665)
    assert parse_candidate(PJSIP).foundation == "Hc0a80114"
    assert parse_candidate(LIBNICE_TCP).tcp_type is TcpType.ACTIVE


def test_unknown_extensions_are_kept_in_order() -> None:
    text = f"{RFC_CANDIDATES[0]} cost 5 x-new yes"
    candidate = parse_candidate(text)
    assert candidate.extensions == (("cost", "5"), ("x-new", "yes"))
    assert write_candidate(candidate) == text
    # A name without a value says nothing.
    assert parse_candidate(f"{text} odd") == candidate


def test_a_hidden_base_is_written_as_zero_and_port_nine_and_read_as_none() -> None:
    text = "candidate:1 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 0.0.0.0 rport 9"
    assert parse_candidate(text).related is None
    assert write_candidate(parse_candidate(text)) == text
    six = text.replace("192.0.2.3", "2001:db8::3").replace("0.0.0.0", "::")
    assert write_candidate(parse_candidate(six)) == six


def test_a_zone_never_leaves_this_machine() -> None:
    candidate = Candidate(
        foundation="1",
        component=1,
        transport=Transport.UDP,
        priority=1,
        address=Address("fe80::1%eth0", 5),
        type=CandidateType.SERVER_REFLEXIVE,
        related=Address("fe80::2%eth0", 6),
    )
    assert "%" not in write_candidate(candidate)


@given(candidates())
def test_every_candidate_is_read_as_it_was_written(candidate: Candidate) -> None:
    assert parse_candidate(write_candidate(candidate)) == candidate


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("UDP", "SCTP", UnusableCandidate),
        ("UDP", "(UDP)", MalformedMessage),
        ("typ host", "typ future", UnusableCandidate),
        ("typ host", "typ", MalformedMessage),
        ("typ host", "host", MalformedMessage),
        ("203.0.113.141", "host.example.org", UnusableCandidate),
        ("203.0.113.141", "a.b.local", UnusableCandidate),
        ("203.0.113.141", "203.0.113.1410", MalformedMessage),
        ("203.0.113.141", "fe80::1%eth0", MalformedMessage),
        ("203.0.113.141", "a@b", MalformedMessage),
        ("8998", "65536", MalformedMessage),
        ("8998", "-1", MalformedMessage),
        ("8998", "\u0661", MalformedMessage),
        ("2130706431", "0", MalformedMessage),
        ("2130706431", "2147483648", MalformedMessage),
        ("2130706431", "21307064310", MalformedMessage),
        (":1 1 ", ":1 0 ", MalformedMessage),
        (":1 1 ", ":1 257 ", MalformedMessage),
        (":1 1 ", ":" + "1" * 33 + " 1 ", MalformedMessage),
        (":1 1 ", ":_ 1 ", MalformedMessage),
        ("UDP", "TCP", UnusableCandidate),
        ("typ host", "typ host generation x", MalformedMessage),
        ("typ host", "typ host ufrag a ufrag b", MalformedMessage),
        ("typ host", "typ host" + " a b" * 33, MalformedMessage),
        ("typ host", "typ host " + "a" * LONGEST_ATTRIBUTE, MalformedMessage),
    ],
)
def test_what_cannot_be_used_is_told_from_what_breaks_the_grammar(
    old: str, new: str, kind: type[MalformedMessage]
) -> None:
    text = RFC_CANDIDATES[0].replace(old, new)
    assert text != RFC_CANDIDATES[0]
    with pytest.raises(MalformedMessage) as caught:
        parse_candidate(text)
    assert caught.type is kind


def test_candidates_that_cannot_be_used_are_passed_over_and_listed() -> None:
    text = RFC_8839_OFFER + "a=candidate:9 1 SCTP 1 192.0.2.1 1 typ host\r\na=candidate:broken\r\n"
    description = parse_description(text)
    assert description.media == parse_description(RFC_8839_OFFER).media
    assert [each.reason for each in description.ignored] == [
        "a candidate over SCTP",
        "a candidate has seven fields, and `typ` before the last of them",
    ]


def test_what_a_media_description_says_goes_before_what_the_session_says() -> None:
    own = "a=ice-ufrag:4444\r\na=ice-pwd:0123456789012345678901\r\na=ice-options:trickle\r\n"
    description = parse_description(RFC_8839_OFFER + "m=video 9 RTP/AVP 99\r\n" + own)
    first, second = (media.parameters for media in description.media)
    assert first is not None
    assert second is not None
    assert (first.username_fragment, first.trickle) == ("8hhY", False)
    assert (second.username_fragment, second.trickle, second.ice2) == ("4444", True, True)


def test_lite_mismatch_bundles_and_the_selected_pairs_are_read() -> None:
    text = (
        "a=ice-lite\r\na=group:BUNDLE a v\r\na=group:LS a v\r\na=end-of-candidates\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:a\r\na=ice-ufrag:8hhY\r\n"
        "a=ice-pwd:asd88fgpdd777uzjYhagZg\r\n"
        "a=remote-candidates:1 192.0.2.3 45664 2 2001:db8::3 45665\r\n"
        "m=video 9 UDP/TLS/RTP/SAVPF 99\r\na=mid:v\r\na=ice-mismatch\r\n"
    )
    description = parse_description(text)
    assert description.lite
    assert description.bundles == (("a", "v"),)
    audio, video = description.media
    assert audio.end_of_candidates
    assert audio.parameters is not None
    assert audio.parameters.lite
    assert audio.remote_candidates == (
        RemoteCandidate(1, Address("192.0.2.3", 45664)),
        RemoteCandidate(2, Address("2001:db8::3", 45665)),
    )
    assert (audio.mismatch, video.mismatch) == (False, True)
    assert video.parameters is None


def test_a_default_that_is_no_candidate_is_a_mismatch() -> None:
    changed = RFC_8839_OFFER.replace("m=audio 45664", "m=audio 45665")
    assert parse_description(changed).media[0].is_mismatched
    # Zero and port 9 are what Trickle ICE has there (RFC 8840 §4.1.1).
    trickling = RFC_8839_OFFER.replace("m=audio 45664", "m=audio 9")
    assert not parse_description(trickling).media[0].is_mismatched


@given(st.lists(st.lists(candidates(), max_size=3), min_size=1, max_size=3), parameters)
def test_every_fragment_is_read_as_it_was_written(
    of_media: list[list[Candidate]], ours: Parameters
) -> None:
    media = tuple(
        MediaDescription(
            mid=str(number),
            parameters=ours,
            candidates=tuple(each),
            end_of_candidates=number % 2 == 0,
        )
        for number, each in enumerate(of_media)
    )
    description = Description(media=media, bundles=(tuple(str(n) for n in range(len(media))),))
    read = parse_description(write_fragment(description))
    assert read.media == media
    assert read.bundles == description.bundles
    assert read.lite == ours.lite
    assert read.ignored == ()


def test_our_lines_for_a_description_of_somebody_else() -> None:
    ours = Parameters(username_fragment="8hhY", password="asd88fgpdd777uzjYhagZg", pacing=0.02)
    media = MediaDescription(
        parameters=ours,
        candidates=(parse_candidate(RFC_CANDIDATES[0]),),
        remote_candidates=(RemoteCandidate(1, Address("192.0.2.3", 45664)),),
        mismatch=True,
        end_of_candidates=True,
    )
    assert write_session(ours) == ["a=ice-options:trickle ice2", "a=ice-pacing:20"]
    assert write_media(media) == [
        "a=ice-mismatch",
        "a=ice-ufrag:8hhY",
        "a=ice-pwd:asd88fgpdd777uzjYhagZg",
        f"a={RFC_CANDIDATES[0]}",
        "a=remote-candidates:1 192.0.2.3 45664",
        "a=end-of-candidates",
    ]
    with pytest.raises(MisuseError, match="mid"):
        write_fragment(Description(media=(media,)))


@pytest.mark.parametrize(
    "line",
    [
        *("a=ice-ufrag:8h", "a=ice-ufrag:" + "a" * 257, "a=ice-ufrag:8h_Y", "a=ice-pwd:short"),
        *("a=ice-ufrag:8hhZ", "a=ice-pacing:0", "a=ice-pacing:60001", "a=ice-pacing:\u0665"),
        *("a=ice-options:b\u00e9", "a=mid:a b", "a=mid:", "no line", "a=ice-options:" + "x " * 65),
        *("a=remote-candidates:", "a=remote-candidates:1 192.0.2.1", "a=remote-candidates:1 x 1"),
        *("a=remote-candidates:0 192.0.2.1 1", "a=remote-candidates:1 192.0.2.1 99999"),
    ],
)
def test_a_line_that_breaks_the_grammar_is_malformed(line: str) -> None:
    media = "m=audio 9 RTP/AVP 0\r\n"
    before = media + "a=ice-ufrag:8hhY\r\n" if line == "a=ice-ufrag:8hhZ" else media
    text = f"{before}{line}\r\n"
    if line.startswith("a=ice-pacing"):
        text = f"{line}\r\n{media}"
    if "ufrag" in line:
        text += "a=ice-pwd:asd88fgpdd777uzjYhagZg\r\n"
    elif "pwd" in line:
        text += "a=ice-ufrag:8hhY\r\n"
    with pytest.raises(MalformedMessage):
        parse_description(text)


def test_a_description_has_bounds() -> None:
    with pytest.raises(MalformedMessage, match="characters"):
        parse_description("a=x\r\n" * (LONGEST_DESCRIPTION // 5 + 1))
    with pytest.raises(MalformedMessage, match="media descriptions"):
        parse_description("m=audio 9 RTP/AVP 0\n" * (MOST_MEDIA + 1))
    flood = "m=audio 9 RTP/AVP 0\n" + f"a={RFC_CANDIDATES[0]}\n" * (MOST_CANDIDATES + 500)
    description = parse_description(flood)
    assert len(description.media[0].candidates) == MOST_CANDIDATES
    assert len(description.ignored) == 32


def test_mutated_descriptions_raise_malformed_message_alone(sized: Sized) -> None:
    chance = random.Random(11)
    seeds = [RFC_8839_OFFER, RFC_8840_FRAGMENT, f"m=audio 9 X\na={CHROMIUM}\n{PJSIP}"]
    seeds += [f"a={each}" for each in RFC_CANDIDATES]
    letters = string.printable + "\u0661\u2028\x00\xe9"
    for _ in range(sized(quick=5_000, full=1_000_000)):
        text = list(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(text))
            match chance.randrange(4):
                case 0:
                    text[at] = chance.choice(letters)
                case 1:
                    del text[at : at + chance.randrange(1, 12)]
                    text = text or ["a"]
                case 2:
                    text[at:at] = text[: chance.randrange(40)]
                case _:
                    text.insert(at, chance.choice(letters))
        for parse in (parse_description, parse_candidate):
            try:
                parse("".join(text))
            except MalformedMessage:
                continue
