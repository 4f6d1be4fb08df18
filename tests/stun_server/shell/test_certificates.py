"""The server's certificate is checked before it is used; each mistake is one line."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from natkit.errors import ConfigError
from stun_server.shell.certificates import load_contexts
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_good_one_is_for_tls_and_dtls(authority: Authority) -> None:
    contexts = load_contexts(*authority.issue("turn.example.org", "192.0.2.1").files)
    assert contexts.names == "turn.example.org, 192.0.2.1"


@pytest.mark.parametrize(
    ("days", "line"),
    [
        ((-9, -1), "expired on 20.*; renew it"),
        ((1, 9), "is not valid before 20.*; check the clock"),
    ],
)
def test_one_out_of_its_time_is_refused(
    authority: Authority, days: tuple[float, float], line: str
) -> None:
    with pytest.raises(ConfigError, match=line):
        load_contexts(*authority.issue("turn.example.org", days=days).files)


def test_files_that_are_missing_or_something_else_are_named(
    authority: Authority, tmp_path: Path
) -> None:
    chain, key = authority.issue("a.example.org").files
    other = authority.issue("b.example.org", file="other").key
    none = tmp_path / "none"
    garbage = tmp_path / "garbage"
    garbage.write_bytes(bytes(range(256)))
    locked = tmp_path / "locked"
    locked.write_bytes(
        load_pem_private_key(key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
        )
    )
    for files, line in (
        ((none, key), f"cannot read the certificate {none}: No such file or directory"),
        ((chain, none), f"cannot read the key {none}: No such file or directory"),
        ((garbage, key), f"{garbage} holds no certificate in PEM"),
        ((key, key), f"{key} holds no certificate in PEM"),
        ((chain, garbage), f"{garbage} holds no private key in PEM"),
        ((chain, chain), f"{chain} holds no private key in PEM"),
        ((chain, other), f"the key {other} does not belong to the certificate {chain}"),
        ((chain, locked), f"the key {locked} is encrypted; give one that is not"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_contexts(*files)
        assert str(caught.value) == line
