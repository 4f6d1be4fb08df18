"""``natkit nat --port-mapping`` and ``--turn``: what is granted is tried, and told as it is."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from tests.netlab.gateway import HOME, OUTSIDE, ROUTER, STRANGER, Home, home, run_on
from tests.netlab.namespaces import Lab, run
from tests.stun_server.process import stun_server

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "miniupnpd", "nftables")]

OTHER: Final = "11.0.0.3"
CONFIG: Final = f"""
[listeners]
listen = ["{STRANGER}:3478"]
alternate = {{ "{STRANGER}:3478" = "{OTHER}:3479" }}
"""
NATKIT: Final = (
    *(sys.executable, "-W", "error", "-m", "natkit.cli.main", "nat", f"{STRANGER}:3478"),
    *("--votes", "1", "--patience", "3", "--json"),
)


@pytest.fixture
def network(lab: Lab, tmp_path: Path) -> Iterator[Home]:
    """A server of two addresses and with a user stands outside."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    with home(lab, tmp_path / "miniupnpd") as made:
        made.stranger.configure("address", "add", f"{OTHER}/24", "dev", "eth0")
        arguments = ("--config", str(config), "--user", "alice:secret", "--realm", "lab.example")
        with stun_server(tmp_path, *arguments, prefix=made.stranger.prefix):
            yield made


def report(network: Home, *arguments: str) -> tuple[int, dict[str, object]]:
    done = run_on(network.host, [*NATKIT, *arguments])
    assert done.stderr == "", done.stderr
    return done.returncode, cast("dict[str, object]", json.loads(done.stdout))


def mapping(found: dict[str, object]) -> dict[str, object]:
    return cast("dict[str, object]", found["port_mapping"])


def test_a_mapping_that_works_is_reached_by_the_server_and_gone_afterwards(network: Home) -> None:
    network.start()
    status, found = report(
        network,
        *("--gateway", ROUTER),
        *("--turn", f"turn:{STRANGER}", "--user", "alice", "--password", "secret"),
    )
    shown = mapping(found)
    assert shown["gateway"] == ROUTER
    assert shown["works"] is True, shown
    assert cast("dict[str, object]", shown["external"])["address"] == OUTSIDE
    assert cast("dict[str, str]", shown["methods"])["pcp"] == "yes"
    assert f"{OTHER}:3479 got in" in cast("str", shown["evidence"])
    (family,) = cast("list[dict[str, dict[str, object]]]", found["families"])
    assert family["local_address"] == cast("object", HOME)
    assert family["layers"]["at_least"] == 1
    # By the gateway's own word it is the only NAT.
    assert family["layers"]["carrier"] is False
    turn = cast("dict[str, dict[str, object]]", found["turn"])
    assert turn["relayed_address"]["address"] in (STRANGER, OTHER)
    assert "Or map a port at the gateway" in " ".join(cast("list[str]", found["advice"]))
    assert status == 0
    assert "dnat" not in network.rules()


def test_a_gateway_that_grants_and_lets_nobody_in_is_told(network: Home) -> None:
    network.start()
    # The firewall before it drops what the mapping lets in.
    rules = "insert rule inet filter forward iifname wan ct state new drop\n"
    run(network.router, "nft", "-f", "-", text=rules)
    status, found = report(network, "--gateway", ROUTER)
    shown = mapping(found)
    assert shown["works"] is False, shown
    assert status == 1
    assert "nothing that was not asked for gets in" in cast("str", shown["evidence"])


def test_a_gateway_without_port_mapping_and_a_turn_server_that_refuses_are_told(
    network: Home,
) -> None:
    status, found = report(
        network,
        *("--gateway", ROUTER),
        *("--turn", f"turn:{STRANGER}", "--user", "alice", "--password", "wrong"),
    )
    shown = mapping(found)
    assert shown["works"] is False, shown
    assert shown["external"] is None
    turn = cast("dict[str, object]", found["turn"])
    assert turn["relayed_address"] is None
    assert "check --user and --password" in cast("str", turn["error"])
    assert status == 1
