import pytest

from natkit.errors import MisuseError
from natkit.sip import HeaderField, Request
from natkit.sip.kinds import CONTENT_LENGTH
from sip_proxy.message_bounds import MessageBounds
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, Phone, ProxyHost, settings

BOUNDS = MessageBounds(message=2_000, body=1_000, field=300, fields=20)


def sent(network: Network, *fields: HeaderField, body: bytes = b"", method: str = "OPTIONS") -> str:
    """The status line that a request of this form is answered by."""
    ProxyHost(network, settings(bounds=BOUNDS))
    alice = Phone(network, "alice", "192.0.2.10")
    built = alice.send(method, f"sip:{DOMAIN}", *fields).request
    network.run_for(1.0)
    headers = built.headers.replace(CONTENT_LENGTH, len(body))
    # In a transaction of its own.
    headers = type(headers)(
        [HeaderField(each.raw.replace(b"z9hG4bK", b"z9hG4bKx"), each.key) for each in headers]
    )
    call = alice.submit(Request(built.method, built.uri_text, headers, body))
    network.run_for(1.0)
    answer = call.responses[-1]
    return f"{answer.status} {answer.reason}"


def padding(size: int, count: int = 1) -> list[HeaderField]:
    return [HeaderField.of_text("X", "x" * (size - len("X: \r\n"))) for _ in range(count)]


def test_a_request_within_all_bounds_is_served(network: Network) -> None:
    assert sent(network, *padding(300, 2), body=bytes(1_000)) == "200 OK"


def test_a_body_too_long_is_413(network: Network) -> None:
    assert sent(network, body=bytes(1_001)).startswith("413 The body has 1001 bytes")


def test_a_message_too_long_is_513(network: Network) -> None:
    assert sent(network, *padding(300, 4), body=bytes(999)) == "513 More than 2000 bytes"


def test_a_field_too_long_is_400(network: Network) -> None:
    assert sent(network, *padding(301)) == "400 A header field has more than 300 bytes"


def test_too_many_fields_are_400(network: Network) -> None:
    assert sent(network, *padding(10, 20)) == "400 More than 20 header fields"


def test_bounds_that_let_nothing_through_are_a_mistake() -> None:
    with pytest.raises(MisuseError):
        MessageBounds(fields=0)
