"""Third-party authorization, by RFC 7635 §4.2 and §9."""

from dataclasses import dataclass, replace

import pytest

from natkit.stun.attributes import (
    Attribute,
    Lifetime,
    MessageIntegrity,
    MessageIntegritySha256,
    MobilityTicket,
    Nonce,
    Realm,
    RequestedTransport,
    ThirdPartyAuthorization,
    Username,
)
from natkit.stun.credentials import verify
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, Method
from natkit.stun.tokens import KEY_LENGTH, Token, TokenKey, seal
from stun_server.access_tokens import TOLERANCE
from stun_server.events import AllocationOpened, RequestRefused
from tests.stun_server.world import REALM, SETTINGS, Client, World, code

UNIX_OFFSET = 1_700_000_000.0
"""What the world adds to its clock."""
NORTH = TokenKey("north", b"n" * KEY_LENGTH)
SOUTH = TokenKey("south", b"s" * KEY_LENGTH)
TAKING = replace(SETTINGS, token_keys=(NORTH, SOUTH))
UDP = RequestedTransport(17)


@dataclass
class Bearer(Client):
    """A client with an access token; ``shows`` false: it relies on the one it showed before."""

    sealing: TokenKey = NORTH
    token: Token | None = None
    server_name: str = REALM
    shows: bool = True
    kid: str = "north"
    mac_key: bytes | None = None

    def issue(self, lifetime: int = 600, *, age: float = 0.0, size: int = 20) -> None:
        """Get a token that was made ``age`` seconds ago."""
        made = self.world.now + UNIX_OFFSET - age
        self.token = Token(self.world.random.randbytes(size), made, lifetime)

    def form(self, method: Method, *attributes: Attribute) -> bytes:
        """A request that shows the token."""
        if self.nonce is None:
            self.challenge()
        assert self.nonce is not None
        assert self.token is not None
        shown: tuple[Attribute, ...] = ()
        if self.shows:
            nonce = self.world.random.randbytes(12)
            shown = (seal(self.token, self.sealing, self.server_name, nonce),)
        message = Message.request(
            method,
            self.transaction_id(),
            *attributes,
            Username(self.kid),
            Realm(REALM),
            Nonce(self.nonce),
            *shown,
        )
        key = self.mac_key or self.token.mac_key
        strong = len(key) >= 32
        return message.encode(
            integrity=IntegrityKey(key, Integrity.SHA256 if strong else Integrity.SHA1)
        )


def bearer(world: World, port: int = 40000, lifetime: int = 600, size: int = 20) -> Bearer:
    client = Bearer(world, world.client(port=port).address)
    client.issue(lifetime, size=size)
    return client


def reasons(world: World) -> list[tuple[int, str]]:
    return [(event.code, event.reason) for event in world.take_events(RequestRefused)]


def granted(response: Message) -> int:
    lifetime = response.get(Lifetime)
    assert lifetime is not None, response
    return lifetime.seconds


def test_a_challenge_says_for_whom_tokens_are_made() -> None:
    assert World(TAKING).client().challenge().get(
        ThirdPartyAuthorization
    ) == ThirdPartyAuthorization(REALM)
    named = World(replace(TAKING, token_server_name="turn.example.org"))
    offer = named.client().challenge().get(ThirdPartyAuthorization)
    assert offer == ThirdPartyAuthorization("turn.example.org")
    assert World().client().challenge().get(ThirdPartyAuthorization) is None


@pytest.mark.parametrize(
    ("size", "attribute"), [(20, MessageIntegrity), (32, MessageIntegritySha256)]
)
def test_a_token_lets_in_and_the_answer_is_signed_alike(
    size: int, attribute: type[MessageIntegrity | MessageIntegritySha256]
) -> None:
    world = World(TAKING)
    client = bearer(world, size=size)
    response = client.request(Method.ALLOCATE, UDP)
    assert code(response) is None
    assert response.get(attribute) is not None
    assert world.lookups == []
    [opened] = world.take_events(AllocationOpened)
    assert opened.username == "oauth:north"
    assert code(client.request(Method.REFRESH)) is None


def test_who_signs_with_the_first_16_bytes_as_coturn_does_is_let_in_and_answered_alike() -> None:
    world = World(TAKING)
    client = bearer(world)
    assert client.token is not None
    client.mac_key = client.token.mac_key[:16]
    response = client.request(Method.ALLOCATE, UDP)
    assert code(response) is None
    assert verify(response, client.mac_key) is Integrity.SHA1
    assert code(client.request(Method.REFRESH)) is None


def test_users_with_passwords_go_on_beside() -> None:
    world = World(TAKING)
    world.client().allocate()
    bearer(world, 40001).allocate()
    assert len(world.server.allocations) == 2


def test_where_no_tokens_are_taken_they_are_nobody() -> None:
    world = World()
    assert code(bearer(world).request(Method.ALLOCATE, UDP)) == 401


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kid": "east"}, "an access token of a key that is not known"),
        ({"sealing": SOUTH}, "an access token that this key did not seal for us"),
        ({"server_name": "other"}, "an access token that this key did not seal for us"),
        ({"mac_key": b"guess" * 4}, "wrong password"),
    ],
)
def test_a_token_that_is_not_good_is_refused_and_the_log_says_why(
    change: dict[str, object], reason: str
) -> None:
    world = World(TAKING)
    client = bearer(world)
    for name, value in change.items():
        setattr(client, name, value)
    response = client.request(Method.ALLOCATE, UDP)
    assert code(response) == 401
    assert response.get(ThirdPartyAuthorization) is not None
    assert reasons(world) == [(401, reason)]
    assert len(world.server.allocations) == 0


