"""The probe against Kamailio, over everything that it speaks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from natkit.machine import Transport
from sipdns.probe import ProbeSettings, probe
from sipdns.probe_results import (
    OptionsAnswer,
    ProbeResult,
    ProbeTarget,
    Protocol,
    Standing,
)
from tests.certificates import Authority, Issued
from tests.peering.kamailio import Kamailio
from tests.peering.plugin import StartKamailio

pytestmark = pytest.mark.peer("kamailio")

TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS)
SECURE = (Transport.TLS, Transport.WSS)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def probed(
    kamailio: Kamailio, authority: Authority, transports: tuple[Transport, ...] = TRANSPORTS
) -> dict[Transport, ProbeResult]:
    targets = [
        ProbeTarget(
            Protocol.SIP,
            transport,
            kamailio.secure if transport.is_secure else kamailio.plain,
            "sip1.example.org",
            "example.org",
        )
        for transport in transports
    ]
    results = await probe(targets, ProbeSettings(limit=20.0, trust=authority.file))
    return {result.target.transport: result for result in results}


async def test_kamailio_is_well_over_every_transport(
    start_kamailio: StartKamailio, authority: Authority
) -> None:
    kamailio = start_kamailio(authority.issue("example.org", uris=["sip:example.org"]))
    results = await probed(kamailio, authority)
    assert set(results) == set(TRANSPORTS)
    for transport, result in results.items():
        assert result.standing is Standing.OK, result
        answer = result.answer
        assert isinstance(answer, OptionsAnswer)
        assert (answer.status, answer.reason) == (200, "Alive")
        assert "kamailio" in (answer.server or "")
        assert answer.allow == ("INVITE", "ACK", "CANCEL", "OPTIONS", "BYE")
        assert answer.supported == ("path",)
        assert answer.received == "127.0.0.1"
        assert answer.rport is not None
        assert (result.facts is not None) == (transport in SECURE)
        tested = {name for name, check in result.checks if check.standing is Standing.OK}
        assert ("TLS" in tested) == (transport in SECURE)
        assert ("WebSocket" in tested) == (transport in {Transport.WS, Transport.WSS})


@pytest.mark.parametrize(
    ("issue", "failing", "words"),
    [
        (lambda root: root.issue("sip1.example.org"), "certificate name", "not for example.org"),
        (lambda root: root.issue("*.org"), "certificate name", "no wildcards"),
        (
            lambda root: root.issue("example.org", days=(-30, -2)),
            "certificate dates",
            "expired on",
        ),
        (
            lambda root: root.issue("example.org", days=(2, 30)),
            "certificate dates",
            "not valid before",
        ),
        (
            lambda root: root.issue("example.org", self_signed=True),
            "certificate chain",
            "not trusted: self-signed certificate",
        ),
    ],
    ids=["wrong-name", "wildcard", "expired", "early", "self-signed"],
)
@pytest.mark.parametrize("transport", SECURE)
async def test_what_is_wrong_with_a_certificate_is_told_and_kamailio_still_asked(
    start_kamailio: StartKamailio,
    authority: Authority,
    transport: Transport,
    issue: Callable[[Authority], Issued],
    failing: str,
    words: str,
) -> None:
    result = (await probed(start_kamailio(issue(authority)), authority, (transport,)))[transport]
    failed = {
        name: check.evidence for name, check in result.checks if check.standing is Standing.FAILED
    }
    assert set(failed) == {failing}
    assert words in failed[failing]
    assert isinstance(result.answer, OptionsAnswer)


async def test_a_server_that_is_unavailable_has_failed(
    start_kamailio: StartKamailio, authority: Authority
) -> None:
    kamailio = start_kamailio(authority.issue("example.org"), status=503, reason="Overloaded")
    for result in (await probed(kamailio, authority)).values():
        assert result.standing is Standing.FAILED
        assert result.exchange.evidence.startswith("503 Overloaded after ")


async def test_a_server_that_refuses_the_method_is_there_all_the_same(
    start_kamailio: StartKamailio, authority: Authority
) -> None:
    kamailio = start_kamailio(authority.issue("example.org"), status=405, reason="No")
    for result in (await probed(kamailio, authority)).values():
        assert result.standing is Standing.OK
        assert result.exchange.evidence.startswith("405 No after ")
