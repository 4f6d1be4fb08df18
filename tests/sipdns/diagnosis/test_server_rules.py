"""The rules about nameservers and their answers, against servers that behave so."""

import time
from collections.abc import Mapping

import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from tests.sipdns.diagnosis.checking import GOOD, Checked, check, edited
from tests.sipdns.diagnosis.nameserver import (
    RESOLVER,
    Handler,
    Network,
    authority,
    resolver,
    running,
)

CHILD = (
    GOOD
    + """\
@ 3600 IN NS ns1
@ 3600 IN NS ns2
ns1 3600 IN A 127.0.0.3
ns2 3600 IN A 127.0.0.4
"""
)
PARENT = """\
@ 3600 IN NS ns.example.
ns.example. 3600 IN A 127.0.0.2
corp 3600 IN NS ns1.corp
corp 3600 IN NS ns2.corp
ns1.corp 3600 IN A 127.0.0.3
ns2.corp 3600 IN A 127.0.0.4
"""
ZONES = {"corp.example": CHILD, "example": PARENT}


def hierarchy(child: str = CHILD, parent: str = PARENT, **changed: Handler) -> dict[str, Handler]:
    """A resolver, the parent's server, and two of the zone; ``changed`` replaces ns1 or ns2."""
    whole = {"corp.example": child, "example": parent}
    return {
        RESOLVER: resolver(whole),
        "127.0.0.2": authority({"example": parent}),
        "127.0.0.3": changed.get("ns1") or authority({"corp.example": child}),
        "127.0.0.4": changed.get("ns2") or authority({"corp.example": child}),
    }


def check_corp(capsys: pytest.CaptureFixture[str], network: Network, *arguments: str) -> Checked:
    return check(
        capsys,
        [
            "corp.example",
            "--resolver",
            network.resolver,
            "--authority-port",
            str(network.port),
            *arguments,
        ],
    )


def checked_with(
    capsys: pytest.CaptureFixture[str], handlers: Mapping[str, Handler], *arguments: str
) -> Checked:
    with running(handlers) as network:
        return check_corp(capsys, network, *arguments)


def refusing(query: dns.message.QueryMessage, over_tcp: bool) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.REFUSED)
    return response


def silent(query: dns.message.QueryMessage, over_tcp: bool) -> None:
    return None


def test_a_domain_that_is_served_well_has_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    checked = checked_with(capsys, hierarchy())
    assert checked.findings == ()
    statuses = {rule: status for rule, (status, _) in checked.checks.items()}
    assert (checked.exit_status, checked.status) == (0, "passed")
    for rule in (
        "lame-delegation",
        "nameserver-silent",
        "nameserver-no-address",
        "single-nameserver",
        "delegation-mismatch",
        "nameservers-disagree",
        "answer-needs-tcp",
        "tcp-refused",
        "type-unanswered",
        "dnssec-bogus",
        "ttl-short",
    ):
        assert statuses[rule] == "passed", rule
    assert "error" not in statuses.values()


def test_a_server_that_refuses_the_zone_is_lame(capsys: pytest.CaptureFixture[str]) -> None:
    found = checked_with(capsys, hierarchy(ns2=refusing)).of("lame-delegation")
    assert (found.subject, found.severity) == ("ns2.corp.example", "fault")
    assert "127.0.0.4" in found.evidence
    assert "REFUSED" in found.evidence
    assert found.remove == ("corp.example. IN NS ns2.corp.example.",)


def test_a_server_that_is_silent_is_told_from_all_being_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checked = checked_with(capsys, hierarchy(ns2=silent))
    assert checked.of("nameserver-silent").evidence.endswith("no answer within 3 s")
    assert checked.exit_status == 0
    checked = checked_with(capsys, hierarchy(ns1=silent, ns2=silent))
    assert "nameserver-silent" not in checked.ids
    status, reason = checked.checks["nameserver-silent"]
    assert status == "error"
    assert "no nameserver of corp.example answers us" in reason
    assert checked.checks["lame-delegation"][0] in ("passed", "error")
    # A caller needs none of this: what could not be tested does not make the domain faulty.
    assert (checked.exit_status, checked.status) == (0, "passed")


def test_a_nameserver_without_address_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    child = CHILD + "@ 3600 IN NS ns3\n"
    found = checked_with(capsys, hierarchy(child)).of("nameserver-no-address")
    assert (found.subject, found.severity) == ("ns3.corp.example", "fault")


def test_a_single_nameserver_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    child = edited(CHILD, ("@ 3600 IN NS ns2\n", ""))
    parent = edited(PARENT, ("corp 3600 IN NS ns2.corp\n", ""))
    found = checked_with(capsys, hierarchy(child, parent)).of("single-nameserver")
    assert "ns1.corp.example" in found.evidence


def test_a_parent_that_names_other_nameservers_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    parent = edited(PARENT, ("corp 3600 IN NS ns2.corp\n", "corp 3600 IN NS old.corp\n"))
    found = checked_with(capsys, hierarchy(parent=parent)).of("delegation-mismatch")
    assert found.publish == ("corp.example. IN NS ns2.corp.example.",)
    assert found.remove == ("corp.example. IN NS old.corp.example.",)


def test_nameservers_with_two_versions_of_the_zone_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    newer = f"@ 60 IN SOA ns1 hostmaster 2 3600 600 86400 60\n{CHILD}"
    found = checked_with(capsys, hierarchy(ns2=authority({"corp.example": newer}))).of(
        "nameservers-disagree"
    )
    assert "serial 1" in found.evidence
    assert "serial 2" in found.evidence


def test_a_server_that_refuses_tcp_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with running(hierarchy(), without_tcp=["127.0.0.4"]) as network:
        found = check_corp(capsys, network).of("tcp-refused")
    assert found.subject == "ns2.corp.example"
    assert "connection refused" in found.evidence


