"""Several realms on one server: who is challenged for which, and what holds in each."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.attributes import Lifetime, Nonce, Realm, RequestedTransport
from natkit.stun.message import Message
from natkit.stun.registry import Method, PasswordAlgorithmNumber
from stun_server.events import FindCredential
from stun_server.settings import RealmChoice, Settings
from tests.stun_server.world import (
    LISTENER,
    REALM,
    SETTINGS,
    Client,
    World,
    code,
    credential,
)

OTHER_LISTENER = Address("198.51.100.1", 443)
SHOP = "shop.example"
SHOP_ORIGIN = "https://shop.example"
OFFICE = "office.example"
PRIVATE_PEER = Address("10.0.0.7", 5000)
SHOP_SETTINGS = replace(
    SETTINGS,
    realm=SHOP,
    allocations=3,
    allocations_per_user=2,
    default_lifetime=120,
    maximum_lifetime=300,
    permissions_per_allocation=1,
    password_algorithms=(),
    username_anonymity=False,
    strict_expiry=True,
)
OFFICE_SETTINGS = replace(SETTINGS, realm=OFFICE, allowed_peers=(ip_network("10.0.0.0/8"),))
BY_ORIGIN = RealmChoice(SHOP_SETTINGS, origins=frozenset({SHOP_ORIGIN}))
BY_LISTENER = RealmChoice(OFFICE_SETTINGS, listeners=frozenset({(Transport.UDP, OTHER_LISTENER)}))
TWO = replace(SETTINGS, listeners=(LISTENER, OTHER_LISTENER), realms=(BY_ORIGIN, BY_LISTENER))


class Tenants(World):
    """A server whose store knows alice in every realm, by a password of its own in each."""

    def __init__(self, settings: Settings = TWO) -> None:
        super().__init__(settings)
        self.tenants = {
            realm: credential("alice", f"secret of {realm}", realm)
            for realm in (REALM, SHOP, OFFICE)
        }

    def answer_lookup(self, request: FindCredential) -> None:
        found = self.tenants[request.realm] if request.username == "alice" else None
        self.server.answer(request.request_id, found, self.now)

    def of(self, realm: str, port: int = 40000) -> Client:
        """A client of a realm, as the rules of ``TWO`` tell them apart."""
        client = self.client(port=port)
        client.realm, client.password = realm, f"secret of {realm}"
        client.origin = SHOP_ORIGIN if realm == SHOP else None
        client.listener = OTHER_LISTENER if realm == OFFICE else LISTENER
        return client


def realm_of(response: Message) -> str:
    realm = response.get(Realm)
    assert realm is not None
    return realm.value


@pytest.mark.parametrize("realm", [REALM, SHOP, OFFICE])
def test_a_client_is_challenged_for_its_realm_and_let_in_by_its_user(realm: str) -> None:
    client = Tenants().of(realm)
    assert realm_of(client.challenge()) == realm
    assert client.allocate()


@pytest.mark.parametrize("realm", [REALM, SHOP, OFFICE])
def test_the_password_of_another_realm_is_wrong(realm: str) -> None:
    client = Tenants().of(realm)
    client.password = f"secret of {SHOP if realm != SHOP else REALM}"
    assert code(client.request(Method.ALLOCATE, RequestedTransport(17))) == 401


def test_an_origin_that_no_realm_has_leads_to_the_listeners_realm() -> None:
    world = Tenants()
    for listener, realm in ((LISTENER, REALM), (OTHER_LISTENER, OFFICE)):
        client = world.client()
        client.listener, client.origin = listener, "https://elsewhere.example"
        assert realm_of(client.challenge()) == realm


def test_a_realm_with_listeners_and_origins_wants_both() -> None:
    both = replace(BY_LISTENER, origins=frozenset({SHOP_ORIGIN}))
    world = Tenants(replace(TWO, realms=(both,)))
    client = world.client()
    for listener, origin, realm in (
        (OTHER_LISTENER, SHOP_ORIGIN, OFFICE),
        (OTHER_LISTENER, None, REALM),
        (LISTENER, SHOP_ORIGIN, REALM),
    ):
        client.listener, client.origin = listener, origin
        assert realm_of(client.challenge()) == realm


def test_a_client_that_sends_its_origin_once_goes_on_in_that_realm() -> None:
    client = Tenants().of(SHOP)
    client.challenge()
    client.origin = None
    client.allocate()
    assert code(client.permit(Address("8.8.8.8", 1))) is None


def test_what_follows_an_allocation_belongs_to_its_realm_whatever_it_sends() -> None:
    client = Tenants().of(SHOP)
    client.allocate()
    client.origin = "https://elsewhere.example"
    assert code(client.request(Method.REFRESH)) is None


def test_a_nonce_of_one_realm_is_stale_in_another() -> None:
    world = Tenants()
    shop, default = world.of(SHOP), world.of(REALM)
    shop.challenge()
    # The same address, so that the realm alone makes the difference.
    default.nonce = shop.nonce
    assert code(default.request(Method.ALLOCATE, RequestedTransport(17))) == 438


def test_each_realm_offers_what_its_users_have() -> None:
    world = Tenants()
    world.of(SHOP).challenge()
    client = world.of(SHOP)
    client.challenge()
    assert client.offered is None
    office = world.of(OFFICE)
    office.algorithm, office.anonymous = PasswordAlgorithmNumber.SHA_256, False
    assert office.allocate()
    nonces = [world.of(realm).challenge().get(Nonce) for realm in (SHOP, OFFICE)]
    assert all(nonces)
    assert len({each.value[:13] for each in nonces if each is not None}) == 2


def test_each_realm_has_its_peers() -> None:
    world = Tenants()
    for realm, expected in ((REALM, 403), (SHOP, 403), (OFFICE, None)):
        client = world.of(realm)
        client.allocate()
        assert code(client.permit(PRIVATE_PEER)) == expected
        client.request(Method.REFRESH, Lifetime(0))


def test_each_realm_has_its_lifetimes() -> None:
    world = Tenants()
    for port, realm, granted in ((1, REALM, 3600), (2, SHOP, 300)):
        client = world.of(realm, port)
        client.allocate()
        lifetime = client.request(Method.REFRESH, Lifetime(100_000)).get(Lifetime)
        assert lifetime is not None
        assert lifetime.seconds == granted


def test_each_realm_has_its_limits_and_one_does_not_use_up_anothers() -> None:
    world = Tenants()
    clients = [world.of(SHOP, 40000 + number) for number in range(3)]
    for client in clients[:2]:
        client.allocate()
    assert code(clients[2].request(Method.ALLOCATE, RequestedTransport(17))) == 486
    # The user of the same name in another realm is somebody else.
    world.of(REALM, 41000).allocate()
    assert code(clients[0].permit(Address("8.8.8.8", 1))) is None
    assert code(clients[0].permit(Address("9.9.9.9", 1))) == 508


def test_a_realms_allocations_are_counted_over_its_users() -> None:
    shop = replace(SHOP_SETTINGS, allocations=1)
    world = Tenants(replace(TWO, realms=(replace(BY_ORIGIN, settings=shop),)))
    world.of(SHOP, 40000).allocate()
    assert code(world.of(SHOP, 40001).request(Method.ALLOCATE, RequestedTransport(17))) == 508
    world.of(REALM, 40002).allocate()


def test_a_freed_allocation_is_free_for_its_realm_again() -> None:
    shop = replace(SHOP_SETTINGS, allocations=1)
    world = Tenants(replace(TWO, realms=(replace(BY_ORIGIN, settings=shop),)))
    first = world.of(SHOP)
    for _ in range(3):
        first.allocate()
        first.request(Method.REFRESH, Lifetime(0))
