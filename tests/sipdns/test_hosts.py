from pathlib import Path

import pytest

import sipdns.system
from natkit.address import Address
from natkit.errors import DnsFailure
from natkit.machine import Failure, Transport
from sipdns.hosts import Hosts
from sipdns.locator import Locator
from sipdns.records import AddressRecord, Answer, Question, RecordType, Status

FILE = """
127.0.0.1 localhost
# 192.0.2.1 old.example
192.0.2.2\tServer.Example. server   # the one in the cellar
2001:DB8::2 server.example
192.0.2.2 server.example
not-an-address broken.example
192.0.2.9
fe80::1%eth0 zoned.example
"""
HOSTS = Hosts.parse(FILE)


def addresses(name: str, kind: RecordType) -> list[str] | None:
    answer = HOSTS.answer(Question(name, kind))
    if answer is None:
        return None
    return [one.address for one in answer.records if isinstance(one, AddressRecord)]


def test_names_of_the_file_have_its_addresses_by_family() -> None:
    assert addresses("server.example", RecordType.A) == ["192.0.2.2"]
    assert addresses("server.example", RecordType.AAAA) == ["2001:db8::2"]
    assert addresses("server", RecordType.A) == ["192.0.2.2"]
    assert addresses("server", RecordType.AAAA) == []


def test_the_file_settles_addresses_and_the_dns_all_else() -> None:
    assert addresses("server.example", RecordType.SRV) is None
    assert addresses("old.example", RecordType.A) is None
    assert addresses("broken.example", RecordType.A) is None


@pytest.mark.parametrize("name", ["localhost", "a.localhost"])
def test_localhost_never_reaches_the_dns(name: str) -> None:
    for hosts in (HOSTS, Hosts()):
        assert hosts.answer(Question(name, RecordType.A)) == Answer(
            Status.RECORDS, (AddressRecord("127.0.0.1", 10),)
        )
        assert hosts.answer(Question(name, RecordType.AAAA)) == Answer(
            Status.RECORDS, (AddressRecord("::1", 10),)
        )
        denied = hosts.answer(Question(f"_sip._udp.{name}", RecordType.SRV))
        assert denied == Answer(Status.NO_DATA)


async def test_localhost_is_found_without_a_nameserver() -> None:
    found = await Locator(nameservers=[]).locate("turn:localhost:3478?transport=udp")
    assert {one.address for one in found} == {Address("127.0.0.1", 3478), Address("::1", 3478)}


class Silent:
    """A DNS that knows nothing."""

    async def ask(self, question: Question) -> Failure:
        return Failure(f"nobody knows {question}")


async def test_the_file_counts_where_the_systems_nameservers_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hosts"
    file.write_text(FILE)
    monkeypatch.setattr(sipdns.system, "HOSTS_FILE", file)
    system = Locator(transports=[Transport.UDP])
    found = await system.locate("sip:server.example:5060")
    assert {one.address.host for one in found} == {"192.0.2.2", "2001:db8::2"}
    with pytest.raises(DnsFailure):
        await Locator(dns=Silent()).locate("sip:server.example:5060")
    given = Locator(dns=Silent(), hosts=HOSTS)
    assert len(await given.locate("sip:server.example:5060")) == 2


def test_a_host_without_the_file_knows_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sipdns.system, "HOSTS_FILE", tmp_path / "missing")
    assert sipdns.system.system_hosts() == Hosts()