@pytest.mark.parametrize(
    ("age", "good"),
    [(0, True), (599, True), (604, True), (605, False), (-604, True), (-605, False)],
)
def test_a_clock_that_is_off_by_five_seconds_is_forgiven(age: int, good: bool) -> None:
    world = World(TAKING)
    client = bearer(world)
    client.issue(600, age=age)
    assert TOLERANCE == 5
    assert (code(client.request(Method.ALLOCATE, UDP)) is None) == good


def test_a_key_counts_in_its_time_alone() -> None:
    now = UNIX_OFFSET + 1000.0
    key = replace(NORTH, not_before=now + 10, until=now + 20)
    world = World(replace(SETTINGS, token_keys=(key,)))
    client = bearer(world)
    assert code(client.request(Method.ALLOCATE, UDP)) == 401
    assert reasons(world) == [(401, "an access token of a key that is not valid now")]
    world.wait(10)
    assert code(client.request(Method.ALLOCATE, UDP)) is None
    world.wait(10)
    assert code(bearer(world, 40001).request(Method.ALLOCATE, UDP)) == 401


def test_no_allocation_outlives_its_token() -> None:
    world = World(TAKING)
    client = bearer(world, lifetime=100)
    assert granted(client.request(Method.ALLOCATE, UDP, Lifetime(3000))) == 100
    world.wait(40)
    assert granted(client.request(Method.REFRESH, Lifetime(3000))) == 60
    world.wait(59)
    assert len(world.server.allocations) == 1
    world.wait(1)
    assert len(world.server.allocations) == 0


def test_a_long_token_leaves_the_servers_own_limits() -> None:
    world = World(TAKING)
    client = bearer(world, lifetime=86_400)
    assert granted(client.request(Method.ALLOCATE, UDP, Lifetime(100_000))) == 3600
    assert granted(client.request(Method.REFRESH)) == 600


def test_a_newer_token_of_the_same_key_lengthens_the_allocations_life() -> None:
    world = World(TAKING)
    client = bearer(world, lifetime=100)
    client.allocate()
    world.wait(90)
    client.issue(1000)
    assert granted(client.request(Method.REFRESH, Lifetime(600))) == 600
    client.shows = False
    world.wait(100)
    assert granted(client.request(Method.REFRESH, Lifetime(600))) == 600


def test_a_token_that_was_shown_once_serves_until_it_expires() -> None:
    world = World(TAKING)
    client = bearer(world, lifetime=100)
    client.allocate()
    client.shows = False
    assert granted(client.request(Method.REFRESH)) == 100
    world.wait(99)
    client.request(Method.REFRESH)
    world.wait(7)
    assert code(client.request(Method.REFRESH)) in (401, 437)


def test_a_token_of_a_newer_key_goes_on_and_a_password_does_not() -> None:
    world = World(TAKING)
    client = bearer(world)
    client.allocate()
    client.sealing, client.kid = SOUTH, "south"
    client.issue(300)
    assert granted(client.request(Method.REFRESH)) == 300
    [allocation] = world.server.allocations
    assert allocation.credential.account.username == "oauth:north"
    assert code(world.client().request(Method.REFRESH)) == 441
    assert code(client.request(Method.REFRESH, Lifetime(0))) is None


def test_a_token_does_not_act_for_a_user_with_a_password() -> None:
    world = World(TAKING)
    world.client().allocate()
    assert code(bearer(world).request(Method.REFRESH)) == 441


def test_a_user_named_like_a_key_is_not_the_key() -> None:
    world = World(TAKING)
    world.users["north"] = replace(world.users["alice"], username="north")
    client = bearer(world)
    client.allocate()
    assert code(world.client(username="north").request(Method.REFRESH)) in (401, 441)


def test_what_a_key_lets_in_counts_together() -> None:
    world = World(replace(TAKING, allocations_per_user=1))
    bearer(world).allocate()
    assert code(bearer(world, 40001).request(Method.ALLOCATE, UDP)) == 486


def test_a_token_whose_nonce_is_said_to_be_longer_than_it_is_dropped() -> None:
    world = World(TAKING)
    client = bearer(world)
    data = client.form(Method.ALLOCATE, UDP)
    at = data.index(b"\x00\x0c", data.index(b"\x00\x1b"))
    assert client.send(data[:at] + b"\xff\xff" + data[at + 2 :]) == []
    assert world.server.malformed == 1


def test_an_allocation_moves_with_its_token() -> None:
    world = World(TAKING)
    client = bearer(world)
    ticket = client.request(Method.ALLOCATE, UDP, MobilityTicket(b"")).get(MobilityTicket)
    assert ticket is not None
    there = bearer(world, 41000, lifetime=1000)
    assert code(there.request(Method.REFRESH, ticket)) is None
    assert code(world.client(port=42000).request(Method.REFRESH, ticket)) == 441


def test_the_plain_challenge_is_the_general_one() -> None:
    world = World(TAKING)
    client = world.client()
    plain = Message.request(Method.ALLOCATE, client.transaction_id(), UDP).encode()
    response = client.exchange(plain)
    assert code(response) == 401
    assert response.get(ThirdPartyAuthorization) is not None
