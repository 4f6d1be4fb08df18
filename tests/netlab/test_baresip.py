"""Two baresips register at the proxy and call each other through it, with sound."""

import json
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from tests.certificates import Issued
from tests.netlab.namespaces import Host, Lab
from tests.netlab.sip_world import (
    ALICE,
    BOB,
    DOMAIN,
    PORT,
    PROXY,
    PROXY_FOR_BOB,
    SECURE_PORT,
    Home,
    home,
)
from tests.netlab.steered import Steered, steered

TONES = {"alice": 400, "bob": 1000}
"""What each says, in Hz."""

RATE = 8000
WAV_HEAD = 44
LIMIT = 60.0

pytestmark = [pytest.mark.netns, pytest.mark.peer("baresip", "iproute2")]


@contextmanager
def phone(
    host: Host,
    directory: Path,
    name: str,
    address: str,
    proxy: str,
    transport: str,
    more: str = "",
    certificate: Issued | None = None,
) -> Iterator[Steered]:
    port = SECURE_PORT if transport == "tls" else PORT
    directory = directory / name
    directory.mkdir()
    own = directory / "own.pem"
    if certificate is None:
        more += ";auth_pass=secret"
    else:
        own.write_bytes(certificate.chain.read_bytes() + certificate.key.read_bytes())
    options = {
        "directory": str(directory),
        "listen": f"{address}:5060",
        "trust": str(directory.parent / "Test-Root.pem") if transport == "tls" else None,
        "certificate": str(own) if certificate is not None else None,
        "tone": TONES[name],
        "uuid": f"00000000-0000-1000-8000-00000000000{len(name)}",
        "account": f"<sip:{name}@{DOMAIN};transport={transport}>;answermode=auto"
        f';regint=600;outbound="sip:{proxy}:{port};transport={transport}"{more}',
    }
    with steered(host.prefix, "tests.peering.baresip_driver", json.dumps(options)) as made:
        made.hear("ready")
        yield made


@contextmanager
def phones(at: Home, directory: Path, transport: str, more: str = "") -> Iterator[list[Steered]]:
    certificate = None
    if transport == "tls":
        # Alice has no password, and Bob no certificate.
        uris = [f"sip:alice@{DOMAIN}"]
        certificate = at.authority.issue(uris=uris, file="alice")
    with (
        phone(at.alice, directory, "alice", ALICE, PROXY, transport, more, certificate) as alice,
        phone(at.bob, directory, "bob", BOB, PROXY_FOR_BOB, transport, more) as bob,
    ):
        yield [alice, bob]


@pytest.mark.parametrize(
    ("transport", "more", "flow"),
    [("udp", "", 0), ("tcp", "", 0), ("tls", "", 0), ("tcp", ";sipnat=outbound", 1)],
    ids=["udp", "tcp", "tls", "outbound"],
)
def test_two_telephones_call_and_hear_each_other(
    lab: Lab, tmp_path: Path, transport: str, more: str, flow: int
) -> None:
    # This baresip gives up where it sees another algorithm, even beside its own.
    with (
        home(lab, tmp_path, '"MD5"') as at,
        phones(at, tmp_path, transport, more) as (alice, bob),
    ):
        for each in (alice, bob):
            each.hear("event", "REGISTER_OK")
        alice.tell(**{"do": "dial", "with": f"sip:bob@{DOMAIN}"})
        bob.hear("event", "CALL_ESTABLISHED")
        alice.hear("event", "CALL_ESTABLISHED")
        for name in TONES:
            wait_for_a_second_of_sound(tmp_path / name)
        bob.tell(do="hangup")
        alice.hear("event", "CALL_CLOSED")
    # reg-id 1 (RFC 5626), or none.
    registered = f"{{{flow}/{transport.upper()}/v4}} 200 OK"
    for name in TONES:
        assert registered in (tmp_path / name / "output.log").read_text()
    assert abs(pitch(heard(tmp_path / "alice")) - TONES["bob"]) < 20
    assert abs(pitch(heard(tmp_path / "bob")) - TONES["alice"]) < 20


def heard(directory: Path) -> bytes:
    """What a phone heard: samples of 16 bits, 8,000 a second."""
    (file,) = directory.glob("dump-*-dec.wav")
    return file.read_bytes()[WAV_HEAD:]


def wait_for_a_second_of_sound(directory: Path) -> None:
    deadline = monotonic() + LIMIT
    while True:
        try:
            if len(heard(directory)) >= 2 * RATE:
                return
        except ValueError:
            pass  # it has not begun
        assert monotonic() < deadline, (directory / "output.log").read_text()
        select.select([], [], [], 0.1)


def pitch(samples: bytes) -> float:
    """How often a second it swings, by the last half second of it."""
    last = struct.unpack(f"<{RATE // 2}h", samples[-(len(samples) % 2) - RATE :][:RATE])
    swings = sum(1 for one, other in pairwise(last) if one < 0 <= other)
    return 2.0 * swings
