"""Which names a certificate proves (RFC 8489 §6.2.3, RFC 9525 §6)."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from natkit.aio.server_name import is_address, name_mismatch
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("names", "wanted", "proven"),
    [
        (["turn.example.org"], "turn.example.org", True),
        (["turn.example.org"], "TURN.Example.ORG.", True),
        (["a.example.org", "b.example.org"], "b.example.org", True),
        (["*.example.org"], "turn.example.org", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "a.turn.example.org", False),
        (["t*.example.org"], "turn.example.org", False),
        (["*.org"], "example.org", False),
        (["turn.example.org"], "example.org", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["2001:db8::1"], "2001:DB8:0::1", True),
        (["192.0.2.1"], "192.0.2.2", False),
    ],
)
def test_a_name_is_proven_or_not(
    names: list[str], wanted: str, proven: bool, tmp_path: Path
) -> None:
    certificate = Authority(tmp_path).issue(*names).certificate
    mismatch = name_mismatch(certificate, wanted)
    assert (mismatch is None) == proven
    if mismatch is not None:
        assert mismatch == f"its certificate is for {', '.join(names)}, not for {wanted}"


def certificate(common_name: str, *alternative: x509.GeneralName) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
    )
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(key, hashes.SHA256())


def test_the_common_name_counts_only_where_no_dns_name_stands() -> None:
    old = certificate("turn.example.org")
    assert name_mismatch(old, "turn.example.org") is None
    new = certificate("turn.example.org", x509.DNSName("other.example.org"))
    assert name_mismatch(new, "turn.example.org") is not None
    # An address is never a common name.
    assert name_mismatch(certificate("192.0.2.1"), "192.0.2.1") is not None


def test_what_is_an_address() -> None:
    assert is_address("192.0.2.1")
    assert is_address("2001:db8::1")
    assert not is_address("192.0.2.1.example.org")
