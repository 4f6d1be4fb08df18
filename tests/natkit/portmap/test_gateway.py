"""Mappings at one gateway by PCP and NAT-PMP, by the clock and against lies."""

import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Machine, Path, Transport
from natkit.portmap import (
    Filter,
    GatewayMapper,
    GatewayRestarted,
    Mapped,
    MappingFailed,
    MappingLost,
    Method,
    NatPmp,
    Pcp,
    PortMapEvent,
    Protocol,
    Unmapped,
    Wish,
)
from natkit.portmap.dialect import Dialect
from natkit.portmap.registry import CLIENT_PORT, PcpOption, PcpResult
from tests.natkit.portmap.fake_gateway import EXTERNAL, FakeGateway

START: Final = 5000.25
LOCAL: Final = Address("192.168.1.2", 40000)
GATEWAY: Final = Address("192.168.1.1", 5351)
PATH: Final = Path(Transport.UDP, LOCAL, GATEWAY)
WISH: Final = Wish(Protocol.UDP, 5060)
DIALECTS: Final[list[Dialect]] = [Pcp(), NatPmp()]
BOTH = pytest.mark.parametrize("dialect", DIALECTS, ids=["pcp", "nat-pmp"])


class Conversation:
    """A mapper and a gateway that answers when it is told to."""

    def __init__(
        self, dialect: Dialect, *, seed: int = 1, gateway: FakeGateway | None = None
    ) -> None:
        self.mapper = GatewayMapper(PATH, dialect, random=random.Random(seed).randbytes)
        contract: Machine[PortMapEvent, object] = self.mapper
        assert contract.next_event() is None
        self.gateway = gateway or FakeGateway()
        self.now = START

    def events(self) -> list[PortMapEvent]:
        return list(iter(self.mapper.next_event, None))

    def sent(self) -> list[bytes]:
        return [transmit.data for transmit in self.mapper.transmits()]

    def answer(self) -> None:
        """Let the gateway answer all that was sent."""
        for data in self.sent():
            self.mapper.receive(self.gateway.answer(data), PATH, self.now)

    def map(self, wish: Wish = WISH, wish_id: int = 1) -> Mapped:
        self.mapper.map(wish_id, wish, self.now)
        self.answer()
        (mapped,) = self.events()
        assert isinstance(mapped, Mapped)
        return mapped

    def due(self) -> float:
        deadline = self.mapper.next_deadline()
        assert deadline is not None
        return deadline

    def fire(self) -> None:
        """Move to the next deadline."""
        passed = self.due() - self.now
        self.now = self.due()
        self.gateway.epoch += round(passed)
        self.mapper.handle_timer(self.now)


