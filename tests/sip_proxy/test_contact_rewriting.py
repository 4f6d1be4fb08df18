"""Contacts with the address that a phone was seen at, by option, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip import HeaderField, Headers, NameAddress, Request, SipUri, parse_absolute_uri
from natkit.sip.kinds import CONTACT
from sip_proxy.contact_rewriting import restored, seen_at
from sip_proxy.nat import NatSettings
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_callee,
    settings,
)

BOB = f"sip:bob@{DOMAIN}"
OUTSIDE = "198.51.100.1"


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


def contact_of(message: Request) -> SipUri:
    found = message.headers.first(CONTACT)
    assert isinstance(found, NameAddress)
    assert isinstance(found.uri, SipUri)
    return found.uri


class Call:
    """alice, outside, and bob, behind a NAT."""

    def __init__(self, network: Network, *, rewrite: bool, transport: Transport) -> None:
        self.network = network
        ProxyHost(network, settings(nat=NatSettings(rewrite_contacts=rewrite)))
        nat = network.nat("nat", OUTSIDE)
        self.alice = Phone(network, "alice", "192.0.2.10", answers=picks_up)
        self.bob = Phone(
            network, "bob", "10.0.0.2", behind=nat, transport=transport, answers=picks_up
        )
        self.alice.register()
        self.bob.register()
        network.run_for(1.0)


@pytest.fixture(params=[Transport.UDP, Transport.TCP])
def call(network: Network, request: pytest.FixtureRequest) -> Call:
    return Call(network, rewrite=True, transport=request.param)


def test_who_is_called_sees_the_outside_and_hangs_up_on_the_inside(call: Call) -> None:
    made = call.bob.invite(call.alice.uri)
    call.network.run_for(1.0)
    call.bob.acknowledge(made)
    call.network.run_for(1.0)
    invite = call.alice.received[0]
    assert contact_of(invite).host == OUTSIDE
    bye = call.alice.within(dialog_of_callee(call.alice, invite), "BYE")
    call.network.run_for(1.0)
    assert bye.statuses == [200]
    assert call.bob.received[-1].uri_text == call.bob.contact


def test_who_calls_sees_the_outside_and_its_requests_reach_the_inside(call: Call) -> None:
    made = call.alice.invite(BOB)
    call.network.run_for(1.0)
    dialog = call.alice.acknowledge(made)
    call.network.run_for(1.0)
    assert SipUri.parse(dialog.target).host == OUTSIDE
    assert [ack.uri_text for ack in call.bob.acks] == [call.bob.contact]
    assert call.alice.within_after(call.network, dialog, "BYE").statuses == [200]
    assert call.bob.received[-1].uri_text == call.bob.contact


def test_without_the_option_contacts_stay_as_they_are(network: Network) -> None:
    call = Call(network, rewrite=False, transport=Transport.UDP)
    made = call.alice.invite(BOB)
    network.run_for(1.0)
    dialog = call.alice.acknowledge(made)
    assert dialog.target == call.bob.contact


def test_a_phone_that_is_where_it_says_is_left_alone(network: Network) -> None:
    call = Call(network, rewrite=True, transport=Transport.UDP)
    made = call.alice.invite(BOB)
    network.run_for(1.0)
    assert contact_of(call.bob.received[0]).host == "192.0.2.10"
    assert made.statuses == [180, 200]


def test_a_name_is_nobody_s_address(network: Network) -> None:
    call = Call(network, rewrite=True, transport=Transport.UDP)
    named = HeaderField.of_text("Contact", "<sip:bob@phone.example>")
    call.bob.send("INVITE", call.alice.uri, named)
    network.run_for(1.0)
    assert contact_of(call.alice.received[0]).host == "phone.example"


def test_elsewhere_than_along_a_flow_nothing_is_undone(network: Network) -> None:
    ProxyHost(network, settings(nat=NatSettings(rewrite_contacts=True)))
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11")
    written = f"{bob.contact};natkit-was=192.0.2.99~5060"
    alice.send("MESSAGE", written)
    network.run_for(1.0)
    assert [request.uri_text for request in bob.received] == [written]


@given(
    host=st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")),
    port=st.none() | st.integers(1, 65535),
    parameters=st.sampled_from(["", ";transport=tcp", ";ob;x=%20y"]),
    remote=st.ip_addresses().map(str),
)
def test_what_is_undone_is_what_was_done(
    host: str, port: int | None, parameters: str, remote: str
) -> None:
    uri = f"sip:b@{host}{'' if port is None else f':{port}'}{parameters}"
    contact = HeaderField.of_text("Contact", f'"B" <{uri}>;q=0.5')
    seen = seen_at(Headers([contact]), Address(remote, 4000))
    outside = contact_of(Request("INVITE", "sip:a@example.org", seen))
    assert outside.port == 4000 or outside == parse_absolute_uri(uri)
    assert str(restored(parse_absolute_uri(str(outside)))) == uri


@pytest.mark.parametrize("was", ["~", "no host~1", "10.0.0.1~x", "10.0.0.1~123456", "a,b"])
def test_what_nobody_of_us_wrote_is_left_as_it_is(was: str) -> None:
    uri = SipUri.build("192.0.2.1", user="b", parameters={"natkit-was": was})
    assert restored(uri) == uri
