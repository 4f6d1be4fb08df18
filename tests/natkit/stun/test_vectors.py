"""The messages of RFC 5769 and RFC 8489 Appendix B: read, proven, and written again."""

import pytest

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.stun.attributes import (
    Attribute,
    Fingerprint,
    IceControlled,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    Priority,
    Realm,
    Software,
    UserHash,
    Username,
    XorMappedAddress,
)
from natkit.stun.credentials import (
    SHA_256,
    long_term_key,
    nonce_features,
    short_term_key,
    user_hash,
    verify,
)
from natkit.stun.integrity import IntegrityKey, hmac_sha256
from natkit.stun.message import Message
from natkit.stun.registry import (
    Integrity,
    MessageClass,
    Method,
    PasswordAlgorithmNumber,
    SecurityFeature,
)
from tests.vectors import stun as vectors
from tests.vectors.stun import Vector


def without_proof(message: Message) -> Message:
    kept: tuple[Attribute, ...] = tuple(
        each
        for each in message.attributes
        if not isinstance(each, MessageIntegrity | MessageIntegritySha256 | Fingerprint)
    )
    return Message(message.method, message.message_class, message.transaction_id, kept)


@pytest.mark.parametrize("vector", vectors.SHORT_TERM, ids=lambda vector: vector.source)
def test_short_term_vectors_are_proven_by_their_password_only(vector: Vector) -> None:
    message = Message.parse(vector.data)
    assert verify(message, short_term_key(vector.password)) is Integrity.SHA1
    assert verify(message, short_term_key(vector.password + "x")) is None


@pytest.mark.parametrize("vector", vectors.SHORT_TERM, ids=lambda vector: vector.source)
@pytest.mark.parametrize("position", [1, 9, 25, 33, 45])
def test_any_change_of_a_fingerprinted_message_is_noticed(vector: Vector, position: int) -> None:
    changed = bytearray(vector.data)
    changed[position] ^= 0x01
    with pytest.raises(MalformedMessage):
        Message.parse(bytes(changed))


def test_the_sample_request_says_what_rfc_5769_says_it_does() -> None:
    message = Message.parse(vectors.REQUEST.data)
    assert message.method == Method.BINDING
    assert message.message_class is MessageClass.REQUEST
    assert message.transaction_id.hex() == "b7e7a701bc34d686fa87dfae"
    assert message.get(Software) == Software("STUN test client")
    assert message.get(Priority) == Priority(0x6E0001FF)
    assert message.get(IceControlled) == IceControlled(0x932FF9B151263B36)
    assert message.get(Username) == Username("evtj:h6vY")
    assert message.get(Fingerprint) == Fingerprint(0xE57A3BCF)


@pytest.mark.parametrize(
    ("vector", "address"),
    [
        (vectors.IPV4_RESPONSE, Address.of("192.0.2.1", 32853)),
        (
            vectors.IPV6_RESPONSE,
            Address.of("2001:db8:1234:5678:11:2233:4455:6677", 32853),
        ),
    ],
    ids=["IPv4", "IPv6"],
)
def test_the_sample_responses_hold_the_mapped_address(vector: Vector, address: Address) -> None:
    message = Message.parse(vector.data)
    assert message.message_class is MessageClass.SUCCESS_RESPONSE
    assert message.get(XorMappedAddress) == XorMappedAddress(address)
    assert message.get(Software) == Software("test vector")


def test_the_long_term_request_is_proven_by_the_md5_key() -> None:
    message = Message.parse(vectors.LONG_TERM_REQUEST.data)
    assert message.get(Username) == Username(vectors.MATRIX_USERNAME)
    assert message.get(Nonce) == Nonce(b"f//499k954d6OL34oL9FSTvy64sA")
    assert message.get(Realm) == Realm(vectors.MATRIX_REALM)
    key = long_term_key(vectors.MATRIX_USERNAME, vectors.MATRIX_REALM, "TheMatrIX")
    assert verify(message, key) is Integrity.SHA1


def test_the_long_term_request_is_written_byte_for_byte() -> None:
    vector = vectors.LONG_TERM_REQUEST
    key = long_term_key(vectors.MATRIX_USERNAME, vectors.MATRIX_REALM, vector.password)
    message = without_proof(Message.parse(vector.data))
    assert message.encode(integrity=IntegrityKey(key)) == vector.data


def sha256_key(vector: Vector) -> bytes:
    return long_term_key(
        vectors.MATRIX_USERNAME,
        vectors.MATRIX_REALM,
        vector.password,
        PasswordAlgorithmNumber.SHA_256,
    )


def test_the_userhash_request_is_proven_and_written_byte_for_byte() -> None:
    vector = vectors.USERHASH_REQUEST
    message = Message.parse(vector.data)
    digest = user_hash(vectors.MATRIX_USERNAME, vectors.MATRIX_REALM)
    assert message.get(UserHash) == UserHash(digest)
    assert message.get(PasswordAlgorithm) == SHA_256
    key = sha256_key(vector)
    assert verify(message, key) is Integrity.SHA256
    again = without_proof(message).encode(integrity=IntegrityKey(key, Integrity.SHA256))
    assert again == vector.data


def test_the_userhash_request_as_printed_counts_its_header_in_its_length() -> None:
    vector = vectors.USERHASH_REQUEST_AS_PRINTED
    with pytest.raises(MalformedMessage, match="disagree with the length"):
        Message.parse(vector.data)
    # Its HMAC is right for the bytes that are printed, wrong length and all.
    assert hmac_sha256(sha256_key(vector), vector.data[:-36]) == vector.data[-32:]


def test_the_feature_of_the_userhash_request_is_seen_from_its_end() -> None:
    nonce = Message.parse(vectors.USERHASH_REQUEST.data).get(Nonce)
    assert nonce is not None
    assert nonce_features(nonce.value) == SecurityFeature.USERNAME_ANONYMITY


def test_messages_without_odd_padding_are_written_as_they_were_read() -> None:
    for vector in (vectors.LONG_TERM_REQUEST, vectors.USERHASH_REQUEST):
        assert Message.parse(vector.data).encode() == vector.data
