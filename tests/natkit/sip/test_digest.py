import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage
from natkit.sip import HeaderField, Headers
from natkit.sip.digest import (
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    WWW_AUTHENTICATE,
    Algorithm,
    Challenge,
    Credentials,
    OtherScheme,
    Qop,
    ha1,
)

# RFC 2617 §3.5.
MUFASA = Challenge(
    "testrealm@host.com",
    "dcd98b7102dd2f0e8b11d0f600bfb0c093",
    qop=(Qop.AUTH, Qop.AUTH_INT),
    opaque="5ccc069c403ebaf9f0171e9517f40e41",
)
# RFC 7616 §3.9.1.
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def test_the_example_of_rfc_2617() -> None:
    answer = MUFASA.answer("Mufasa", "Circle Of Life", "GET", "/dir/index.html", cnonce="0a4f113b")
    assert answer.response == "6629fae49393a05397450978507c4ef1"
    assert answer.opaque == MUFASA.opaque


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        (Algorithm.MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm.SHA_256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(algorithm: Algorithm, response: str) -> None:
    challenge = Challenge("http-auth@example.org", NONCE, algorithm)
    answer = challenge.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce=CNONCE)
    assert answer.response == response


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("qop", [(), (Qop.AUTH,), (Qop.AUTH_INT,)])
def test_who_knows_the_password_proves_it_and_nobody_else(
    algorithm: Algorithm, qop: tuple[Qop, ...]
) -> None:
    challenge = Challenge("example.org", "n", algorithm, qop)
    written = challenge.answer(
        "alice", "secret", "REGISTER", "sip:example.org", cnonce="c", nonce_count=7, body=b"body"
    )
    credentials = Credentials.parse(str(written))
    assert credentials == written
    assert isinstance(credentials, Credentials)
    secret = ha1("alice", "example.org", "secret", algorithm)
    assert len(secret) == algorithm.digits
    assert credentials.proves(secret, "REGISTER", b"body")
    assert not credentials.proves(secret, "INVITE", b"body")
    wrong = ha1("alice", "example.org", "Secret", algorithm)
    assert not credentials.proves(wrong, "REGISTER", b"body")
    assert credentials.proves(secret, "REGISTER", b"other") is (Qop.AUTH_INT not in qop)


def test_a_challenge_is_written_and_read() -> None:
    challenge = Challenge(
        'a "b" c', "n", Algorithm.SHA_512_256, (Qop.AUTH, Qop.AUTH_INT), "o", stale=True
    )
    assert str(challenge) == (
        'Digest realm="a \\"b\\" c", nonce="n", opaque="o", stale=true, '
        'algorithm=SHA-512-256, qop="auth,auth-int"'
    )
    assert Challenge.parse(str(challenge)) == challenge


def test_what_an_old_server_leaves_out_has_its_default() -> None:
    assert Challenge.parse('DIGEST realm="r",nonce=n') == Challenge("r", "n", Algorithm.MD5, ())


@pytest.mark.parametrize(
    "text",
    [
        "Basic realm=x",
        'Digest realm="r", nonce="n", algorithm=MD5-sess',
        'Digest realm="r", nonce="n", qop="auth-conf"',
        'NTLM TlRMTVNTUAAB==, target="x"',
    ],
)
def test_schemes_and_algorithms_that_we_do_not_know_are_kept_apart(text: str) -> None:
    assert Challenge.parse(text) == OtherScheme(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        'Digest realm="r"',
        "Digest nonce",
        'Digest realm="r", realm="s", nonce="n"',
        'Digest realm="r, nonce="n"',
    ],
)
def test_a_malformed_challenge_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        Challenge.parse(text)


@pytest.mark.parametrize(
    "change", [("nc=00000001", "nc=1"), ("nc=00000001", "x=1"), ('cnonce="c"', 'y="c"')]
)
def test_malformed_credentials_are_malformed(change: tuple[str, str]) -> None:
    text = str(Challenge("r", "n").answer("u", "p", "GET", "sip:a", cnonce="c"))
    assert isinstance(Credentials.parse(text), Credentials)
    with pytest.raises(MalformedMessage):
        Credentials.parse(text.replace(*change))


def test_the_commas_of_a_challenge_are_its_own_and_each_has_a_field() -> None:
    headers = Headers().append(WWW_AUTHENTICATE, *strongest_first())
    assert headers.get_all(WWW_AUTHENTICATE) == strongest_first()
    assert len(headers) == 3
    assert headers.get_all(PROXY_AUTHENTICATE) == ()


def strongest_first() -> tuple[Challenge, ...]:
    return tuple(Challenge("r", "n", algorithm) for algorithm in Algorithm)


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))
def test_any_name_passes_through_the_quotes(name: str) -> None:
    credentials = Challenge("r", "n").answer(name, "p", "GET", "sip:a", cnonce="c")
    field = HeaderField.of(AUTHORIZATION, credentials)
    assert field.values(AUTHORIZATION) == (credentials,)
    assert HeaderField.parse(field.raw).values(AUTHORIZATION) == (credentials,)


@given(st.text())
def test_any_text_is_read_or_malformed(text: str) -> None:
    for read in (Challenge.parse, Credentials.parse):
        try:
            read(f"Digest {text}")
        except MalformedMessage:
            pass
