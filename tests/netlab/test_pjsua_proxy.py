"""Two telephones of PJSIP register at the proxy, and each calls the other, with sound."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.netlab.namespaces import Host, Lab
from tests.netlab.sip_world import ALICE, BOB, DOMAIN, PROXY, PROXY_FOR_BOB, home
from tests.netlab.steered import Steered, steered

pytestmark = [pytest.mark.netns, pytest.mark.peer("pjsua2", "iproute2")]

INSTANCES = {
    "alice": "<urn:uuid:00000000-0000-1000-8000-0000000000a1>",
    "bob": "<urn:uuid:00000000-0000-1000-8000-0000000000b0>",
}
PACKETS = 50
"""A second of speech."""


@contextmanager
def phone(
    host: Host, directory: Path, name: str, address: str, proxy: str, transport: str
) -> Iterator[Steered]:
    account = {
        "user": name,
        "domain": DOMAIN,
        "password": "secret",
        "proxy": proxy,
        "transport": transport,
        "instance": INSTANCES[name],
    }
    options = {
        "host": address,
        "log_file": str(directory / f"{name}.log"),
        "log": 5,
        "account": account,
    }
    with steered(host.prefix, "tests.peering.pjsua_driver", json.dumps(options)) as made:
        told = made.hear("event", "registration")
        assert told["status"] == 200, told
        yield made


def in_state(phone: Steered, state: str) -> None:
    while phone.hear("event", "call")["state"] != state:
        pass


def hears(phone: Steered) -> None:
    """Wait until a second of speech has come."""
    received = 0
    while received < PACKETS:
        phone.tell(do="report")
        received = cast("int", phone.hear("received")["received"])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_each_of_two_telephones_calls_the_other(lab: Lab, tmp_path: Path, transport: str) -> None:
    with (
        home(lab, tmp_path) as at,
        phone(at.alice, tmp_path, "alice", ALICE, PROXY, transport) as alice,
        phone(at.bob, tmp_path, "bob", BOB, PROXY_FOR_BOB, transport) as bob,
    ):
        for caller, called, name in ((alice, bob, "bob"), (bob, alice, "alice")):
            caller.tell(do="call", uri=f"sip:{name}@{DOMAIN}")
            for each in (called, caller):
                in_state(each, "CONFIRMED")
            for each in (called, caller):
                hears(each)
            called.tell(do="hangup")
            for each in (called, caller):
                in_state(each, "DISCONNECTED")
    told = (tmp_path / "alice.log").read_text(errors="replace")
    # It knows two of our three challenges, and takes the stronger one.
    assert "algorithm=SHA-256, cnonce=" in told
    assert ("Require: outbound" in told) is (transport == "tcp")
