import re

import pytest

from sip_proxy.trace.masking import masked, shown

START = b"REGISTER sip:example.org SIP/2.0\r\n"


def message(*lines: bytes, body: bytes = b"") -> bytes:
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


@pytest.mark.parametrize(
    "field",
    [
        b'Authorization: Digest username="a", nonce="n", response="SECRET", uri="u"',
        b'Proxy-Authorization: Digest response="SECRET"',
        b"PROXY-AUTHORIZATION : digest Response = SECRET, qop=auth",
        b'Authorization: Digest username="response=", response="SECRET"',
        b'Authorization: Digest username="a\\", x=\\"", response="SECRET"',
        b'Authorization: Digest username="a",\r\n response="SECRET"',
        b'Authorization:\r\n\tDigest response="SECRET"',
        b'Authentication-Info: rspauth="SECRET", qop=auth',
        b"Authorization: Bearer SECRET",
        b"Authorization: SECRET SECRET",
        b'Authorization: Digest response="SECRET',
    ],
)
def test_the_proof_of_a_password_is_nowhere_to_be_seen(field: bytes) -> None:
    original = message(b"Call-ID: 1", field, b"CSeq: 1 REGISTER")
    hidden = masked(original)
    assert len(hidden) == len(original)
    assert b"SECRET" not in hidden.replace(b"Authorization: SECRET ", b"")
    assert b"\r\nCSeq: 1 REGISTER\r\n" in hidden
    assert "CSeq: 1 REGISTER" in shown(original)


def test_what_tells_who_asked_for_what_stays() -> None:
    digest = b'Digest username="alice", realm="r", nonce="n", response="0123", nc=00000001'
    field = b"Authorization: " + digest
    text = shown(message(field))
    assert 'username="alice", realm="r", nonce="n", response=xxxxxx, nc=00000001' in text


@pytest.mark.parametrize(
    "line",
    [
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET|2^20|1:4",
        b"a=ice-pwd:SECRET",
        b"k=clear:SECRET",
        b"a=key-mgmt:mikey SECRET",
    ],
)
def test_the_keys_of_media_are_masked_in_sdp(line: bytes) -> None:
    body = b"v=0\r\n" + line + b"\r\na=sendrecv\r\n"
    original = message(b"Content-Type: application/sdp", body=body)
    hidden = masked(original)
    assert len(hidden) == len(original)
    assert hidden.endswith(b"\r\na=sendrecv\r\n")
    assert b"SECRET" not in hidden


@pytest.mark.parametrize("kind", [b"text/plain;charset=utf-8", b"multipart/mixed", b""])
def test_what_people_write_is_not_shown(kind: bytes) -> None:
    original = message(b"c: " + kind, body=b"SECRET love letter")
    assert b"love" not in masked(original)
    assert len(masked(original)) == len(original)
    assert "love" not in shown(original)
    assert "[18 bytes of " in shown(original)


def test_signalling_in_a_body_is_shown() -> None:
    text = shown(message(b"Content-Type: message/sipfrag", body=b"SIP/2.0 200 OK\r\n"))
    assert text.endswith("\n\nSIP/2.0 200 OK\n")


def test_nothing_that_steers_a_terminal_is_shown() -> None:
    text = shown(message(b"Subject: \x1b[2Jx\x9b1m \xff\x07", body=b""))
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) is None


def test_a_long_field_is_masked_in_linear_time() -> None:
    # Each alternative of the pattern begins differently, or this would not end.
    field = b"Authorization: " + b"\r\n ".join([b"a=b, "] * 5_000) + b'\r response="SECRET"'
    assert b"SECRET" not in masked(message(field))
