"""Each attribute: what it looks like on the wire, what is refused, and that it comes back."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.attributes import (
    KNOWN_ATTRIBUTES,
    AccessToken,
    AddressErrorCode,
    AlternateDomain,
    ChangeRequest,
    ChannelNumber,
    ConnectionId,
    DontFragment,
    ErrorCode,
    EvenPort,
    IceControlling,
    Icmp,
    KnownAttribute,
    Lifetime,
    MappedAddress,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Priority,
    Realm,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    ResponsePort,
    Software,
    UnknownAttributes,
    UserHash,
    Username,
    XorPeerAddress,
)
from natkit.stun.attributes.shapes import obfuscate
from tests.natkit.stun.strategies import ATTRIBUTES, addresses, transaction_ids


def test_every_attribute_of_the_registry_has_a_strategy() -> None:
    assert list(ATTRIBUTES) == list(KNOWN_ATTRIBUTES)


@pytest.mark.parametrize("kind", KNOWN_ATTRIBUTES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_an_attribute_comes_back_from_the_wire(
    kind: type[KnownAttribute], data: st.DataObject
) -> None:
    attribute = data.draw(ATTRIBUTES[kind])
    assert type(attribute) is kind
    assert kind.decode(attribute.encode()) == attribute


@pytest.mark.parametrize("kind", KNOWN_ATTRIBUTES, ids=lambda kind: kind.__name__)
@given(value=st.binary(max_size=80))
def test_any_bytes_are_an_attribute_or_malformed(kind: type[KnownAttribute], value: bytes) -> None:
    try:
        attribute = kind.decode(value)
    except MalformedMessage:
        return
    assert kind.decode(attribute.encode()) == attribute


@given(address=addresses, transaction_id=transaction_ids)
def test_obfuscation_undoes_itself(address: Address, transaction_id: bytes) -> None:
    plain = XorPeerAddress(address).encode()
    hidden = obfuscate(plain, transaction_id)
    assert hidden[:2] == plain[:2]
    assert obfuscate(hidden, transaction_id) == plain


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        (MappedAddress(Address.of("192.0.2.1", 32853)), "0001 8055 c0000201"),
        (
            MappedAddress(Address.of("2001:db8::1", 1)),
            "0002 0001 20010db8 00000000 00000000 00000001",
        ),
        (ErrorCode(401, "No"), "0000 0401 4e6f"),
        (ErrorCode(699), "0000 0663"),
        (UnknownAttributes((0x7F00, 0x0003)), "7f00 0003"),
        (PasswordAlgorithm(2), "0002 0000"),
        (PasswordAlgorithm(9, b"abcde"), "0009 0005 6162636465 000000"),
        (
            PasswordAlgorithms((PasswordAlgorithm(2), PasswordAlgorithm(1))),
            "0002 0000 0001 0000",
        ),
        (ChannelNumber(0x4001), "4001 0000"),
        (Lifetime(600), "00000258"),
        (RequestedAddressFamily(2), "02000000"),
        (EvenPort(reserve_next=True), "80"),
        (EvenPort(), "00"),
        (RequestedTransport(17), "11000000"),
        (DontFragment(), ""),
        (AddressErrorCode(2, 440, "x"), "02000428 78"),
        (Icmp(3, 4, 1400), "00000304 00000578"),
        (ChangeRequest(change_ip=True), "00000004"),
        (ChangeRequest(change_port=True), "00000002"),
        (ResponsePort(3479), "0d97 0000"),
        (ConnectionId(1), "00000001"),
        (AccessToken(b"abc", b"sealed"), "0003 616263 7365616c6564"),
        (Priority(0x6E0001FF), "6e0001ff"),
        (IceControlling(1), "0000000000000001"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_attribute_looks_as_its_rfc_draws_it(attribute: KnownAttribute, value: str) -> None:
    assert attribute.encode() == bytes.fromhex(value)
    assert type(attribute).decode(bytes.fromhex(value)) == attribute


@pytest.mark.parametrize(
    ("kind", "value", "meaning"),
    [
        (MappedAddress, "ff01 8055 c0000201", MappedAddress(Address.of("192.0.2.1", 32853))),
        (ErrorCode, "ffff fc01 4e6f", ErrorCode(401, "No")),
        (ErrorCode, "0000 0401 ff", ErrorCode(401, "\ufffd")),
        (ChannelNumber, "4001 ffff", ChannelNumber(0x4001)),
        (RequestedAddressFamily, "01ffffff", RequestedAddressFamily(1)),
        (RequestedTransport, "11ffffff", RequestedTransport(17)),
        (EvenPort, "ff", EvenPort(reserve_next=True)),
        (EvenPort, "7f", EvenPort()),
        (Icmp, "ffff0304 00000578", Icmp(3, 4, 1400)),
        (AddressErrorCode, "02fffc28", AddressErrorCode(2, 440)),
        (ChangeRequest, "fffffff9", ChangeRequest()),
        (ResponsePort, "0d97", ResponsePort(3479)),
        (PasswordAlgorithm, "0009 0001 61 ffffff", PasswordAlgorithm(9, b"a")),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_reserved_bits_and_padding_are_ignored(
    kind: type[KnownAttribute], value: str, meaning: KnownAttribute
) -> None:
    assert kind.decode(bytes.fromhex(value)) == meaning


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (MappedAddress, b""),
        (MappedAddress, bytes.fromhex("0001 8055 c00002")),
        (MappedAddress, bytes.fromhex("0002 8055 c0000201")),
        (MappedAddress, bytes.fromhex("0003 8055 c0000201")),
        (ErrorCode, bytes.fromhex("000004")),
        (ErrorCode, bytes.fromhex("00000201")),
        (ErrorCode, bytes.fromhex("00000701")),
        (ErrorCode, bytes.fromhex("00000464")),
        (ErrorCode, bytes.fromhex("00000401") + bytes(764)),
        (Username, b"\xff"),
        (Username, b"a" * 764),
        (Realm, b"a" * 764),
        (Nonce, b"a" * 764),
        (Software, b"a" * 764),
        (UserHash, bytes(31)),
        (MessageIntegrity, bytes(19)),
        (MessageIntegritySha256, bytes(12)),
        (MessageIntegritySha256, bytes(18)),
        (MessageIntegritySha256, bytes(36)),
        (UnknownAttributes, bytes(3)),
        (PasswordAlgorithm, bytes.fromhex("0002 0001 61")),
        (PasswordAlgorithm, bytes.fromhex("0002 0000 00")),
        (PasswordAlgorithms, bytes.fromhex("0002 0000 0001")),
        (AlternateDomain, b""),
        (AlternateDomain, "ü.example".encode()),
        (AlternateDomain, b"a" * 256),
        (ChannelNumber, bytes(2)),
        (Lifetime, bytes(8)),
        (EvenPort, bytes(4)),
        (DontFragment, bytes(4)),
        (ReservationToken, bytes(7)),
        (AccessToken, b"\0"),
        (AccessToken, b"\0\4abc"),
        (ResponsePort, bytes(3)),
    ],
    ids=lambda value: value.hex()[:20] if isinstance(value, bytes) else value.__name__,
)
def test_a_value_of_the_wrong_form_is_malformed(kind: type[KnownAttribute], value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        kind.decode(value)


@pytest.mark.parametrize(
    ("attribute", "refused"),
    [
        (lambda: Username("a" * 508), False),
        (lambda: Username("a" * 509), True),
        (lambda: Username("ü" * 254), False),
        (lambda: Username("ü" * 255), True),
        (lambda: Software("\U0001f600" * 127), False),
        (lambda: Software("a" * 128), True),
        (lambda: ErrorCode(400, "a" * 127), False),
        (lambda: ErrorCode(400, "a" * 128), True),
        (lambda: ErrorCode(299), True),
        (lambda: ErrorCode(700), True),
        (lambda: Realm("a" * 763), False),
        (lambda: Realm("a" * 764), True),
        (lambda: Nonce(b"a" * 764), True),
        (lambda: UserHash(bytes(20)), True),
        (lambda: MessageIntegrity(bytes(32)), True),
        (lambda: MessageIntegritySha256(bytes(20)), False),
        (lambda: MessageIntegritySha256(bytes(12)), True),
        (lambda: AlternateDomain("a" * 256), True),
        (lambda: AlternateDomain("ü"), True),
        (lambda: Lifetime(-1), True),
        (lambda: Lifetime(1 << 32), True),
        (lambda: ChannelNumber(0x10000), True),
        (lambda: ReservationToken(bytes(9)), True),
        (lambda: AccessToken(bytes(0xFFFF), b""), True),
        (lambda: UnknownAttributes((0x10000,)), True),
    ],
)
def test_what_the_rfc_does_not_allow_is_not_sent(
    attribute: Callable[[], KnownAttribute], refused: bool
) -> None:
    if refused:
        with pytest.raises(MisuseError):
            attribute().encode()
    else:
        value = attribute()
        assert type(value).decode(value.encode()) == value
