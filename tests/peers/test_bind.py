"""sipdns against BIND 9, authoritative on loopback for zones of each kind."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator

import dns.message
import dns.rdatatype
import pytest

from natkit.address import Address
from natkit.cli.entry import run
from natkit.errors import NoService
from natkit.machine import Transport
from sipdns import Locator, Outcome
from sipdns.cli import app
from sipdns.nameservers import Nameservers
from sipdns.query import QueryLimits
from sipdns.records import Answer, Question, RecordType, SrvRecord
from sipdns.srv_order import order
from tests.peering.plugin import StartNamed

pytestmark = pytest.mark.peer("bind9")

DRAWS = 10_000
SEED = 2782
# The 0.1 % point of the chi-square distribution with 3 degrees of freedom.
CRITICAL = 16.27

HOSTS = """
sip1 IN A 192.0.2.1
sip1 IN AAAA 2001:db8::1
sip2 IN A 192.0.2.2
"""
ZONES = {
    "full.example": """
@ IN NAPTR 10 50 "s" "SIPS+D2T" "" _sips._tcp
@ IN NAPTR 20 50 "s" "SIP+D2T" "" _sip._tcp
@ IN NAPTR 30 50 "s" "SIP+D2U" "" _sip._udp
_sips._tcp IN SRV 10 1 5061 sip1
_sips._tcp IN SRV 20 0 5062 sip2
_sip._tcp IN SRV 10 1 5060 sip1
_sip._udp IN SRV 10 1 5060 sip1
@ IN A 192.0.2.9
"""
    + HOSTS,
    "srv.example": "_sip._tcp IN SRV 1 0 5070 sip1\n" + HOSTS,
    "plain.example": "@ IN A 192.0.2.9\n",
    "weights.example": """
_sip._udp IN SRV 1 0 5060 a
_sip._udp IN SRV 1 10 5060 b
_sip._udp IN SRV 1 20 5060 c
_sip._udp IN SRV 1 70 5060 d
a IN A 192.0.2.1
b IN A 192.0.2.2
c IN A 192.0.2.3
d IN A 192.0.2.4
""",
    "closed.example": """
_sip._udp IN SRV 0 0 0 .
_sip._tcp IN SRV 0 0 5060 sip2
@ IN A 192.0.2.9
"""
    + HOSTS,
    "shut.example": "_sip._udp IN SRV 0 0 0 .\n@ IN A 192.0.2.9\n",
    "insecure.example": """
@ IN NAPTR 10 50 "s" "SIP+D2T" "" _sip._tcp
_sip._tcp IN SRV 0 0 5060 sip1
"""
    + HOSTS,
    "alias.example": """
