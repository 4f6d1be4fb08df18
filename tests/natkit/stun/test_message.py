"""Messages: what parses, what is refused, what counts, and that nothing else is ever raised."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.attributes import (
    KNOWN_ATTRIBUTES,
    Data,
    ErrorCode,
    Fingerprint,
    IceControlled,
    KnownAttribute,
    Lifetime,
    MappedAddress,
    MessageIntegrity,
    MessageIntegritySha256,
    PasswordAlgorithms,
    Priority,
    Software,
    UnknownAttribute,
    Username,
    XorMappedAddress,
    XorPeerAddress,
)
from natkit.stun.credentials import verify
from natkit.stun.integrity import IntegrityKey, hmac_sha1, hmac_sha256
from natkit.stun.message import MAXIMUM_LENGTH, Message
from natkit.stun.registry import Integrity, MessageClass, Method
from tests.natkit.stun.strategies import messages, unknown_attributes
from tests.vectors import stun as vectors

ID = bytes(range(12))
KEY = b"a key"
PEERS = tuple(XorPeerAddress(Address.of(f"192.0.2.{number}", number)) for number in (1, 2, 3))


def raw(*attributes: tuple[int, bytes], tail: bytes = b"", kind: int = 0x0001) -> bytes:
    """A message put together by hand."""
    body = b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    body += tail
    header = kind.to_bytes(2, "big") + len(body).to_bytes(2, "big")
    return header + bytes.fromhex("2112a442") + ID + body


@given(message=messages)
def test_a_message_comes_back_from_the_wire(message: Message) -> None:
    data = message.encode()
    assert Message.parse(data) == message
    assert Message.parse(data).encode() == data


@given(message=messages, integrity=st.sampled_from(Integrity), fingerprint=st.booleans())
def test_a_protected_message_is_proven_by_its_key_alone(
    message: Message, integrity: Integrity, fingerprint: bool
) -> None:
    data = message.encode(integrity=IntegrityKey(KEY, integrity), fingerprint=fingerprint)
    parsed = Message.parse(data)
    expected = Integrity.SHA1 if integrity is Integrity.SHA1 else Integrity.SHA256
    assert verify(parsed, KEY) is expected
    assert verify(parsed, KEY + b"?") is None
    assert (parsed.get(Fingerprint) is not None) == fingerprint
    assert parsed.encode() == data


@given(data=st.binary(max_size=200), allow_classic=st.booleans())
def test_any_bytes_are_a_message_or_malformed(data: bytes, allow_classic: bool) -> None:
    try:
        message = Message.parse(data, allow_classic=allow_classic)
    except MalformedMessage:
        return
    message.unknown_required()
    verify(message, KEY)


@given(message=messages, data=st.data())
def test_a_mutation_is_malformed_or_unproven_or_not_covered(
    message: Message, data: st.DataObject
) -> None:
    original = message.encode(integrity=IntegrityKey(KEY, Integrity.BOTH), fingerprint=True)
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = Message.parse(bytes(mutated))
    except MalformedMessage:
        return
    match verify(parsed, KEY):
        case Integrity.SHA256:
            assert parsed.sha256_text() == Message.parse(original).sha256_text()
        case Integrity.SHA1:
            assert parsed.sha1_text() == Message.parse(original).sha1_text()
        case proof:
            assert proof is None


@given(
    values=st.lists(
        st.tuples(
            st.sampled_from([0x0006, 0x000C, 0x000D, 0x0012, 0x0014, 0x0019, 0x001D, 0x8022]),
            st.binary(max_size=9),
        ),
        max_size=6,
    )
)
def test_what_is_looked_up_is_what_looking_through_the_attributes_finds(
    values: list[tuple[int, bytes]],
) -> None:
    message = Message.parse(raw(*values), keep_malformed=True)
    for kind in KNOWN_ATTRIBUTES:
        having = [each for each in message.attributes if type(each) is kind]
        assert message.get(kind) == (having[0] if having else None)
    strange = [each for each in message.attributes if isinstance(each, UnknownAttribute)]
    assert message.unrecognized == tuple(strange)
    again = Message(message.method, message.message_class, ID, message.attributes)
    for understood in (None, {0x0006, 0x0019}, frozenset({0x000D, 0x001D})):
        assert message.unknown_required(understood) == again.unknown_required(understood)
    assert again.unrecognized == message.unrecognized


@given(
    kind=st.sampled_from([Lifetime, Software, Username, XorPeerAddress]),
    value=st.binary(max_size=70),
)
def test_a_value_that_comes_again_is_read_as_the_first_time(
    kind: type[KnownAttribute], value: bytes
) -> None:
    data = raw((kind.type, value))
    first, second = (Message.parse(data, keep_malformed=True).attributes for _ in range(2))
    assert first == second
    if kind is not XorPeerAddress:
        try:
            assert first == (kind.decode(value),)
        except MalformedMessage:
            assert first == (UnknownAttribute(kind.type, value),)


@given(key=st.binary(max_size=200), texts=st.lists(st.binary(max_size=300), max_size=3))
def test_an_hmac_is_that_of_the_standard_library(key: bytes, texts: list[bytes]) -> None:
    for text in texts:
        assert hmac_sha1(key, text) == hmac.digest(key, text, "sha1")
        assert hmac_sha256(key, text) == hmac.digest(key, text, "sha256")


@given(attribute=unknown_attributes)
def test_an_unknown_attribute_survives_byte_for_byte(attribute: UnknownAttribute) -> None:
    data = raw((attribute.type, attribute.value))
    message = Message.parse(data)
    assert message.attributes == (attribute,)
    assert message.encode() == data


def test_the_first_of_several_attributes_counts() -> None:
    message = Message.parse(raw((0x000D, b"\0\0\0\1"), (0x000D, b"\0\0\0\2")))
    assert message.get(Lifetime) == Lifetime(1)


def test_all_of_several_attributes_are_given_where_they_may_be_repeated() -> None:
    request = Message.request(Method.CREATE_PERMISSION, ID, PEERS[0], Lifetime(1), *PEERS[1:])
    assert Message.parse(request.encode()).get_all(XorPeerAddress) == PEERS


def test_an_attribute_that_is_absent_is_none() -> None:
    message = Message.parse(raw())
    assert message.get(Lifetime) is None
    assert message.get_all(Lifetime) == ()


class TestUnknownRequired:
    def test_names_each_required_type_once_in_order(self) -> None:
        message = Message.parse(
            raw((0x7F02, b""), (0xFF01, b""), (0x7F01, b"x"), (0x7F02, b"y"), (0x8022, b"s"))
        )
        assert message.unknown_required() == (0x7F02, 0x7F01)

    def test_is_judged_by_what_the_caller_understands(self) -> None:
        message = Message.parse(raw((0x0003, bytes(4)), (0x000D, bytes(4)), (0x802A, bytes(8))))
        assert message.unknown_required() == ()
        assert message.unknown_required({0x000D}) == (0x0003,)

    def test_is_empty_for_optional_types(self) -> None:
        assert Message.parse(raw((0xFFFF, b"?"))).unknown_required() == ()


class TestAfterIntegrity:
    """RFC 8489 §14.5: only two attributes count after MESSAGE-INTEGRITY."""

    def test_what_follows_is_ignored(self) -> None:
        message = Message.parse(raw((0x0008, bytes(20)), (0x000D, bytes(4)), (0x7F01, b"x")))
        assert message.attributes == (MessageIntegrity(bytes(20)),)
        assert message.unknown_required() == ()

    def test_even_a_malformed_value_is_ignored_there(self) -> None:
        message = Message.parse(raw((0x0008, bytes(20)), (0x000D, bytes(3))))
        assert message.get(Lifetime) is None

    def test_sha256_and_fingerprint_count_there(self) -> None:
        data = Message.request(Method.BINDING, ID).encode(
            integrity=IntegrityKey(KEY, Integrity.BOTH), fingerprint=True
        )
        kinds = [type(each) for each in Message.parse(data).attributes]
        assert kinds == [MessageIntegrity, MessageIntegritySha256, Fingerprint]

    def test_after_sha256_only_fingerprint_counts(self) -> None:
        message = Message.parse(
            raw((0x001C, bytes(32)), (0x0008, bytes(20)), (0x001C, bytes(32)), (0x0006, b"u"))
        )
        assert message.attributes == (MessageIntegritySha256(bytes(32)),)

    def test_an_attribute_put_behind_does_not_change_the_proof(self) -> None:
        data = Message.request(Method.BINDING, ID, Username("u")).encode(
            integrity=IntegrityKey(KEY)
        )
        longer = bytearray(data + bytes.fromhex("000d 0004 00000001"))
        longer[2:4] = (len(longer) - 20).to_bytes(2, "big")
        message = Message.parse(bytes(longer))
        assert verify(message, KEY) is Integrity.SHA1
        assert message.get(Lifetime) is None


class TestFingerprint:
    def test_must_be_last(self) -> None:
        with pytest.raises(MalformedMessage, match="not the last"):
            Message.parse(raw((0x8028, bytes(4)), (0x000D, bytes(4))))

    def test_must_match(self) -> None:
        with pytest.raises(MalformedMessage, match="does not match"):
            Message.parse(raw((0x8028, bytes(4))))

    @pytest.mark.parametrize("length", [0, 3, 8])
    def test_must_have_four_bytes(self, length: int) -> None:
        with pytest.raises(MalformedMessage):
            Message.parse(raw((0x8028, bytes(length))))

    def test_is_checked_after_integrity_too(self) -> None:
        with pytest.raises(MalformedMessage, match="does not match"):
            Message.parse(raw((0x0008, bytes(20)), (0x8028, bytes(4))))


class TestLengths:
    @pytest.mark.parametrize("size", range(20))
    def test_less_than_a_header_is_malformed(self, size: int) -> None:
        with pytest.raises(MalformedMessage):
            Message.parse(raw()[:size])

    @pytest.mark.parametrize("size", range(20, 39))
    def test_a_message_cut_short_is_malformed(self, size: int) -> None:
        with pytest.raises(MalformedMessage):
            Message.parse(vectors.LONG_TERM_REQUEST.data[:size])

    def test_bytes_behind_the_message_are_malformed(self) -> None:
        with pytest.raises(MalformedMessage):
            Message.parse(raw() + bytes(4))

    @pytest.mark.parametrize("extra", [1, 2, 3])
    def test_a_length_that_is_no_multiple_of_four_is_malformed(self, extra: int) -> None:
        with pytest.raises(MalformedMessage):
            Message.parse(raw(tail=bytes(extra)))

    @pytest.mark.parametrize("stated", [1, 4, 0xFFFF])
    def test_an_attribute_that_runs_over_the_end_is_malformed(self, stated: int) -> None:
        with pytest.raises(MalformedMessage, match="runs over the end"):
            Message.parse(raw(tail=b"\x80\x22" + stated.to_bytes(2, "big")))

    def test_the_longest_message_fits_its_length_field(self) -> None:
        longest = Message.indication(Method.SEND, ID, Data(bytes(MAXIMUM_LENGTH - 4)))
        assert Message.parse(longest.encode()) == longest

    @pytest.mark.parametrize("size", [MAXIMUM_LENGTH - 3, MAXIMUM_LENGTH + 1, 0xFFFF, 1 << 16])
    def test_a_longer_message_is_refused_to_its_sender(self, size: int) -> None:
        with pytest.raises(MisuseError):
            Message.indication(Method.SEND, ID, Data(bytes(size))).encode()

    def test_room_for_integrity_and_fingerprint_is_counted(self) -> None:
        nearly = Message.indication(Method.SEND, ID, Data(bytes(MAXIMUM_LENGTH - 12)))
        nearly.encode(fingerprint=True)
        with pytest.raises(MisuseError):
            nearly.encode(integrity=IntegrityKey(KEY))


def test_the_top_bits_and_the_cookie_are_required() -> None:
    for first in (0x40, 0x80, 0xC0):
        with pytest.raises(MalformedMessage, match="no STUN header"):
            Message.parse(bytes([first]) + raw()[1:])
    with pytest.raises(MalformedMessage, match="cookie"):
        Message.parse(raw()[:4] + bytes(4) + raw()[8:])


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (0x000D, b"\0\0\1"),
        (0x0020, b""),
        (0x0012, bytes.fromhex("0001 8055 c0")),
        (0x0016, bytes.fromhex("0002 8055 c0000201")),
    ],
)
def test_a_malformed_required_attribute_makes_the_message_malformed(
    number: int, value: bytes
) -> None:
    with pytest.raises(MalformedMessage):
        Message.parse(raw((number, value)))


def test_a_server_can_keep_a_malformed_required_attribute_to_answer_it() -> None:
    data = raw((0x000D, b"\0\0\1"), (0x0024, b"\0\0\0\1"))
    message = Message.parse(data, keep_malformed=True)
    assert message.attributes == (UnknownAttribute(0x000D, b"\0\0\1"), Priority(1))
    assert message.unknown_required() == (0x000D,)
    with pytest.raises(MalformedMessage):
        Message.parse(raw((0x8028, b"\0\0\1")), keep_malformed=True)


def test_a_malformed_address_that_is_kept_leaves_as_it_came() -> None:
    data = raw((0x0012, bytes.fromhex("0003 8055 c0000201")))
    assert Message.parse(data, keep_malformed=True).encode() == data


@pytest.mark.parametrize(
    ("number", "value"),
    [(0x8022, b"\xff"), (0x8022, b"a" * 764), (0x8002, b"\0"), (0x8029, bytes(7))],
)
def test_a_malformed_optional_attribute_counts_as_not_understood(number: int, value: bytes) -> None:
    data = raw((number, value), (0x0024, b"\0\0\0\1"))
    message = Message.parse(data)
    assert message.attributes == (UnknownAttribute(number, value), Priority(1))
    for kind in (Software, PasswordAlgorithms, IceControlled):
        assert message.get(kind) is None
    assert message.unknown_required() == ()
    assert message.encode() == data


class TestClassic:
    """RFC 3489: no magic cookie, sixteen bytes of transaction id."""

    DATA = raw()[:4] + bytes(range(100, 116))

    def test_is_understood_where_it_is_allowed(self) -> None:
        message = Message.parse(self.DATA, allow_classic=True)
        assert message.is_classic
        assert message.transaction_id == bytes(range(100, 116))
        assert message.encode() == self.DATA

    def test_is_malformed_elsewhere(self) -> None:
        with pytest.raises(MalformedMessage):
            Message.parse(self.DATA)

    def test_is_answered_in_its_own_form(self) -> None:
        request = Message.parse(self.DATA, allow_classic=True)
        mapped = MappedAddress(Address.of("192.0.2.1", 32853))
        answer = request.success(mapped).encode()
        assert answer == bytes.fromhex("0101 000c") + self.DATA[4:] + bytes.fromhex(
            "0001 0008 0001 8055 c0000201"
        )
        assert Message.parse(answer, allow_classic=True).get(MappedAddress) == mapped

    def test_a_message_with_the_cookie_is_never_classic(self) -> None:
        assert not Message.parse(raw(), allow_classic=True).is_classic


def test_responses_take_method_and_transaction_id_of_their_request() -> None:
    request = Message.request(Method.ALLOCATE, ID)
    success = request.success(Lifetime(1))
    assert success == Message(Method.ALLOCATE, MessageClass.SUCCESS_RESPONSE, ID, (Lifetime(1),))
    error = request.error(437, Lifetime(1))
    assert error.message_class is MessageClass.ERROR_RESPONSE
    assert error.attributes == (ErrorCode(437, "Allocation Mismatch"), Lifetime(1))
    assert request.error(ErrorCode(401)).attributes == (ErrorCode(401, ""),)


def test_an_ipv6_address_is_hidden_by_the_transaction_id() -> None:
    address = XorMappedAddress(Address.of("2001:db8::1", 1))
    first = Message.request(Method.BINDING, ID).success(address).encode()
    second = Message.request(Method.BINDING, ID[::-1]).success(address).encode()
    assert first[24:32] == second[24:32]
    assert first[32:] != second[32:]
    assert Message.parse(first).get(XorMappedAddress) == address
    assert Message.parse(second).get(XorMappedAddress) == address


@pytest.mark.parametrize("length", [0, 11, 13, 15, 17])
def test_a_transaction_id_of_another_length_is_refused_to_its_sender(length: int) -> None:
    with pytest.raises(MisuseError, match="transaction id"):
        Message.request(Method.BINDING, bytes(length)).encode()


@pytest.mark.parametrize("method", [-1, 0x1000])
def test_a_method_that_does_not_fit_is_refused_to_its_sender(method: int) -> None:
    with pytest.raises(MisuseError, match="method"):
        Message.request(method, ID).encode()


def test_a_key_is_never_shown() -> None:
    assert "a key" not in repr(IntegrityKey(b"a key"))
