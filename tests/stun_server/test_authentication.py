"""The long-term credential mechanism, step by step (RFC 8489 §9.2.4)."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import Failure, Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ErrorCode,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    RequestedTransport,
    UserHash,
    Username,
)
from natkit.stun.credentials import (
    MD5,
    NONCE_COOKIE_LENGTH,
    SHA_256,
    nonce_cookie,
    nonce_features,
    user_hash,
    verify,
)
from natkit.stun.integrity import IntegrityKey, hmac_sha256
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, Method, PasswordAlgorithmNumber, SecurityFeature
from stun_server.authentication import Credential
from stun_server.events import RequestRefused
from stun_server.pending import MAX_PENDING, PENDING_LIFETIME
from tests.stun_server.world import LISTENER, REALM, SETTINGS, Client, World, code

ALLOCATE = RequestedTransport(17)
MD5_ONLY = replace(SETTINGS, password_algorithms=())


def forge(client: Client, *attributes: Attribute, key: IntegrityKey | None = None) -> Message:
    """An Allocate with exactly these attributes, and its answer."""
    request = Message.request(Method.ALLOCATE, client.transaction_id(), ALLOCATE, *attributes)
    return client.exchange(request.encode(integrity=key))


def assert_challenges(response: Message, expected: int) -> None:
    """A 401 or 438 with all that the client needs, and nothing more."""
    assert response.attributes[0] == ErrorCode(expected)
    kinds = [type(attribute) for attribute in response.attributes[1:]]
    assert kinds == [Realm, Nonce, PasswordAlgorithms]
    assert response.get(PasswordAlgorithms) == PasswordAlgorithms((SHA_256, MD5))


# Step 1: no integrity.


@pytest.mark.parametrize(
    "method", [Method.ALLOCATE, Method.REFRESH, Method.CREATE_PERMISSION, Method.CHANNEL_BIND]
)
def test_a_request_without_integrity_is_challenged(method: Method) -> None:
    world = World()
    assert_challenges(world.client().challenge(method), 401)
    assert world.lookups == []
    assert world.events == []


@pytest.mark.parametrize("realm", ["r", "re", "rea", "example.org", "r" * 60])
def test_a_challenge_has_at_most_80_bytes_and_its_realm(realm: str) -> None:
    client = World(replace(SETTINGS, realm=realm)).client()
    request = Message.request(Method.ALLOCATE, client.transaction_id(), ALLOCATE)
    (answer,) = client.send(request.encode())
    assert len(answer.data) <= 80 + len(realm)


def test_the_nonce_tells_the_features_at_both_ends() -> None:
    nonce = World().client().challenge().get(Nonce)
    assert nonce is not None
    assert nonce.value.startswith(b"obMatJos2wAAD")
    assert nonce_features(nonce.value) == (
        SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY
    )


def test_without_anonymity_and_algorithms_the_cookie_has_no_bits() -> None:
    world = World(replace(MD5_ONLY, username_anonymity=False))
    response = world.client().challenge()
    nonce = response.get(Nonce)
    assert nonce is not None
    assert nonce.value.startswith(b"obMatJos2AAAA")
    assert response.get(PasswordAlgorithms) is None


@pytest.mark.parametrize("anonymity", [False, True])
@pytest.mark.parametrize("algorithms", [False, True])
def test_each_bit_of_the_nonce_tells_of_one_feature_and_of_no_other(
    algorithms: bool, anonymity: bool
) -> None:
    settings = SETTINGS if algorithms else MD5_ONLY
    world = World(replace(settings, username_anonymity=anonymity))
    response = world.client().challenge()
    nonce = response.get(Nonce)
    assert nonce is not None
    features = nonce_features(nonce.value)
    assert features is not None
    assert (SecurityFeature.PASSWORD_ALGORITHMS in features) is algorithms
    assert (SecurityFeature.USERNAME_ANONYMITY in features) is anonymity
    # What the bits tell of is there, and what they do not tell of is not.
    assert (response.get(PasswordAlgorithms) is not None) is algorithms
    for hashed in (False, True):
        client = world.client(port=50000 + hashed)
        client.anonymous = hashed
        client.algorithm = PasswordAlgorithmNumber.SHA_256 if algorithms else None
        answer = client.request(Method.ALLOCATE, ALLOCATE)
        assert code(answer) == (400 if hashed and not anonymity else None)


@pytest.mark.parametrize(
    "bit", [SecurityFeature.PASSWORD_ALGORITHMS, SecurityFeature.USERNAME_ANONYMITY]
)
def test_a_bit_that_was_turned_over_makes_a_nonce_stale(bit: SecurityFeature) -> None:
    for settings in (SETTINGS, replace(MD5_ONLY, username_anonymity=False)):
        client = World(settings).client()
        client.challenge()
        assert client.nonce is not None
        features = nonce_features(client.nonce)
        assert features is not None
        client.nonce = nonce_cookie(features ^ bit) + client.nonce[NONCE_COOKIE_LENGTH:]
        assert code(client.request(Method.ALLOCATE, ALLOCATE)) == 438


def test_two_addresses_never_get_the_same_nonce() -> None:
    world = World()
    nonces = set()
    for host in ("192.0.2.1", "192.0.2.2", "2001:db8::9"):
        for port in range(1000, 1050):
            nonces.add(world.client(host, port).challenge().get(Nonce))
    assert len(nonces) == 150


# Step 2: integrity without what belongs to it.


@pytest.mark.parametrize("missing", [Username, Realm, Nonce])
def test_integrity_without_its_attributes_is_a_bad_request(missing: type[Attribute]) -> None:
    client = World().client()
    rest = [each for each in client.credentials() if not isinstance(each, missing)]
    response = forge(client, *rest, key=client.key())
    assert response.attributes == (ErrorCode(400),)


def test_a_userhash_counts_as_username_only_where_it_was_offered() -> None:
    client = World(replace(SETTINGS, username_anonymity=False)).client()
    client.anonymous = True
    assert code(forge(client, *client.credentials(), key=client.key())) == 400


# The nonce, which is judged before anything is looked up.


def test_a_stale_nonce_is_replaced() -> None:
    world = World()
    client = world.client()
    client.challenge()
    world.wait(SETTINGS.nonce_lifetime - 1)
    client.allocate()
    world.wait(2)
    response = client.permit(Address("8.8.8.8", 1))
    assert_challenges(response, 438)
    nonce = response.get(Nonce)
    assert nonce is not None
    client.nonce = nonce.value
    assert code(client.permit(Address("8.8.8.8", 1))) is None


def test_a_nonce_is_good_for_its_own_address_and_port_only() -> None:
    world = World()
    owner = world.client("192.0.2.7", 1000)
    owner.challenge()
    for host, port in (("192.0.2.7", 1001), ("192.0.2.8", 1000)):
        thief = world.client(host, port)
        thief.nonce = owner.nonce
        assert_challenges(forge(thief, *thief.credentials(), key=thief.key()), 438)
    assert world.lookups == []


@pytest.mark.parametrize("nonce", [b"", b"x", b"obMatJos2", b"\xff" * 28, b"obMatJos2AAAA" * 9])
def test_a_nonce_of_somebody_else_is_stale(nonce: bytes) -> None:
    world = World()
    client = world.client()
    client.nonce = nonce
    assert_challenges(forge(client, *client.credentials(), key=client.key()), 438)


def test_every_byte_of_the_nonce_counts() -> None:
    world = World()
    client = world.client()
    client.challenge()
    good = client.nonce
    assert good is not None
    for index in range(len(good)):
        flipped = bytearray(good)
        flipped[index] ^= 1
        client.nonce = bytes(flipped)
        assert_challenges(forge(client, *client.credentials(), key=client.key()), 438)
    assert world.lookups == []


def test_a_nonce_of_other_settings_is_stale() -> None:
    before = World(MD5_ONLY).client()
    before.challenge()
    for settings in (
        SETTINGS,
        replace(MD5_ONLY, realm="x"),
        replace(MD5_ONLY, nonce_key=b"k" * 16),
    ):
        after = World(settings).client()
        after.nonce = before.nonce
        assert code(forge(after, *after.credentials(), key=after.key())) == 438


def test_a_nonce_outlives_a_restart() -> None:
    before = World().client()
    before.challenge()
    after = World(seed=2).client()
    after.nonce = before.nonce
    after.allocate()


# Step 3: the password algorithms.


@pytest.mark.parametrize("algorithm", [None, *PasswordAlgorithmNumber])
def test_every_kind_of_client_is_authenticated(algorithm: PasswordAlgorithmNumber | None) -> None:
    client = World().client(algorithm=algorithm)
    client.challenge()
    data = client.form(Method.ALLOCATE, ALLOCATE)
    response = client.exchange(data)
    assert code(response) is None
    expected = Integrity.SHA1 if algorithm is None else Integrity.SHA256
    assert verify(response, client.key().key) is expected
    assert (response.get(MessageIntegrity) is None) is (algorithm is not None)


@pytest.mark.parametrize(
    "algorithms",
    [
        (SHA_256,),
        (PasswordAlgorithms((SHA_256, MD5)),),
        (PasswordAlgorithms((MD5,)), MD5),
        (PasswordAlgorithms((MD5, SHA_256)), MD5),
        (PasswordAlgorithms((SHA_256, MD5)), PasswordAlgorithm(7)),
        (PasswordAlgorithms((SHA_256, MD5)), PasswordAlgorithm(2, b"parameters")),
        (PasswordAlgorithms(()), MD5),
    ],
)
def test_algorithms_that_were_not_offered_are_a_bad_request(
    algorithms: tuple[Attribute, ...],
) -> None:
    world = World()
    client = world.client()
    response = forge(client, *client.credentials(), *algorithms, key=client.key())
    assert response.attributes == (ErrorCode(400),)
    assert world.lookups == []


def test_algorithms_mean_nothing_to_a_server_that_offers_none() -> None:
    client = World(MD5_ONLY).client()
    response = forge(
        client, *client.credentials(), PasswordAlgorithms((MD5,)), MD5, key=client.key()
    )
    assert code(response) is None


# Step 4: the username.


def test_an_unknown_user_is_challenged() -> None:
    world = World()
    client = world.client(username="mallory")
    response = client.request(Method.ALLOCATE, ALLOCATE)
    assert_challenges(response, 401)
    (refused,) = world.take_events(RequestRefused)
    assert (refused.code, refused.reason, refused.username) == (401, "unknown user", "mallory")


def test_a_userhash_names_the_user() -> None:
    world = World()
    client = world.client(algorithm=PasswordAlgorithmNumber.SHA_256)
    client.anonymous = True
    client.allocate()
    assert (world.lookups[0].username, world.lookups[0].realm) == (None, REALM)
    assert world.lookups[0].userhash == user_hash("alice", REALM)


def test_another_realm_has_none_of_our_users() -> None:
    client = World().client()
    client.challenge()
    assert client.nonce is not None
    attributes = (Username("alice"), Realm("other.example"), Nonce(client.nonce))
    assert_challenges(forge(client, *attributes, key=client.key()), 401)


def test_a_user_without_a_key_for_the_algorithm_is_challenged() -> None:
    world = World()
    known = world.users["alice"]
    world.users["alice"] = Credential("alice", known.md5, None)
    client = world.client(algorithm=PasswordAlgorithmNumber.SHA_256)
    assert code(client.request(Method.ALLOCATE, ALLOCATE)) == 401
    client.algorithm = PasswordAlgorithmNumber.MD5
    assert code(client.request(Method.ALLOCATE, ALLOCATE)) is None


def test_a_store_that_is_down_is_a_server_error() -> None:
    world = World()
    world.store_failure = Failure("no connection")
    response = world.client().request(Method.ALLOCATE, ALLOCATE)
    assert response.attributes == (ErrorCode(500),)
    (refused,) = world.take_events(RequestRefused)
    assert refused.reason == "no connection"


# Step 5: the integrity.


@pytest.mark.parametrize("algorithm", [None, *PasswordAlgorithmNumber])
def test_a_wrong_password_is_challenged(algorithm: PasswordAlgorithmNumber | None) -> None:
    world = World()
    client = world.client(algorithm=algorithm)
    client.password = "guess"
    assert_challenges(client.request(Method.ALLOCATE, ALLOCATE), 401)
    assert len(world.server.allocations) == 0
    (refused,) = world.take_events(RequestRefused)
    assert refused.reason == "wrong password"


def test_a_truncated_hmac_proves_nothing() -> None:
    client = World().client(algorithm=PasswordAlgorithmNumber.SHA_256)
    whole = Message.request(
        Method.ALLOCATE, client.transaction_id(), ALLOCATE, *client.credentials()
    )
    body = whole.encode()
    covered = body[:2] + (len(body) - 20 + 4 + 16).to_bytes(2, "big") + body[4:]
    mac = hmac_sha256(client.key().key, covered)[:16]
    response = client.exchange(covered + b"\x00\x1c\x00\x10" + mac)
    assert code(response) == 401


def test_sha256_decides_where_both_are_present() -> None:
    client = World().client(algorithm=PasswordAlgorithmNumber.SHA_256)
    key = client.key().key
    good = forge(client, *client.credentials(), key=IntegrityKey(key, Integrity.BOTH))
    assert code(good) is None
    other = World().client(algorithm=PasswordAlgorithmNumber.SHA_256)
    message = Message.request(
        Method.ALLOCATE, other.transaction_id(), ALLOCATE, *other.credentials()
    ).encode(integrity=IntegrityKey(key, Integrity.BOTH))
    assert code(other.exchange(message[:-1] + bytes([message[-1] ^ 1]))) == 401


def test_a_changed_request_is_challenged() -> None:
    client = World().client()
    data = bytearray(client.form(Method.ALLOCATE, ALLOCATE))
    data[25] ^= 1
    assert_challenges(client.exchange(bytes(data)), 401)


# What authenticated and unauthenticated answers carry.


def test_authenticated_errors_have_a_phrase_and_integrity() -> None:
    client = World().client()
    response = client.request(Method.REFRESH)
    assert response.get(ErrorCode) == ErrorCode(437, "Allocation Mismatch")
    assert verify(response, client.key().key) is Integrity.SHA1


def test_software_is_told_to_users_and_in_allocate_and_refresh_alone() -> None:
    world = World(replace(SETTINGS, software="natkit"))
    client = world.client()
    assert b"natkit" not in client.challenge().encode()
    assert b"natkit" in client.request(Method.ALLOCATE, ALLOCATE).encode()
    assert b"natkit" in client.request(Method.REFRESH).encode()
    assert b"natkit" not in client.permit(Address("8.8.8.8", 1)).encode()


def test_an_allocation_needs_no_second_lookup() -> None:
    world = World()
    for number, algorithm in enumerate((None, *PasswordAlgorithmNumber)):
        client = world.client(port=41000 + number, algorithm=algorithm)
        client.allocate()
        client.request(Method.REFRESH)
        client.anonymous = True
        assert code(client.request(Method.REFRESH)) is None
        assert len(world.lookups) == number + 1


def test_another_user_gets_nothing_from_an_allocation() -> None:
    world = World()
    client = world.client()
    client.allocate()
    client.username = "bob"
    response = client.request(Method.REFRESH)
    assert response.get(ErrorCode) == ErrorCode(441, "Wrong Credentials")
    client.username = "mallory"
    assert code(client.request(Method.REFRESH)) == 401


# Waiting for the store.


def test_a_retransmission_does_not_ask_the_store_again() -> None:
    world = World()
    world.hold_lookups = True
    client = world.client()
    data = client.form(Method.ALLOCATE, ALLOCATE)
    assert client.send(data) == []
    assert client.send(data) == []
    (lookup,) = world.lookups
    world.answer_lookup(lookup)
    (answer,) = world.drain()
    assert code(Message.parse(answer.data)) is None


def test_waiting_lookups_are_bounded() -> None:
    world = World()
    world.hold_lookups = True
    for number in range(MAX_PENDING + 5):
        client = world.client(port=1024 + number)
        assert client.send(client.form(Method.ALLOCATE, ALLOCATE)) == []
    assert len(world.lookups) == MAX_PENDING
    answers = world.wait(PENDING_LIFETIME)
    assert len(answers) == MAX_PENDING
    assert {code(Message.parse(answer.data)) for answer in answers} == {500}
    client = world.client(port=1023)
    world.hold_lookups = False
    client.allocate()


def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    world = World()
    world.hold_lookups = True
    client = world.client()
    client.send(client.form(Method.ALLOCATE, ALLOCATE))
    world.wait(PENDING_LIFETIME)
    world.answer_lookup(world.lookups[0])
    assert world.drain() == []
    assert len(world.server.allocations) == 0


def test_a_lost_connection_takes_its_lookup_with_it() -> None:
    world = World()
    world.hold_lookups = True
    client = world.client(transport=Transport.TCP)
    client.send(client.form(Method.ALLOCATE, ALLOCATE))
    world.server.disconnected(client.path, world.now)
    world.answer_lookup(world.lookups[0])
    assert world.drain() == []
    assert len(world.server.allocations) == 0


def test_unauthenticated_packets_leave_nothing_behind() -> None:
    world = World()
    for port in range(1, 3000):
        # So many that their sources would not all be answered if they were one.
        path = Path(Transport.UDP, LISTENER, Address(f"192.{port >> 8}.{port & 255}.9", port))
        request = Message.request(Method.ALLOCATE, world.random.randbytes(12), ALLOCATE)
        assert len(world.receive(request.encode(), path)) == 1
    assert world.server.next_deadline() is None
    assert world.events == []
    assert len(world.server.allocations.answers) == 0


def test_userhash_bytes_are_never_a_username() -> None:
    client = World().client()
    client.challenge()
    assert client.nonce is not None
    attributes = (UserHash(bytes(32)), Realm(REALM), Nonce(client.nonce))
    assert_challenges(forge(client, *attributes, key=client.key()), 401)


def test_the_sha256_of_a_wrong_key_is_not_read_as_sha1() -> None:
    client = World().client()
    response = forge(client, *client.credentials(), key=IntegrityKey(bytes(16), Integrity.SHA256))
    assert code(response) == 401
    assert response.get(MessageIntegritySha256) is None
