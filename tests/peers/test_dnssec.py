"""BIND 9 serving a signed hierarchy: our validation beside unbound's, and resolvers over TLS."""

import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest

from natkit.address import Address
from sipdns.nameservers import Nameservers
from sipdns.query import QueryLimits
from sipdns.records import Answer, Carrier, Question, RecordType, Security, Status, Unanswered
from sipdns.servers import HttpsServer, TlsServer
from sipdns.validating import ValidatingNameservers
from tests.certificates import Authority, Issued
from tests.peering.plugin import StartNamed, StartUnbound
from tests.peering.ports import free_port
from tests.sipdns.signed_world import DAY, PLAIN, SignedWorld, Signing

pytestmark = [pytest.mark.peer("bind9"), pytest.mark.peer("unbound")]

ZONE = """\
@ 60 IN A 192.0.2.1
@ 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp
_sip._udp 60 IN SRV 0 0 5060 sip
sip 60 IN A 192.0.2.2
*.wild 60 IN A 192.0.2.3
near.wild 60 IN TXT "x"
alias 60 IN CNAME sip
away 60 IN CNAME sip.nsec3.test.
deep.empty 60 IN A 192.0.2.4
"""
KINDS = ("nsec", "nsec3", "optout", "plain", "expired", "wrongds", "unsigned")
QUESTIONS = [
    ("{}", "NAPTR"),
    ("_sip._udp.{}", "SRV"),
    ("alias.{}", "A"),
    ("away.{}", "A"),
    ("any.wild.{}", "A"),
    ("any.wild.{}", "AAAA"),
    ("{}", "AAAA"),
    ("empty.{}", "A"),
    ("nothing.{}", "A"),
    ("a.b.nothing.{}", "SRV"),
]


def hierarchy(now: float) -> SignedWorld:
    current = Signing(inception=now - DAY, expiration=now + 30 * DAY)
    zones = {f"{kind}.test.": ZONE for kind in KINDS}
    zones["soon.test."] = "@ 3600 IN A 192.0.2.1\n"
    return SignedWorld(
        {".": "", "test.": "", **zones},
        default=current,
        nsec3_test=replace(current, nsec3=True),
        optout_test=replace(current, nsec3=True, opt_out=True),
        plain_test=PLAIN,
        expired_test=Signing(inception=now - 3 * DAY, expiration=now - DAY),
        wrongds_test=replace(current, ds="wrong"),
        unsigned_test=replace(current, signed=False),
        soon_test=replace(current, expiration=now + 600),
    )


@pytest.fixture
def signed() -> SignedWorld:
    return hierarchy(time.time())


@pytest.fixture
def bind(start_named: StartNamed, signed: SignedWorld) -> Address:
    return start_named({name.to_text(): zone.text for name, zone in signed.zones.items()})


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificate(authority: Authority) -> Issued:
    return authority.issue("resolver.example", "127.0.0.1")


