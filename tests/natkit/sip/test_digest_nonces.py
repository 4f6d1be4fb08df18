import random

import pytest

from natkit.errors import MisuseError
from natkit.sip.digest_nonces import Nonces, Verdict

KEY = bytes(16)
UNIX = 1_700_000_000.0


def nonces(seed: int = 1, largest_count: int = 100, key: bytes = KEY) -> Nonces:
    source = random.Random(seed)
    return Nonces(
        key, source.randbytes, unix_offset=UNIX, lifetime=300.0, largest_count=largest_count
    )


def test_a_nonce_is_good_for_its_lifetime_and_then_stale() -> None:
    made = nonces()
    nonce = made.issue("r", 10.0)
    assert made.use(nonce, "r", 1, 10.0) is Verdict.GOOD
    assert made.use(nonce, "r", 2, 310.0) is Verdict.GOOD
    assert made.use(nonce, "r", 3, 310.1) is Verdict.STALE


def test_each_count_is_good_once_in_any_order_within_the_window() -> None:
    made = nonces()
    nonce = made.issue("r", 0.0)
    for count in (1, 3, 2, 70):
        assert made.use(nonce, "r", count, 1.0) is Verdict.GOOD
    for count in (1, 2, 3, 70, 6):
        assert made.use(nonce, "r", count, 1.0) is Verdict.STALE
    assert made.use(nonce, "r", 7, 1.0) is Verdict.GOOD
    assert made.use(nonce, "r", 1000, 1.0) is Verdict.GOOD
    assert made.use(nonce, "r", 71, 1.0) is Verdict.STALE


def test_it_is_known_for_its_realm_alone_however_old_it_is() -> None:
    made = nonces()
    nonce = made.issue("r", 0.0)
    assert made.knows(nonce, "r")
    assert made.use(nonce, "r", 1, 1_000.0) is Verdict.STALE
    assert made.knows(nonce, "r")
    assert not made.knows(nonce, "s")
    assert not nonces(key=bytes(range(16))).knows(nonce, "r")
    assert not made.knows("nonsense", "r")


def test_without_a_count_it_is_good_once() -> None:
    made = nonces()
    nonce = made.issue("r", 0.0)
    assert made.use(nonce, "r", None, 1.0) is Verdict.GOOD
    assert made.use(nonce, "r", None, 1.0) is Verdict.STALE


def test_no_two_are_alike() -> None:
    made = nonces()
    assert len({made.issue("r", 0.0) for _ in range(100)}) == 100


@pytest.mark.parametrize("change", ["realm", "key", "bytes", "length", "alphabet", "time"])
def test_what_we_did_not_make_is_forged(change: str) -> None:
    made = nonces()
    nonce, realm = made.issue("r", 0.0), "r"
    if change == "realm":
        realm = "s"
    elif change == "key":
        nonce = nonces(key=bytes(15) + b"1").issue("r", 0.0)
    elif change == "bytes":
        nonce = nonce[:-4] + ("AAAA" if nonce[-4:] != "AAAA" else "BBBB")
    elif change == "length":
        nonce = nonce[:-4]
    elif change == "alphabet":
        nonce = "ä" + nonce[1:]
    else:
        nonce = ("B" if nonce[0] == "A" else "A") + nonce[1:]
    assert made.use(nonce, realm, 1, 0.0) is Verdict.FORGED
    assert len(made) == 0


def test_a_restart_with_the_same_key_knows_its_nonces() -> None:
    nonce = nonces().issue("r", 5.0)
    assert nonces().use(nonce, "r", 1, 6.0) is Verdict.GOOD


def test_what_is_kept_is_bounded_and_what_was_forgotten_is_never_taken_for_new() -> None:
    made = nonces(largest_count=3)
    old = [made.issue("r", float(number)) for number in range(5)]
    for number, nonce in enumerate(old):
        assert made.use(nonce, "r", 1, 5.0) is Verdict.GOOD, number
    assert len(made) == 3
    assert made.use(old[0], "r", 1, 6.0) is Verdict.STALE
    assert made.use(old[0], "r", 2, 6.0) is Verdict.STALE
    assert made.use(old[4], "r", 2, 6.0) is Verdict.GOOD
    assert made.use(made.issue("r", 6.0), "r", 1, 6.0) is Verdict.GOOD


def test_a_key_of_a_few_bytes_is_refused() -> None:
    with pytest.raises(MisuseError, match="16 bytes"):
        nonces(key=b"short")