def test_a_large_answer_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    child = CHILD + "".join(
        f"_sip._udp 3600 IN SRV 30 10 {port} sip1.a-name-that-makes-the-answer-longer\n"
        for port in range(5062, 5090)
    )
    child += "sip1.a-name-that-makes-the-answer-longer 3600 IN A 192.0.2.1\n"
    child += "sip1.a-name-that-makes-the-answer-longer 3600 IN AAAA 2001:db8::1\n"
    found = checked_with(capsys, hierarchy(child)).of("answer-needs-tcp")
    assert found.subject == "_sip._udp.corp.example SRV"
    assert found.evidence.startswith("30 records in ")


def test_a_type_that_is_never_answered_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = hierarchy() | {RESOLVER: resolver(ZONES, ["corp.example NAPTR"])}
    checked = checked_with(capsys, handlers)
    assert "corp.example NAPTR" in checked.of("type-unanswered").evidence
    assert checked.checks["naptr-flag"][0] == "error"


def test_an_answer_that_the_resolver_withholds_is_bogus(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handlers = hierarchy() | {RESOLVER: resolver(ZONES, ["_sips._tcp.corp.example SRV"])}
    found = checked_with(capsys, handlers).of("dnssec-bogus")
    assert found.subject == "_sips._tcp.corp.example SRV"
    assert "when checking is disabled" in found.evidence


def test_a_failure_that_checking_does_not_explain_is_not_called_bogus(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = resolver(ZONES)

    def failing(query: dns.message.QueryMessage, over_tcp: bool) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        if query.question[0].name == dns.name.from_text("_sips._tcp.corp.example"):
            response.set_rcode(dns.rcode.SERVFAIL)
            return response
        answer = whole(query, over_tcp)
        assert answer is not None
        return answer

    checked = checked_with(capsys, hierarchy() | {RESOLVER: failing})
    assert checked.checks["dnssec-bogus"][0] == "error"


def signature(seconds_left: float) -> str:
    """An RRSIG of the SOA that ends then; nobody verifies it here."""
    ends = time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + seconds_left))
    return f"@ 3600 IN RRSIG SOA 13 2 3600 {ends} 20200101000000 1 corp.example. AAAA\n"


@pytest.mark.parametrize(
    ("left", "finds"),
    [(-86400, "dnssec-expired"), (86400, "dnssec-expires-soon"), (30 * 86400, None)],
)
def test_the_end_of_signatures_is_told(
    capsys: pytest.CaptureFixture[str], left: int, finds: str | None
) -> None:
    checked = checked_with(capsys, hierarchy(CHILD + signature(left)))
    assert checked.ids == ({finds} if finds else set())
    if finds is None:
        assert checked.checks["dnssec-expires-soon"][0] == "passed"
    unsigned = checked_with(capsys, hierarchy())
    assert unsigned.checks["dnssec-expires-soon"] == ("not_tested", "the zone is not signed")


def test_resolvers_that_disagree_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    other = edited(CHILD, ("sip1 3600 IN A 192.0.2.1", "sip1 3600 IN A 10.0.0.1"))
    handlers = hierarchy() | {"127.0.0.5": resolver({"corp.example": other, "example": PARENT})}
    with running(handlers) as network:
        compare = f"{network.resolver},127.0.0.5:{network.port}"
        found = check_corp(capsys, network, "--compare", compare).of("resolvers-disagree")
        assert found.subject == "sip1.corp.example A"
        assert "192.0.2.1" in found.evidence
        assert "10.0.0.1" in found.evidence
    with running(hierarchy() | {"127.0.0.5": resolver(ZONES)}) as network:
        compare = f"{network.resolver},127.0.0.5:{network.port}"
        checked = check_corp(capsys, network, "--compare", compare)
    assert checked.checks["resolvers-disagree"][0] == "passed"


def test_the_ttl_is_that_of_the_zone_and_not_what_a_cache_has_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = resolver({"corp.example": CHILD.replace(" 3600 ", " 7 "), "example": PARENT})
    checked = checked_with(capsys, hierarchy() | {RESOLVER: whole})
    assert checked.ids == set()
    assert checked.checks["ttl-short"][0] == "passed"


def test_a_line_to_publish_has_the_ttl_of_the_zone(capsys: pytest.CaptureFixture[str]) -> None:
    crossed = edited(
        CHILD, ("_sips._tcp 3600 IN SRV 10 10 5061", "_sips._tcp 3600 IN SRV 10 10 5060")
    )
    cached = resolver({"corp.example": crossed.replace(" 3600 ", " 7 "), "example": PARENT})
    found = checked_with(capsys, hierarchy(crossed) | {RESOLVER: cached}).of("srv-port-crossed")
    assert found.publish == ("_sips._tcp.corp.example. 3600 IN SRV 10 10 5061 sip1.corp.example.",)


def test_queries_and_their_answers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with running(hierarchy()) as network:
        queries = check_corp(capsys, network).document["queries"]
    assert isinstance(queries, list)
    first = next(one for one in queries if one["type"] == "NAPTR")
    assert first["seconds"] > 0
    del first["seconds"]
    assert first == {
        "round": 1,
        "name": "corp.example",
        "type": "NAPTR",
        "result": "records",
        "records": 3,
        "aliases": [],
        "ttl": 3600,
        "server": network.resolver,
        "carrier": "udp",
        "rcode": "NOERROR",
        "size": first["size"],
        "truncated": False,
        "security": first["security"],
        "failure": None,
    }
    assert first["size"] > 100
    assert {one["round"] for one in queries} == {0, 1, 2}