_sip._udp IN SRV 0 0 5060 www
www IN CNAME sip2
"""
    + HOSTS,
    "large.example": "\n".join(
        f"_sip._udp IN SRV {index} 0 5060 a-rather-long-name-of-a-host-{index}\n"
        f"a-rather-long-name-of-a-host-{index} IN A 192.0.2.{index}"
        for index in range(100)
    )
    + "\n",
}


@pytest.fixture
def bind(start_named: StartNamed) -> Address:
    # check-names: BIND refuses an SRV record to an alias, and such zones exist.
    return start_named(ZONES, "check-srv-cname ignore;")


async def explain(uri: str, *nameservers: Address, seed: int = 1) -> Outcome:
    draw = random.Random(seed).randrange
    usable = ()
    return await Locator(nameservers=nameservers, draw=draw, usable=usable).explain(uri)


def plan(outcome: Outcome) -> list[str]:
    return [f"{one.transport} {one.address} {one.host}" for one in outcome.targets]


async def test_naptr_srv_and_addresses_in_two_rounds(bind: Address) -> None:
    outcome = await explain("sip:alice@full.example", bind)
    assert plan(outcome) == [
        "tls [2001:db8::1]:5061 sip1.full.example",
        "tls 192.0.2.1:5061 sip1.full.example",
        "tls 192.0.2.2:5062 sip2.full.example",
    ]
    assert {one.tls_name for one in outcome.targets} == {"full.example"}
    assert outcome.rounds <= 2


async def test_srv_alone(bind: Address) -> None:
    assert plan(await explain("sip:srv.example", bind)) == [
        "tcp [2001:db8::1]:5070 sip1.srv.example",
        "tcp 192.0.2.1:5070 sip1.srv.example",
    ]


async def test_addresses_alone(bind: Address) -> None:
    assert plan(await explain("sip:plain.example", bind)) == ["udp 192.0.2.9:5060 plain.example"]
    assert plan(await explain("sips:plain.example", bind)) == ["tls 192.0.2.9:5061 plain.example"]


async def test_weights_decide_as_often_as_they_say(bind: Address) -> None:
    outcome = await explain("sip:weights.example", bind)
    probability = {one.host: one.probability for one in outcome.targets}
    assert probability["a.weights.example"] == pytest.approx(1 / 101)
    assert probability["d.weights.example"] == pytest.approx(70 / 101)

    question = Question("_sip._udp.weights.example", RecordType.SRV)
    answer = await Nameservers([bind]).ask(question)
    assert isinstance(answer, Answer)
    records = [one for one in answer.records if isinstance(one, SrvRecord)]
    draw = random.Random(SEED).randrange
    observed = Counter(order(records, draw)[0].target for _ in range(DRAWS))
    print(f"seed {SEED}: {dict(observed)}")
    chi_square = sum(
        (observed[host] - DRAWS * expected) ** 2 / (DRAWS * expected)
        for host, expected in probability.items()
    )
    assert chi_square < CRITICAL


async def test_the_target_dot_closes_a_transport(bind: Address) -> None:
    assert plan(await explain("sip:closed.example", bind))[-1] == (
        "tcp 192.0.2.2:5060 sip2.closed.example"
    )
    shut = await explain("sip:shut.example", bind)
    assert isinstance(shut.error, NoService)


async def test_sips_with_and_without_records_for_tls(bind: Address) -> None:
    assert plan(await explain("sips:full.example", bind))[0] == (
        "tls [2001:db8::1]:5061 sip1.full.example"
    )
    insecure = await explain("sips:insecure.example", bind)
    assert insecure.targets == ()
    assert isinstance(insecure.error, NoService)


async def test_a_target_that_is_an_alias(bind: Address) -> None:
    outcome = await explain("sip:alias.example", bind)
    assert plan(outcome) == ["udp 192.0.2.2:5060 www.alias.example"]
    assert any("followed to sip2.alias.example" in one.reason for one in outcome.decisions)


async def test_an_answer_over_1232_bytes_comes_by_tcp(bind: Address) -> None:
    outcome = await explain("sip:large.example;transport=udp", bind)
    assert [one.priority for one in outcome.targets] == list(range(100))


async def test_a_domain_that_does_not_exist(bind: Address) -> None:
    outcome = await explain("sip:gone.full.example", bind)
    assert isinstance(outcome.error, NoService)


class _Forwarder(asyncio.DatagramProtocol):
    """Passes queries on to a nameserver, but drops those for NAPTR."""

    def __init__(self, nameserver: Address) -> None:
        self.nameserver = nameserver
        self.dropped = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if dns.message.from_wire(data).question[0].rdtype == dns.rdatatype.NAPTR:
            self.dropped += 1
            return
        task = asyncio.create_task(self._forward(data, addr))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _forward(self, data: bytes, addr: tuple[str, int]) -> None:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        class Upstream(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _addr: object) -> None:
                answer.set_result(data)

        upstream, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Upstream, remote_addr=self.nameserver
        )
        with contextlib.closing(upstream):
            upstream.sendto(data)
            self.transport.sendto(await answer, addr)


@contextlib.asynccontextmanager
async def forwarder(nameserver: Address) -> AsyncIterator[tuple[Address, _Forwarder]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Forwarder(nameserver), local_addr=("127.0.0.1", 0)
    )
    with contextlib.closing(transport):
        yield Address(*transport.get_extra_info("sockname")), protocol


async def test_a_nameserver_that_never_answers_for_naptr(bind: Address) -> None:
    brief = QueryLimits(first_wait=0.1, whole=0.5)
    async with forwarder(bind) as (address, protocol):
        locator = Locator(nameservers=[address], usable=(), query_limits=brief)
        outcome = await locator.explain("sip:full.example")
    assert protocol.dropped > 1
    assert {one.transport for one in outcome.targets} == {Transport.UDP}
    assert any("NAPTR: no answer from" in one.reason for one in outcome.decisions)


def test_the_command_prints_the_plan_and_the_reasons(
    bind: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(app, "sipdns", arguments=["resolve", "full.example", "--resolver", str(bind)])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert printed.out.startswith("sip:full.example  TLS, 3 addresses")
    assert "192.0.2.1:5061" in printed.out
    assert "order 10 applies, so no higher one does" in printed.out
    assert max(map(len, printed.out.splitlines())) <= 80


def test_the_command_prints_json_and_a_seed_repeats_it(
    bind: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = set()
    for _ in range(3):
        arguments = ["resolve", "sip:weights.example", "--resolver", str(bind), "--seed", "7"]
        assert run(app, "sipdns", arguments=[*arguments, "--json"]) == 0
        outputs.add(capsys.readouterr().out)
    (output,) = outputs
    result = json.loads(output)
    assert list(result) == ["schema", "uri", "targets", "decisions"]
    assert result["schema"] == 1
    assert len(result["targets"]) == 4
    target = next(one for one in result["targets"] if one["host"] == "d.weights.example")
    assert target == {
        "transport": "udp",
        "address": "192.0.2.4",
        "port": 5060,
        "host": "d.weights.example",
        "family": "ipv4",
        "priority": 1,
        "weight": 70,
        "probability": 0.693069,
        "tls_name": "weights.example",
    }


@pytest.mark.parametrize(("uri", "status"), [("sips:insecure.example", 1), ("sip:srv.example", 0)])
def test_the_commands_exit_status_tells_whether_there_is_a_server(
    bind: Address, capsys: pytest.CaptureFixture[str], uri: str, status: int
) -> None:
    assert run(app, "sipdns", arguments=["resolve", uri, "--resolver", str(bind)]) == status
    assert bool(capsys.readouterr().err) == bool(status)
