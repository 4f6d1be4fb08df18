"""RFC 5922 §7.1 to §7.3, on certificates made here."""

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.certificate import (
    SIP_DOMAIN,
    CertificateNames,
    NameSource,
    check_certificate,
    names_to_carry,
)

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def certificate(
    *alternative: x509.GeneralName, cn: str | None = None, usages: tuple[str, ...] = ()
) -> CertificateNames:
    attributes = [] if cn is None else [x509.NameAttribute(NameOID.COMMON_NAME, cn)]
    name = x509.Name(attributes)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + dt.timedelta(days=1))
    )
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    if usages:
        oids = [x509.ObjectIdentifier(one) for one in usages]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    signed = builder.sign(KEY, hashes.SHA256())
    return CertificateNames.from_der(signed.public_bytes(encoding=Encoding.DER))


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def dns(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


def test_a_sip_uri_is_an_identity() -> None:
    match = check_certificate(certificate(uri("sip:example.org")), "example.org")
    assert match.matches
    assert match.identity is not None
    assert match.identity.source is NameSource.URI


@pytest.mark.parametrize(
    "text", ["SIP:Example.ORG", "sip:example.org:5061", "sip:example.org;transport=tls"]
)
def test_scheme_case_port_and_parameters_do_not_matter(text: str) -> None:
    assert check_certificate(certificate(uri(text)), "EXAMPLE.org.").matches


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sips:example.org", "names no SIP domain"),
        ("https://example.org", "names no SIP domain"),
        ("sip:alice@example.org", "speaks for that user only"),
        ("sip:sip.example.org", "not for example.org"),
        ("sip:[", "names no SIP domain"),
    ],
)
def test_other_uris_are_none(text: str, why: str) -> None:
    match = check_certificate(certificate(uri(text)), "example.org")
    assert not match.matches
    assert why in match.reason


def test_a_dns_name_counts_only_without_a_sip_uri() -> None:
    assert check_certificate(certificate(dns("Example.org")), "example.org").matches
    ignored = certificate(uri("https://x.example"), uri("sip:a@example.org"), dns("example.org"))
    assert check_certificate(ignored, "example.org").matches
    match = check_certificate(
        certificate(uri("sip:example.net"), dns("example.org")), "example.org"
    )
    assert not match.matches
    assert "does not count beside a sip: URI" in match.reason


def test_the_common_name_counts_only_without_alternative_names() -> None:
    assert check_certificate(certificate(cn="example.org"), "example.org").matches
    match = check_certificate(certificate(dns("example.net"), cn="example.org"), "example.org")
    assert not match.matches
    assert "CN does not count" in match.reason


@pytest.mark.parametrize(
    ("entry", "domain"),
    [
        ("*.example.org", "sip.example.org"),
        (".example.org", "sip.example.org"),
        ("example.org", "sip.example.org"),
        ("sip.example.org", "example.org"),
        ("example.org", "badexample.org"),
        ("*", "org"),
    ],
)
def test_nothing_matches_but_the_whole_name(entry: str, domain: str) -> None:
    match = check_certificate(certificate(dns(entry)), domain)
    assert not match.matches
    assert ("wildcards" in match.reason) == (entry == "*.example.org")


def test_a_wildcard_matches_itself() -> None:
    assert check_certificate(certificate(dns("*.example.org")), "*.example.org").matches


def test_an_international_name_is_compared_by_its_a_labels() -> None:
    names = certificate(dns("xn--bcher-kva.example"))
    assert check_certificate(names, "bücher.example").matches
    assert check_certificate(names, "XN--bcher-KVA.example").matches
    with pytest.raises(MisuseError, match="not a domain name"):
        check_certificate(names, "bü..example")


def test_a_nul_in_a_name_cuts_nothing_off() -> None:
    assert not check_certificate(
        CertificateNames(dns_names=("example.org\0.evil.example",), has_alternative_names=True),
        "example.org",
    ).matches


def test_an_address_entry_is_no_identity_and_a_uri_of_an_address_is() -> None:
    entry = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))
    match = check_certificate(certificate(entry), "192.0.2.1")
    assert not match.matches
    assert "IP address entry" in match.reason
    assert check_certificate(certificate(uri("sip:192.0.2.1")), "192.0.2.1").matches


@pytest.mark.parametrize(
    ("usages", "matches"),
    [
        ((SIP_DOMAIN,), True),
        ((ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,), True),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string,), True),
        ((ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,), False),
    ],
)
def test_the_extended_key_usage_must_allow_it(usages: tuple[str, ...], *, matches: bool) -> None:
    names = certificate(dns("example.org"), usages=usages)
    assert check_certificate(names, "example.org").matches is matches


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("sip:alice@example.org", "alice@example.org"),
        ("sips:alice@EXAMPLE.org", "alice@example.org"),
        ("sip:al%69ce@example.org;transport=tls", "alice@example.org"),
        ("sip:Alice@example.org", "Alice@example.org"),
        ("sip:+15551234@example.org;user=phone", "+15551234@example.org"),
        ("sip:example.org", None),
        ("sip:alice:secret@example.org", None),
        ("sip:alice@example.org:5070", None),
        ("https://alice@example.org", None),
        ("sip:al ice@example.org", None),
    ],
)
def test_a_sip_uri_with_a_user_speaks_for_that_user(text: str, user: str | None) -> None:
    users = certificate(uri("sip:other@example.net"), uri(text)).users()
    assert users == {"other@example.net", *([] if user is None else [user])}
    assert not certificate(dns("alice@example.org")).users()


@pytest.mark.parametrize(
    ("usages", "speaks"),
    [
        ((ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string, SIP_DOMAIN), True),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string,), True),
        ((SIP_DOMAIN,), False),
        ((ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,), False),
    ],
)
def test_a_certificate_that_is_not_for_clients_speaks_for_no_user(
    usages: tuple[str, ...], *, speaks: bool
) -> None:
    assert bool(certificate(uri("sip:alice@example.org"), usages=usages).users()) is speaks


def test_what_to_order_for_a_domain_is_what_matches() -> None:
    assert names_to_carry("Bücher.example") == (
        "URI:sip:xn--bcher-kva.example",
        "DNS:xn--bcher-kva.example",
    )


def test_a_reason_stays_short_whatever_the_certificate_holds() -> None:
    names = certificate(*[dns(f"{'a' * 60}.host{index}.example") for index in range(500)])
    assert len(check_certificate(names, "example.org").reason) < 700


@given(st.binary(max_size=300))
def test_junk_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        CertificateNames.from_der(data)


VALID = (
    x509.CertificateBuilder()
    .subject_name(x509.Name([]))
    .issuer_name(x509.Name([]))
    .public_key(KEY.public_key())
    .serial_number(1)
    .not_valid_before(NOW)
    .not_valid_after(NOW + dt.timedelta(days=1))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), critical=False)
    .sign(KEY, hashes.SHA256())
    .public_bytes(encoding=Encoding.DER)
)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_a_damaged_certificate_is_read_or_malformed(index: int, value: int) -> None:
    damaged = VALID[:index] + bytes([value]) + VALID[index + 1 :]
    try:
        names = CertificateNames.from_der(damaged)
    except MalformedMessage:
        return
    check_certificate(names, "example.org")
