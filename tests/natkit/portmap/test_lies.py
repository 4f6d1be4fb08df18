"""Gateways that lie: no mapping is told that nobody could reach, and every wait ends."""

from ipaddress import ip_address
from typing import Final

import pytest

from natkit.address import Address
from natkit.portmap import Mapped, MappingFailed, Method, NatPmp, Pcp, Silent
from natkit.portmap.dialect import Dialect
from natkit.portmap.gateway import LONGEST_GRANT
from natkit.portmap.ledger import PATIENCE
from tests.natkit.portmap.fake_gateway import FakeGateway
from tests.natkit.portmap.test_gateway import BOTH, START, WISH, Conversation

NOBODYS: Final = ("0.0.0.0", "224.0.0.1", "127.0.0.1")


class Liar(FakeGateway):
    """Says that its external address is another one."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = ip_address(host).packed

    def answer(self, request: bytes) -> bytes:
        told = super().answer(request)
        if request[0]:
            # A PCP mapping ends with its external address.
            return told[:-4] + self._host if request[1] else told
        return told[:8] + self._host if request[1] == 0 else told


def until_the_end(conversation: Conversation) -> list[object]:
    """All that is told until the wish is decided, with the gateway lying on."""
    told: list[object] = []
    while not any(isinstance(each, Mapped | MappingFailed) for each in told):
        conversation.fire()
        conversation.answer()
        told += conversation.events()
    return told


@pytest.mark.parametrize("host", NOBODYS)
@BOTH
def test_an_external_address_where_nobody_is_reached_is_no_mapping(
    dialect: Dialect, host: str
) -> None:
    conversation = Conversation(dialect, gateway=Liar(host))
    conversation.mapper.map(1, WISH, conversation.now)
    conversation.answer()
    told = conversation.events() or until_the_end(conversation)
    (failed,) = told
    assert isinstance(failed, MappingFailed)
    assert conversation.now - START <= PATIENCE + 1
    if dialect.method is Method.NAT_PMP:
        assert "no external address" in failed.reason


@pytest.mark.parametrize("host", NOBODYS)
def test_nat_pmp_without_an_external_address_is_told_when_it_is_only_asked(host: str) -> None:
    conversation = Conversation(NatPmp(), gateway=Liar(host))
    conversation.mapper.probe(conversation.now)
    conversation.answer()
    (silent,) = conversation.events()
    assert isinstance(silent, Silent)
    assert "no external address" in silent.reason


@BOTH
def test_a_private_external_address_is_told_as_it_is(dialect: Dialect) -> None:
    # It is for the comparison with STUN to tell that another NAT lies behind it.
    conversation = Conversation(dialect, gateway=Liar("100.64.0.9"))
    assert conversation.map().mapping.external == Address("100.64.0.9", 5060)


@BOTH
def test_a_lease_for_ever_is_believed_for_a_day(dialect: Dialect) -> None:
    gateway = FakeGateway(lifetime=0xFFFFFFFF)
    conversation = Conversation(dialect, gateway=gateway)
    assert conversation.map().mapping.lifetime == LONGEST_GRANT
    assert conversation.due() - conversation.now < LONGEST_GRANT


@BOTH
def test_a_lease_of_nothing_grants_nothing(dialect: Dialect) -> None:
    conversation = Conversation(dialect, gateway=FakeGateway(lifetime=0))
    conversation.mapper.map(1, WISH, conversation.now)
    conversation.answer()
    (failed,) = until_the_end(conversation)
    assert isinstance(failed, MappingFailed)
    assert conversation.now - START <= PATIENCE + 1


def test_an_external_port_of_zero_grants_nothing() -> None:
    class Portless(FakeGateway):
        def _port(self, suggested: int, internal: int) -> int:
            return 0 * (suggested + internal)

    conversation = Conversation(Pcp(), gateway=Portless())
    conversation.mapper.map(1, WISH, conversation.now)
    conversation.answer()
    (failed,) = until_the_end(conversation)
    assert isinstance(failed, MappingFailed)
