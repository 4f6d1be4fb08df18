import pytest

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import SipUri
from sip_proxy.identity import Identity
from sip_proxy.servers import server_named_by
from sip_proxy.settings import Listener, Settings
from sipdns import Locator

OURS = (
    Listener(Transport.UDP, Address("192.0.2.1", 5060)),
    Listener(Transport.TCP, Address("192.0.2.1", 5060)),
    Listener(Transport.TLS, Address("2001:db8::1", 5061)),
)
IDENTITY = Identity(Settings(OURS, frozenset({"example.org"})))


@pytest.mark.parametrize(
    "text",
    [
        "sip:192.0.2.7",
        "sip:bob@192.0.2.7:5070",
        "sip:bob@192.0.2.7;transport=UDP;lr",
        "sip:192.0.2.7:65535;%6cr",
    ],
)
def test_an_address_is_its_own_server_as_the_procedure_of_rfc_3263_has_it(text: str) -> None:
    named = server_named_by(SipUri.parse(text), IDENTITY)
    locator = Locator(transports=[listener.transport for listener in OURS])
    found = locator.locate_known(text)
    assert found is not None
    (target,) = found
    assert named == Target(target.transport, target.address, target.host, target.tls_name)


@pytest.mark.parametrize(
    "text",
    [
        "sip:example.org",
        "sips:192.0.2.7",
        "sip:192.0.2.7;transport=tcp",
        "sip:192.0.2.7;Transport=WS",
        "sip:192.0.2.7;%74ransport=tcp",
        "sip:192.0.2.7;maddr=192.0.2.8",
        "sip:192.0.2.7:0",
        "sip:[2001:db8::7]",
    ],
)
def test_of_everything_else_somebody_is_asked(text: str) -> None:
    assert server_named_by(SipUri.parse(text), IDENTITY) is None
