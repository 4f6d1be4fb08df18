"""A DNS as data: zone text in, answers out, by way of real DNS messages; no sockets."""

import random
from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from natkit.address import Family
from natkit.machine import Failure, Transport
from sipdns.decisions import Step, Verdict
from sipdns.messages import make_query, read_answer
from sipdns.records import Answer, Question
from sipdns.resolution import AskDns, Limits, Resolution, Resolved
from sipdns.search import read_uri
from sipdns.services import DEFAULT_TRANSPORTS
from sipdns.targets import Outcome

TTL = 60
SOA = dns.rdata.from_text("IN", "SOA", "ns. hostmaster. 1 3600 600 86400 60")

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

FULL_ADDRESSES = "example.org A 192.0.2.9\nexample.org AAAA 2001:db8::9"


class World:
    """All records of the Internet, a line each: ``name TYPE data``, names absolute without dot.

    Names under ``broken`` fail, as with SERVFAIL; those for which ``silent`` holds never answer.
    """

    def __init__(
        self,
        text: str = "",
        *,
        broken: Sequence[str] = (),
        silent: Callable[[Question], bool] = lambda _: False,
    ) -> None:
        self.sets: dict[tuple[dns.name.Name, str], list[dns.rdata.Rdata]] = {}
        self.broken = broken
        self.silent = silent
        for line in text.strip().splitlines():
            name, kind, data = line.split(None, 2)
            rdata = dns.rdata.from_text("IN", kind, data, origin=dns.name.root, relativize=False)
            self.sets.setdefault((dns.name.from_text(name), kind), []).append(rdata)

    def response(self, query: dns.message.QueryMessage) -> dns.message.Message:
        """What a recursive resolver sends."""
        response = dns.message.make_response(query, recursion_available=True)
        name = query.question[0].name
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        for _ in range(20):
            if (name, kind) in self.sets or (name, "CNAME") not in self.sets:
                break
            self._put(response.answer, name, "CNAME")
            target = self.sets[name, "CNAME"][0].to_text()
            name = dns.name.from_text(target)
        if (name, kind) in self.sets:
            self._put(response.answer, name, kind)
        else:
            soa = dns.rrset.from_rdata(dns.name.root, TTL, SOA)
            response.authority.append(soa)
            if not any(known.is_subdomain(name) for known, _ in self.sets):
                response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    def _put(self, section: list[dns.rrset.RRset], name: dns.name.Name, kind: str) -> None:
        section.append(dns.rrset.from_rdata_list(name, TTL, self.sets[name, kind]))

    def answer(self, question: Question) -> Answer | Failure:
        """The same as records."""
        if question.name in self.broken:
            return Failure("SERVFAIL")
        query = dns.message.from_wire(make_query(question, 1))
        assert isinstance(query, dns.message.QueryMessage)
        answer = read_answer(self.response(query).to_wire(max_size=65535), question)
        return answer if isinstance(answer, Answer) else Failure(str(answer))


def look_up(
    uri: str,
    world: World | str,
    *,
    transports: Sequence[Transport] = DEFAULT_TRANSPORTS,
    seed: int = 1,
    usable: Sequence[Family] = tuple(Family),
    prefer: Family | None = None,
    limits: Limits | None = None,
) -> Outcome:
    """Run a lookup to its end, all questions of a round answered at once, at 50 ms a round."""
    return look_up_at(
        uri,
        world,
        transports=transports,
        seed=seed,
        usable=usable,
        prefer=prefer,
        limits=limits,
    )[0]


def look_up_at(
    uri: str,
    world: World | str,
    *,
    transports: Sequence[Transport] = DEFAULT_TRANSPORTS,
    seed: int = 1,
    usable: Sequence[Family] = tuple(Family),
    prefer: Family | None = None,
    limits: Limits | None = None,
) -> tuple[Outcome, float]:
    """As :func:`look_up`, and the virtual seconds that it took."""
    world = World(world) if isinstance(world, str) else world
    now = 0.0
    resolution = Resolution(
        read_uri(uri, transports),
        draw=random.Random(seed).randrange,
        now=now,
        usable=usable,
        prefer=prefer,
        limits=limits,
    )
    for _ in range(100):
        asked = []
        while (event := resolution.next_event()) is not None:
            if isinstance(event, Resolved):
                assert resolution.next_event() is None
                assert resolution.next_deadline() is None
                return event.outcome, now
            asked.append(event)
        answerable = [one for one in asked if not world.silent(one.question)]
        if answerable:
            now += 0.05
            for one in answerable:
                resolution.answer(one.request_id, world.answer(one.question), now)
        else:
            deadline = resolution.next_deadline()
            assert deadline is not None
            now = max(now, deadline)
            resolution.handle_timer(now)
    raise AssertionError("the lookup does not end")


def asked(outcome: Outcome, round_: int) -> set[str]:
    """The questions of one round, in words."""
    return {str(one.question) for one in outcome.asked if one.round == round_}


def plan(outcome: Outcome) -> list[str]:
    """The targets in words: ``tls 192.0.2.1:5061``."""
    return [f"{one.transport} {one.address}" for one in outcome.targets]


def reasons(outcome: Outcome, step: Step, verdict: Verdict) -> list[str]:
    return [
        f"{one.subject}: {one.reason}"
        for one in outcome.decisions
        if one.step is step and one.verdict is verdict
    ]


__all__ = [
    "FULL",
    "FULL_ADDRESSES",
    "AskDns",
    "World",
    "asked",
    "look_up",
    "look_up_at",
    "plan",
    "reasons",
]
