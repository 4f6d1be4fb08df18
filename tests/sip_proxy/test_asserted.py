"""Identities at the border of those who trust each other (RFC 3325)."""

import ipaddress
from collections.abc import Iterator

import pytest

from natkit.sip import HeaderField, Request, Response, SipUri
from sip_proxy.gateways import Gateway, GatewaySettings
from sip_proxy.route_rules import RouteRule, ToGateways
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, Phone, ProxyHost, Ringing, settings

ASSERTED = HeaderField.of_text("P-Asserted-Identity", "<sip:king@palace.example>")
PREFERRED = HeaderField.of_text("P-Preferred-Identity", "<sip:queen@palace.example>")
WITHHELD = HeaderField.of_text("Privacy", "header; ID")
STRANGER = "<sip:eve@example.net>;tag=1"


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def identities(message: Request | Response) -> list[str]:
    return [field.text for field in message.headers.fields("P-Asserted-Identity")]


class Office:
    """A proxy that asks for credentials, with bob registered and a gateway for numbers."""

    def __init__(
        self, network: Network, *, gateway_is_trusted: bool = True, **changes: object
    ) -> None:
        self.network = network
        gateway = Gateway(
            "gw",
            "carrier",
            SipUri.parse("sip:192.0.2.20"),
            networks=(ipaddress.ip_network("192.0.2.20"),),
            is_trusted=gateway_is_trusted,
        )
        configured = settings(
            authenticate=True,
            trusted=(ipaddress.ip_network("192.0.2.30"),),
            routes=(RouteRule("out", ToGateways(("carrier",)), prefixes=("+",)),),
            gateways=GatewaySettings((gateway,)),
            **changes,
        )
        self.proxy = ProxyHost(network, configured)
        self.bob = self.user("bob", "192.0.2.11")
        self.alice = self.user("alice", "192.0.2.10")
        self.gateway = Phone(network, "gw", "192.0.2.20", answers=picks_up)
        self.core = Phone(network, "core", "192.0.2.30", answers=picks_up)
        self.eve = Phone(network, "eve", "192.0.2.66")

    def user(self, name: str, address: str) -> Phone:
        phone = Phone(self.network, name, address, answers=picks_up)
        self.proxy.users[name, DOMAIN] = "secret"
        first = phone.register()
        self.network.run_for(1.0)
        phone.authorized(first)
        self.network.run_for(1.0)
        return phone

    def call_of_alice(self, uri: str, *fields: HeaderField) -> None:
        first = self.alice.send(
            "INVITE", uri, *fields, sender=f'"Alice" <sip:alice@{DOMAIN}>;tag=1'
        )
        self.network.run_for(1.0)
        self.alice.authorized(first)
        self.network.run_for(1.0)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(67) as made:
        yield made


def test_what_strangers_and_users_say_is_taken_off(network: Network) -> None:
    office = Office(network)
    office.eve.send("INVITE", office.bob.uri, ASSERTED, PREFERRED, sender=STRANGER)
    network.run_for(1.0)
    office.call_of_alice(office.bob.uri, ASSERTED, PREFERRED)
    invites = [one for one in office.bob.received if one.method == "INVITE"]
    assert [identities(one) for one in invites] == [[], []]
    assert not any(one.headers.has("P-Preferred-Identity") for one in invites)


def test_what_trusted_networks_and_gateways_say_stays(network: Network) -> None:
    office = Office(network)
    for phone in (office.core, office.gateway):
        phone.send("INVITE", office.bob.uri, ASSERTED, sender=STRANGER)
        network.run_for(1.0)
    assert [identities(one) for one in office.bob.received] == [[ASSERTED.text], [ASSERTED.text]]


def test_what_a_gateway_says_that_is_not_trusted_is_taken_off(network: Network) -> None:
    office = Office(network, gateway_is_trusted=False)
    office.gateway.send("INVITE", office.bob.uri, ASSERTED, sender=STRANGER)
    network.run_for(1.0)
    assert identities(office.bob.received[-1]) == []


def test_a_user_who_proved_it_is_named_where_that_is_wished(network: Network) -> None:
    office = Office(network, assert_identity=True)
    office.call_of_alice(office.bob.uri, ASSERTED)
    assert identities(office.bob.received[-1]) == [f'"Alice" <sip:alice@{DOMAIN}>']
    office.eve.send("INVITE", office.bob.uri, sender=STRANGER)
    network.run_for(1.0)
    assert identities(office.bob.received[-1]) == []


def test_who_withholds_it_is_named_to_those_alone_that_are_trusted(network: Network) -> None:
    office = Office(network, assert_identity=True)
    office.call_of_alice(office.bob.uri, WITHHELD)
    assert identities(office.bob.received[-1]) == []
    office.call_of_alice(f"sip:+4930123@{DOMAIN}", WITHHELD)
    assert len(identities(office.gateway.received[-1])) == 1
    office.call_of_alice("sip:x@192.0.2.30", WITHHELD)
    assert len(identities(office.core.received[-1])) == 1


def test_a_gateway_that_is_not_trusted_is_not_told_either(network: Network) -> None:
    office = Office(network, gateway_is_trusted=False, assert_identity=True)
    office.call_of_alice(f"sip:+4930123@{DOMAIN}", WITHHELD)
    assert identities(office.gateway.received[-1]) == []


@pytest.mark.parametrize(("callee", "stays"), [("bob", False), ("core", True)])
def test_what_a_callee_says_stays_if_it_is_trusted(
    network: Network, callee: str, stays: bool
) -> None:
    office = Office(network)

    def answer(phone: Phone, ringing: Ringing) -> None:
        phone.respond(ringing, 200, ASSERTED)

    office.bob.answers = office.core.answers = answer
    uri = office.bob.uri if callee == "bob" else "sip:x@192.0.2.30"
    first = office.alice.invite(uri)
    network.run_for(1.0)
    second = office.alice.authorized(first)
    network.run_for(1.0)
    assert identities(second.responses[-1]) == ([ASSERTED.text] if stays else [])