@BOTH
def test_a_mapping_is_granted_with_its_external_address(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    mapping = talk.map().mapping
    assert mapping.external == Address(EXTERNAL, 5060)
    assert mapping.internal == Address("192.168.1.2", 5060)
    assert (mapping.method, mapping.gateway, mapping.lifetime) == (dialect.method, GATEWAY, 7200)


@BOTH
def test_it_is_renewed_between_half_and_five_eighths_of_its_lifetime(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.map()
    for _ in range(5):
        granted_at = talk.now
        assert granted_at + 3600 <= talk.due() <= granted_at + 4500
        talk.fire()
        talk.answer()
        assert [type(event) for event in talk.events()] == [Mapped]


@BOTH
def test_a_renewal_suggests_what_was_granted(dialect: Dialect) -> None:
    talk = Conversation(dialect, gateway=FakeGateway(external_port=1234))
    talk.map()
    talk.gateway.external_port = None
    talk.fire()
    talk.answer()
    (mapped,) = talk.events()
    assert isinstance(mapped, Mapped)
    assert mapped.mapping.external == Address(EXTERNAL, 1234)


@BOTH
def test_a_mapping_that_is_not_renewed_is_lost_and_asked_for_on(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.map()
    lost: list[PortMapEvent] = []
    while not lost:
        talk.fire()
        talk.sent()
        lost = talk.events()
    assert lost == [MappingLost(1, "the gateway did not renew it")]
    assert talk.now == START + 7200
    while not (requests := talk.sent()):
        talk.fire()
    talk.mapper.receive(talk.gateway.answer(requests[-1]), PATH, talk.now)
    assert any(isinstance(event, Mapped) for event in talk.events())


@BOTH
def test_a_gateway_that_forgot_is_asked_again(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.map()
    talk.map(Wish(Protocol.TCP, 8080), 2)
    talk.fire()
    talk.gateway.epoch = 3
    talk.answer()
    events = talk.events()
    assert GatewayRestarted(GATEWAY) in events
    renewed = {event.wish_id for event in events if isinstance(event, Mapped)}
    limit = talk.now + 5.0
    while renewed != {1, 2}:
        assert talk.due() <= limit
        talk.fire()
        talk.answer()
        renewed |= {event.wish_id for event in talk.events() if isinstance(event, Mapped)}


@BOTH
def test_an_age_that_goes_on_with_our_clock_is_no_restart(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.map()
    for drift in (-100, 100, 0):
        talk.fire()
        talk.gateway.epoch += drift
        talk.answer()
        assert [type(event) for event in talk.events()] == [Mapped]


@BOTH
def test_removing_is_confirmed(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.map()
    talk.mapper.unmap(1, talk.now)
    talk.answer()
    assert talk.events() == [Unmapped(1, confirmed=True)]
    assert len(talk.mapper) == 0
    assert talk.gateway.requests[-1][8 if dialect.method is Method.NAT_PMP else 4 :][:4] == bytes(4)


@BOTH
def test_removing_from_a_dead_gateway_ends_in_three_seconds(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.map()
    talk.mapper.unmap(1, talk.now)
    events: list[PortMapEvent] = []
    while not events:
        talk.fire()
        events = talk.events()
    assert events == [Unmapped(1, confirmed=False)]
    assert talk.now == START + 3.0


@BOTH
def test_silence_ends_in_twelve_seconds(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.mapper.map(1, WISH, talk.now)
    events: list[PortMapEvent] = []
    while not events:
        talk.fire()
        events = talk.events()
    (failed,) = events
    assert isinstance(failed, MappingFailed)
    assert failed.code is None
    assert "does not answer" in failed.reason
    assert talk.now == START + 12.0
    while talk.mapper.next_deadline() is not None:
        talk.fire()
    assert len(talk.mapper) == 0


def test_nat_pmp_is_sent_again_after_a_quarter_of_a_second_and_twice_as_long_each_time() -> None:
    talk = Conversation(NatPmp())
    talk.mapper.map(1, WISH, talk.now)
    times = [talk.now for data in talk.sent() if len(data) == 12]
    while talk.now < START + 8:
        talk.fire()
        times += [talk.now for data in talk.sent() if len(data) == 12]
    assert [round(time - START, 2) for time in times][:6] == [0, 0.25, 0.75, 1.75, 3.75, 7.75]


@pytest.mark.parametrize("seed", range(20))
def test_pcp_is_sent_again_after_three_seconds_within_a_tenth(seed: int) -> None:
    talk = Conversation(Pcp(), seed=seed)
    talk.mapper.map(1, WISH, talk.now)
    talk.fire()
    assert START + 2.7 <= talk.now <= START + 3.3


@BOTH
@pytest.mark.parametrize("code", [2, 3, 4, 99])
def test_a_refusal_says_why(dialect: Dialect, code: int) -> None:
    talk = Conversation(dialect, gateway=FakeGateway(result=code))
    talk.mapper.map(1, WISH, talk.now)
    talk.answer()
    (failed,) = talk.events()
    assert isinstance(failed, MappingFailed)
    assert failed.code == code
    assert failed.method is dialect.method
    assert len(failed.reason.splitlines()) == 1


def test_a_gateway_of_nat_pmp_alone_tells_pcp_so_at_once() -> None:
    talk = Conversation(Pcp(), gateway=FakeGateway(speaks_pcp=False))
    talk.mapper.map(1, WISH, talk.now)
    talk.answer()
    (failed,) = talk.events()
    assert isinstance(failed, MappingFailed)
    assert failed.code == PcpResult.UNSUPP_VERSION


def test_an_error_at_renewal_does_not_end_what_is_still_granted() -> None:
    talk = Conversation(Pcp())
    talk.map()
    talk.fire()
    talk.gateway.result, talk.gateway.lifetime = PcpResult.NO_RESOURCES, 60
    talk.answer()
    assert talk.events() == []
    talk.gateway.result, talk.gateway.lifetime = 0, None
    talk.fire()
    talk.answer()
    assert [type(event) for event in talk.events()] == [Mapped]


@BOTH
def test_forged_answers_change_nothing(dialect: Dialect) -> None:
    talk = Conversation(dialect)
    talk.mapper.map(1, WISH, talk.now)
    requests = talk.sent()
    genuine = talk.gateway.answer(requests[-1])
    stranger = PATH._replace(remote=Address("192.168.1.66", 5351))
    other_port = PATH._replace(remote=Address("192.168.1.1", 9999))
    other_wish = Conversation(dialect, seed=2)
    other_wish.mapper.map(1, Wish(Protocol.UDP, 5061), START)
    forged = talk.gateway.answer(other_wish.sent()[-1])
    announced = PATH._replace(local=Address("192.168.1.2", CLIENT_PORT))
    for data, path in (
        (genuine, stranger),
        (genuine, other_port),
        (genuine, announced),
        (forged, PATH),
        (genuine[:-1], PATH),
        (requests[-1], PATH),
    ):
        talk.mapper.receive(data, path, talk.now)
        assert talk.events() == []
    for request in requests:
        talk.mapper.receive(talk.gateway.answer(request), PATH, talk.now)
    assert [type(event) for event in talk.events()] == [Mapped]


def test_an_answer_with_another_nonce_is_forged() -> None:
    talk = Conversation(Pcp())
    talk.mapper.map(1, WISH, talk.now)
    data = bytearray(talk.gateway.answer(talk.sent()[0]))
    data[24] ^= 1
    talk.mapper.receive(bytes(data), PATH, talk.now)
    assert talk.events() == []


def test_an_announcement_of_the_gateway_renews_everything_at_once() -> None:
    talk = Conversation(Pcp())
    talk.map()
    talk.now += 100
    announcement = bytes([2, 0x80, 0, 0]) + bytes(4) + (2).to_bytes(4, "big") + bytes(12)
    heard = PATH._replace(local=Address("224.0.0.1", CLIENT_PORT))
    talk.mapper.receive(
        announcement, heard._replace(remote=Address("192.168.1.66", 5351)), talk.now
    )
    assert talk.events() == []
    talk.gateway.epoch = 2
    talk.mapper.receive(announcement, heard, talk.now)
    assert talk.events() == [GatewayRestarted(GATEWAY)]
    assert talk.due() <= talk.now + 5.0
    talk.fire()
    talk.answer()
    assert [type(event) for event in talk.events()] == [Mapped]


def test_a_new_external_address_is_told_of_each_mapping() -> None:
    talk = Conversation(NatPmp())
    talk.map()
    heard = PATH._replace(local=Address("224.0.0.1", CLIENT_PORT))
    epoch = talk.gateway.epoch.to_bytes(4, "big")
    talk.mapper.receive(bytes([0, 0x80, 0, 0]) + epoch + bytes([203, 0, 113, 9]), heard, talk.now)
    (mapped,) = talk.events()
    assert isinstance(mapped, Mapped)
    assert mapped.mapping.external == Address("203.0.113.9", 5060)


def test_peer_third_party_filters_and_prefer_failure_are_on_the_wire() -> None:
    talk = Conversation(Pcp())
    peer = Wish(Protocol.UDP, 5060, remote=Address("203.0.113.5", 4000))
    assert talk.map(peer).mapping.wish is peer
    request = talk.gateway.requests[-1]
    assert (request[1], len(request)) == (2, 24 + 56)
    assert request[60:62] == (4000).to_bytes(2, "big")
    wish = Wish(
        Protocol.TCP,
        80,
        8080,
        third_party="192.168.1.9",
        prefer_failure=True,
        filters=(Filter(Address("203.0.113.0", 0), 24),),
    )
    mapping = talk.map(wish, 2).mapping
    assert mapping.internal == Address("192.168.1.9", 80)
    options = talk.gateway.requests[-1][60:]
    assert [options[0], options[20], options[24]] == [
        PcpOption.THIRD_PARTY,
        PcpOption.PREFER_FAILURE,
        PcpOption.FILTER,
    ]
    assert options[29] == 120


def test_a_pinhole_of_ipv6_suggests_no_address() -> None:
    path = Path(Transport.UDP, Address("2001:db8::2", 40000), Address("2001:db8::1", 5351))
    mapper = GatewayMapper(path, Pcp(), random=random.Random(1).randbytes)
    mapper.map(1, WISH, START)
    (transmit,) = mapper.transmits()
    assert transmit.data[8:24] == Address("2001:db8::2", 0).packed
    assert transmit.data[44:60] == bytes(16)


@pytest.mark.parametrize(
    "options",
    [
        {"internal_port": 0},
        {"internal_port": 70000},
        {"internal_port": 1, "external_port": -1},
        {"internal_port": 1, "lifetime": 0},
        {"internal_port": 1, "prefer_failure": True},
    ],
)
def test_wishes_that_mean_nothing_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(MisuseError):
        Wish(Protocol.UDP, **options)  # type: ignore[arg-type]


def test_the_same_port_is_not_wanted_twice_by_nat_pmp() -> None:
    talk = Conversation(NatPmp())
    talk.map()
    with pytest.raises(MisuseError):
        talk.mapper.map(2, WISH, talk.now)


@BOTH
@given(data=st.binary(max_size=1200))
def test_no_bytes_of_a_gateway_raise_anything_but_malformed_message(
    dialect: Dialect, data: bytes
) -> None:
    try:
        dialect.parse(data)
    except MalformedMessage:
        pass
    talk = Conversation(dialect)
    talk.mapper.map(1, WISH, START)
    talk.mapper.receive(data, PATH, START)


@BOTH
@given(st.data())
def test_mutated_answers_give_no_wrong_mapping(dialect: Dialect, data: st.DataObject) -> None:
    talk = Conversation(dialect)
    talk.mapper.map(1, WISH, START)
    answer = bytearray(talk.gateway.answer(talk.sent()[-1]))
    for _ in range(data.draw(st.integers(1, 4))):
        answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    talk.mapper.receive(bytes(answer), PATH, START)
    for event in talk.events():
        if isinstance(event, Mapped):
            assert event.mapping.internal == Address("192.168.1.2", 5060)
            assert event.mapping.lifetime > 0
            assert event.mapping.external.port
