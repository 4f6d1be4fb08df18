"""Somebody between our client and our server, who changes what passes or sends it once more.

Whatever is taken out of an offer, no request is signed by less than what the server offers and
answered (RFC 8489 §9.2.1); and what was recorded opens nothing.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.errors import IntegrityViolation, NatkitError, StaleNonce
from natkit.machine import Transport
from natkit.stun.attributes import (
    Attribute,
    ErrorCode,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithms,
)
from natkit.stun.credentials import MD5, NONCE_COOKIE_LENGTH, SHA_256, nonce_cookie
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, SecurityFeature
from natkit.turn.events import Allocated, AllocateFailed, AllocationClosed
from tests.natkit.turn.simulated import SETTINGS, Caller, Relay, network_of, parsed
from tests.simnet import Network, Packet, Router

PEER = Address("203.0.113.20", 5000)

Change = Callable[[Attribute], Attribute | None]


class MiddleMan(Router):
    """Changes the attributes of the server's error responses, which nothing protects."""

    def __init__(self, network: Network, change: Change) -> None:
        super().__init__(network, "middle", network.internet, network._link("middle", None))
        self.requests: list[Message] = []
        self.recorded: list[Packet] = []
        self.answered: list[Message] = []
        self._change = change

    def outbound(self, packet: Packet) -> Packet:
        message = parsed(packet.payload) if isinstance(packet.payload, bytes) else None
        if message is not None and message.message_class is MessageClass.REQUEST:
            self.requests.append(message)
            self.recorded.append(packet)
        return packet

    def inbound(self, packet: Packet) -> Packet:
        message = parsed(packet.payload) if isinstance(packet.payload, bytes) else None
        if message is not None:
            self.answered.append(message)
        if message is None or message.message_class is not MessageClass.ERROR_RESPONSE:
            return packet
        protected = (MessageIntegrity, MessageIntegritySha256)
        changed = [self._change(each) for each in message.attributes if type(each) not in protected]
        kept = tuple(each for each in changed if each is not None)
        forged = Message(message.method, message.message_class, message.transaction_id, kept)
        return replace(packet, payload=forged.encode())

    def replay(self, source: Address | None = None) -> None:
        """Send all that was recorded once more, and let it arrive."""
        for packet in tuple(self.recorded):
            again = replace(packet, source=source or packet.source)
            self.outside.send(again, self, self.link)
        self.simulation.run_for(1.0)


def attacked(change: Change) -> tuple[NatkitError | None, MiddleMan, Relay]:
    """How an Allocate through the middle man ends; None for well."""
    with network_of(1) as network:
        relay = Relay(network)
        middle = MiddleMan(network, change)
        host = network.host("client", "192.0.2.1", behind=middle)
        caller = Caller(relay, host, transport=Transport.UDP)
        caller.shell.call(caller.allocation.allocate)
        network.run_for(120.0)
        failed = caller.shell.take(AllocateFailed)
        granted = caller.shell.take(Allocated)
        assert len(failed) + len(granted) == 1
        return (failed[0].error if failed else None), middle, relay


def keep(attribute: Attribute) -> Attribute:
    return attribute


def strip_algorithms(attribute: Attribute) -> Attribute | None:
    return None if isinstance(attribute, PasswordAlgorithms) else attribute


def plain_nonce(attribute: Attribute) -> Attribute | None:
    """Take the cookie away with the algorithms, as if the server were one of RFC 5389."""
    if isinstance(attribute, Nonce):
        return Nonce(attribute.value[NONCE_COOKIE_LENGTH:])
    return strip_algorithms(attribute)


def without_bits(attribute: Attribute) -> Attribute | None:
    """Clear the bits in the nonce's cookie, and take the algorithms away."""
    if isinstance(attribute, Nonce):
        return Nonce(nonce_cookie(SecurityFeature(0)) + attribute.value[NONCE_COOKIE_LENGTH:])
    return strip_algorithms(attribute)


def without_anonymity(attribute: Attribute) -> Attribute:
    """Clear the bit that hides the username."""
    if isinstance(attribute, Nonce):
        bits = nonce_cookie(SecurityFeature.PASSWORD_ALGORITHMS)
        return Nonce(bits + attribute.value[NONCE_COOKIE_LENGTH:])
    return attribute