@pytest.fixture
def trust(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def undated(answer: Answer) -> set[object]:
    """What the records say, whatever their age in a cache."""
    return {replace(record, ttl=0) for record in answer.records}


async def test_our_judgement_is_that_of_unbound(
    bind: Address, signed: SignedWorld, start_unbound: StartUnbound, certificate: Issued
) -> None:
    key = next(iter(signed.anchors.values()))[0]
    resolver = start_unbound(bind, f". 60 IN DNSKEY {key}", certificate)
    ours = ValidatingNameservers(Nameservers([bind]), anchors=signed.anchors, clock=time.time)
    theirs = Nameservers([resolver.address])
    seen = set()
    for kind in KINDS:
        for name, type_ in QUESTIONS:
            question = Question(name.format(f"{kind}.test"), RecordType(type_))
            mine, other = await ours.ask(question), await theirs.ask(question)
            assert mine.security is not Security.INDETERMINATE, (question, mine)
            context = (question, mine, other)
            if isinstance(other, Unanswered):
                assert mine.security is Security.BOGUS, context
                assert other.security is Security.BOGUS, context
            else:
                assert isinstance(mine, Answer), context
                # A second may pass between the two: the resolver's answer is then that much older.
                assert (mine.status, undated(mine)) == (other.status, undated(other)), context
                assert mine.aliases == other.aliases
                is_secure = mine.security is Security.SECURE
                assert is_secure == (other.security is Security.SECURE), context
            seen.add(mine.security)
    assert seen == {Security.SECURE, Security.INSECURE, Security.BOGUS}


async def test_an_answer_ends_with_its_signature(bind: Address, signed: SignedWorld) -> None:
    async with ValidatingNameservers(
        Nameservers([bind]), anchors=signed.anchors, clock=time.time
    ) as asking:
        answer = await asking.ask(Question("soon.test", RecordType.A))
    assert isinstance(answer, Answer), answer
    assert answer.security is Security.SECURE
    assert 0 < answer.ttl <= 600


async def test_the_word_of_a_resolver_behind_tls_counts(
    bind: Address,
    signed: SignedWorld,
    start_unbound: StartUnbound,
    certificate: Issued,
    trust: ssl.SSLContext,
) -> None:
    key = next(iter(signed.anchors.values()))[0]
    resolver = start_unbound(bind, f". 60 IN DNSKEY {key}", certificate)
    question = Question("nsec.test", RecordType.NAPTR)
    for name in ("resolver.example", None):
        async with Nameservers([TlsServer(resolver.tls, name)], tls=trust) as asking:
            answer = await asking.ask(question)
            assert isinstance(answer, Answer)
            assert answer.security is Security.SECURE
            assert [one.carrier for one in answer.attempts] == [Carrier.TLS]
            again = await asking.ask(Question("nsec.test", RecordType.A))
            assert isinstance(again, Answer)


async def test_another_name_or_authority_is_refused(
    bind: Address,
    signed: SignedWorld,
    start_unbound: StartUnbound,
    certificate: Issued,
    trust: ssl.SSLContext,
) -> None:
    key = next(iter(signed.anchors.values()))[0]
    resolver = start_unbound(bind, f". 60 IN DNSKEY {key}", certificate)
    question = Question("nsec.test", RecordType.NAPTR)
    async with Nameservers([TlsServer(resolver.tls, "other.example")], tls=trust) as asking:
        answer = await asking.ask(question)
        assert isinstance(answer, Unanswered)
        assert "its certificate is refused" in answer.reason
    async with Nameservers([TlsServer(resolver.tls)]) as asking:
        answer = await asking.ask(question)
        assert isinstance(answer, Unanswered)
        assert "its certificate is refused" in answer.reason
    async with Nameservers([TlsServer(resolver.address)], QueryLimits(whole=2), tls=trust) as one:
        assert isinstance(await one.ask(question), Unanswered)


async def test_bind_answers_over_tls_and_https(
    start_named: StartNamed, signed: SignedWorld, certificate: Issued, trust: ssl.SSLContext
) -> None:
    tls, https = free_port("127.0.0.1"), free_port("127.0.0.1")
    start_named(
        {name.to_text(): zone.text for name, zone in signed.zones.items()},
        f"listen-on port {tls} tls own {{ 127.0.0.1; }};"
        f"listen-on port {https} tls own http own {{ 127.0.0.1; }};",
        f'tls own {{ cert-file "{certificate.chain}"; key-file "{certificate.key}"; }};'
        'http own { endpoints { "/dns-query"; }; };',
    )
    url = f"https://127.0.0.1:{https}/dns-query"
    for server, carrier in (
        (TlsServer(Address("127.0.0.1", tls)), Carrier.TLS),
        (HttpsServer(url), Carrier.HTTPS),
    ):
        async with Nameservers([server], tls=trust) as asking:
            for name, type_ in QUESTIONS:
                answer = await asking.ask(Question(name.format("nsec.test"), RecordType(type_)))
                assert isinstance(answer, Answer), answer
                assert answer.attempt is not None
                assert (answer.attempt.carrier, answer.attempt.server) == (carrier, str(server))
        async with ValidatingNameservers(
            Nameservers([server], tls=trust), anchors=signed.anchors, clock=time.time
        ) as validating:
            found = await validating.ask(Question("_sip._udp.nsec3.test", RecordType.SRV))
            assert found.security is Security.SECURE
            missing = await validating.ask(Question("nothing.nsec3.test", RecordType.SRV))
            assert isinstance(missing, Answer)
            assert (missing.status, missing.security) == (Status.NO_NAME, Security.SECURE)
            assert missing.negative_ttl == 30
    wrong = HttpsServer(f"https://127.0.0.1:{https}/nowhere")
    async with Nameservers([wrong], tls=trust) as asking:
        answer = await asking.ask(Question("nsec.test", RecordType.A))
        assert isinstance(answer, Unanswered)
        assert "HTTP status 404" in answer.reason
