"""What credentials protect: the request line alone, or the body too (RFC 7616 §3.4, RFC 8760)."""

from collections.abc import Iterator

import pytest

from natkit.sip import HeaderField
from natkit.sip.digest import (
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
    Challenge,
    Qop,
)
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, Call, Phone, ProxyHost, settings

BODY = b"hello"
BOTH = (Qop.AUTH, Qop.AUTH_INT)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(76) as made:
        yield made


def proxy_and_alice(network: Network, *offered: Qop) -> tuple[ProxyHost, Phone]:
    proxy = ProxyHost(network, settings(authenticate=True, qop=offered))
    proxy.users["alice", DOMAIN] = "secret"
    return proxy, Phone(network, "alice", "192.0.2.10")


def answered(
    network: Network,
    phone: Phone,
    call: Call,
    qop: tuple[Qop, ...],
    *,
    body: bytes = BODY,
    sent: bytes = BODY,
) -> Call:
    """The request again, with credentials of that qop about ``body``, and the body ``sent``."""
    response = call.responses[-1]
    by_registrar = response.status == 401
    challenge = response.headers.get_all(WWW_AUTHENTICATE if by_registrar else PROXY_AUTHENTICATE)
    assert isinstance(challenge[0], Challenge)
    asked = challenge[0]
    mine = Challenge(asked.realm, asked.nonce, asked.algorithm, qop)
    method, uri = call.request.method, call.request.uri_text
    credentials = mine.answer("alice", phone.password, method, uri, cnonce="c", body=body)
    kind = AUTHORIZATION if by_registrar else PROXY_AUTHORIZATION
    again = phone.again(call, [HeaderField.of(kind, credentials)], sent)
    network.run_for(1.0)
    return again


@pytest.mark.parametrize("offered", [(Qop.AUTH,), (Qop.AUTH_INT,), BOTH])
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE"])
def test_a_challenge_offers_what_is_configured_and_nothing_less_is_taken(
    network: Network, offered: tuple[Qop, ...], method: str
) -> None:
    _, alice = proxy_and_alice(network, *offered)
    uri = f"sip:{DOMAIN}" if method == "REGISTER" else f"sip:bob@{DOMAIN}"
    for qop, enough in (
        ((Qop.AUTH,), Qop.AUTH in offered),
        ((Qop.AUTH_INT,), Qop.AUTH_INT in offered),
        # As RFC 2069 had it, which protects as little as auth.
        ((), Qop.AUTH in offered),
    ):
        first = alice.send(method, uri, to=f"<{alice.uri}>")
        network.run_for(1.0)
        asked = first.responses[-1].headers.get_all(
            WWW_AUTHENTICATE if method == "REGISTER" else PROXY_AUTHENTICATE
        )
        assert {one.qop for one in asked if isinstance(one, Challenge)} == {offered}
        second = answered(network, alice, first, qop)
        refused = 401 if method == "REGISTER" else 407
        assert (second.statuses[-1] != refused) is enough, qop


@pytest.mark.parametrize(("qop", "status"), [(Qop.AUTH, 200), (Qop.AUTH_INT, 401)])
def test_with_auth_int_nobody_on_the_way_changes_the_body(
    network: Network, qop: Qop, status: int
) -> None:
    _, alice = proxy_and_alice(network, *BOTH)
    first = alice.register()
    network.run_for(1.0)
    changed = answered(network, alice, first, (qop,), sent=b"other")
    assert changed.statuses[-1] == status


def test_too_little_protection_is_no_wrong_password(network: Network) -> None:
    _, alice = proxy_and_alice(network, Qop.AUTH_INT)
    for _ in range(20):
        first = alice.register()
        network.run_for(1.0)
        assert answered(network, alice, first, (Qop.AUTH,)).statuses[-1] == 401
    assert answered(network, alice, first, (Qop.AUTH_INT,)).statuses[-1] == 200