def md5_alone(attribute: Attribute) -> Attribute:
    return PasswordAlgorithms((MD5,)) if isinstance(attribute, PasswordAlgorithms) else attribute


def md5_first(attribute: Attribute) -> Attribute:
    if isinstance(attribute, PasswordAlgorithms):
        return PasswordAlgorithms((MD5, SHA_256))
    return attribute


def test_through_a_middle_man_who_changes_nothing_it_goes_well() -> None:
    error, middle, _ = attacked(keep)
    assert error is None
    assert middle.requests[-1].get(MessageIntegritySha256) is not None


def test_a_list_that_was_taken_out_is_noticed_at_once_and_called_so() -> None:
    error, middle, relay = attacked(strip_algorithms)
    assert isinstance(error, IntegrityViolation)
    assert str(error) == "the server's list of password algorithms was removed on the way"
    assert len(middle.requests) == 1
    assert relay.relayed == ()


@pytest.mark.parametrize("change", [plain_nonce, without_bits, without_anonymity])
def test_a_nonce_whose_bits_were_changed_is_no_nonce_of_the_servers(change: Change) -> None:
    error, middle, relay = attacked(change)
    assert isinstance(error, StaleNonce | IntegrityViolation)
    assert len(middle.requests) <= 5
    assert relay.relayed == ()


@pytest.mark.parametrize("change", [md5_alone, md5_first])
def test_a_list_that_was_changed_opens_nothing(change: Change) -> None:
    error, middle, relay = attacked(change)
    assert isinstance(error, IntegrityViolation)
    assert "the last was 400" in str(error)
    assert relay.relayed == ()
    for request in middle.requests[1:]:
        # Never the weaker integrity, whatever the list says.
        assert request.get(MessageIntegrity) is None


class Recorded:
    """An allocation with a permission through a middle man who recorded how it came about."""

    def __init__(self, network: Network) -> None:
        self.relay = Relay(network)
        self.middle = MiddleMan(network, keep)
        host = network.host("client", "192.0.2.1", behind=self.middle)
        self.caller = Caller(self.relay, host)
        self.caller.allocate()
        self.caller.shell.call(lambda now: self.caller.allocation.permit([PEER], now))
        self.caller.until(lambda: self.caller.allocation.is_permitted(PEER.host))

    def close(self) -> None:
        self.caller.shell.call(self.caller.allocation.close)
        self.caller.until(lambda: self.caller.shell.take(AllocationClosed) != [])
        assert self.relay.relayed == ()

    def answers(self) -> list[int | None]:
        """What the relay answered since the last call: error codes, None for success."""
        taken, self.middle.answered = self.middle.answered, []
        codes = [message.get(ErrorCode) for message in taken]
        return [None if code is None else code.code for code in codes]


def test_a_record_of_a_live_allocation_changes_nothing_there() -> None:
    with network_of(2) as network:
        recorded = Recorded(network)
        [allocation] = recorded.relay.machine.allocations
        before = allocation.until, dict(allocation.permissions)
        relayed = recorded.relay.relayed
        recorded.answers()
        recorded.middle.replay()
        # Bare once, then what each of them got already, word for word (RFC 8489 §6.3.1).
        assert recorded.answers() == [401, None, None]
        assert recorded.relay.relayed == relayed
        assert (allocation.until, dict(allocation.permissions)) == before
        assert recorded.caller.is_alive


@pytest.mark.parametrize("stale", [False, True])
def test_a_record_opens_nothing_from_another_address_or_after_its_nonces_time(stale: bool) -> None:
    with network_of(3) as network:
        recorded = Recorded(network)
        recorded.close()
        if stale:
            network.run_for(SETTINGS.nonce_lifetime + 1.0)
        recorded.answers()
        recorded.middle.replay(None if stale else Address("192.0.2.1", 50007))
        assert recorded.answers() == [401, 438, 438, 438]
        assert recorded.relay.relayed == ()


def test_a_record_of_a_closed_allocation_is_answered_from_memory() -> None:
    with network_of(4) as network:
        recorded = Recorded(network)
        recorded.close()
        recorded.answers()
        recorded.middle.replay()
        assert recorded.answers() == [401, None, None, None]
        assert recorded.relay.relayed == ()
