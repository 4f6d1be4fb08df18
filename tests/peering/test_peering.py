"""The peers start, answer, and stop; their clients' totals are read rightly."""

import socket

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.peering import roster, turnutils
from tests.peering.coturn import Coturn
from tests.peering.plugin import StartCoturn, StartNamed
from tests.peering.process import PeerFailed


def test_every_peer_says_how_to_get_it() -> None:
    for peer in roster.peers().values():
        assert peer.remedy
        ways = [bool(peer.packages), peer.distribution is not None, peer.npm is not None]
        assert ways.count(True) == 1
        assert bool(peer.probe) == bool(peer.packages)


@pytest.mark.peer("coturn")
def test_uclient_relays_all_its_messages_through_coturn(coturn: Coturn) -> None:
    totals = turnutils.uclient(
        coturn.address, "-y", "-c", "-n", "2", username=coturn.username, password=coturn.password
    )
    assert totals.is_complete, totals.output


@pytest.mark.peer("coturn")
def test_uclient_with_a_wrong_password_is_not_complete(coturn: Coturn) -> None:
    totals = turnutils.uclient(
        coturn.address, "-y", "-c", username=coturn.username, password="wrong"
    )
    assert not totals.is_complete
    assert "Cannot complete Allocation" in totals.output


@pytest.mark.peer("coturn")
def test_a_client_that_goes_on_for_ever_is_ended(coturn: Coturn) -> None:
    totals = turnutils.uclient(
        coturn.address,
        "-y",
        "-h",
        username=coturn.username,
        password=coturn.password,
        time_limit=1.0,
    )
    assert totals.exit_status is None


@pytest.mark.peer("coturn")
def test_coturn_serves_on_ipv6_as_well(start_coturn: StartCoturn) -> None:
    server = start_coturn(host="::1")
    learnt = turnutils.stunclient(server.address)
    assert learnt.address is not None, learnt.output
    assert learnt.address.host == "::1"


@pytest.mark.peer("coturn")
def test_a_peer_that_does_not_start_shows_what_it_wrote(start_coturn: StartCoturn) -> None:
    with pytest.raises(PeerFailed, match="no-such-flag"):
        start_coturn("--no-such-flag")


@pytest.mark.peer("bind9")
def test_named_answers_for_each_zone(start_named: StartNamed) -> None:
    address = start_named({"one.test": "www IN A 192.0.2.1\n", "two.test": ""})
    query = dns.message.make_query("www.one.test", "A")
    answer = dns.query.udp(query, address.host, 5, address.port)
    assert [record.to_text() for record in answer.answer[0]] == ["192.0.2.1"]
    missing = dns.query.tcp(
        dns.message.make_query("www.two.test", "A"), address.host, 5, address.port
    )
    assert missing.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.peer("bind9")
def test_a_zone_that_named_refuses_is_shown_at_once(start_named: StartNamed) -> None:
    with pytest.raises(PeerFailed, match=r"bad\.test"):
        start_named({"bad.test": "www IN A not-an-address\n"})


@pytest.mark.peer("bind9", "coturn")
def test_nothing_listens_once_a_peer_is_stopped(start_named: StartNamed, coturn: Coturn) -> None:
    address = start_named({"one.test": ""})
    assert address != coturn.address
    coturn.process.stop()
    assert not coturn.process.is_running
    with socket.socket() as probe:
        assert probe.connect_ex(coturn.address) != 0
