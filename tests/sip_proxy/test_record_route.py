"""The URIs by which a proxy is found again, for each transport."""

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip import Scheme, SipUri
from sip_proxy.identity import Identity
from sip_proxy.record_route import uri_of
from sip_proxy.settings import Listener, Settings

NAME = "sip.example.org"


@pytest.mark.parametrize(
    ("transport", "port", "scheme", "text"),
    [
        (Transport.UDP, 5060, Scheme.SIP, "sip:sip.example.org;lr"),
        (Transport.TCP, 5070, Scheme.SIP, "sip:sip.example.org:5070;transport=tcp;lr"),
        (Transport.TLS, 5061, Scheme.SIP, "sip:sip.example.org;transport=tls;lr"),
        (Transport.TLS, 5061, Scheme.SIPS, "sips:sip.example.org;lr"),
        (Transport.WS, 80, Scheme.SIP, "sip:sip.example.org;transport=ws;lr"),
        # A URI has no "wss": in a sip URI "ws" would mean port 80.
        (Transport.WSS, 443, Scheme.SIP, "sip:sip.example.org:443;transport=ws;lr"),
        (Transport.WSS, 443, Scheme.SIPS, "sips:sip.example.org;transport=ws;lr"),
        (Transport.WSS, 8443, Scheme.SIPS, "sips:sip.example.org:8443;transport=ws;lr"),
    ],
)
def test_a_listener_is_known_again_by_the_uri_that_leads_to_it(
    transport: Transport, port: int, scheme: Scheme, text: str
) -> None:
    listener = Listener(transport, Address("192.0.2.5", port), NAME)
    uri = uri_of(listener, scheme)
    assert str(uri) == text
    identity = Identity(Settings((listener,)))
    assert identity.is_ours(SipUri.parse(text))
    assert not identity.is_ours(SipUri.parse(text.replace(NAME, "other.example.org")))
