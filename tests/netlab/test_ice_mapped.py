"""Port-mapped candidates at a real gateway."""

import json
import sys
from pathlib import Path

import pytest

from tests.netlab.gateway import OUTSIDE, ROUTER, home, run_on
from tests.netlab.namespaces import Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "miniupnpd", "nftables")]

COMMAND = (
    sys.executable,
    "-c",
    "import sys; from natkit.cli.main import run; sys.exit(run())",
    "ice",
    "gather",
    "--port-mapping",
    "--json",
    "--ipv4",
    "--interface",
    "eth0",
)


@pytest.mark.parametrize("method", ["pcp", "upnp"])
def test_the_gateways_port_is_a_candidate_and_is_given_back(
    lab: Lab, tmp_path: Path, method: str
) -> None:
    with home(lab, tmp_path / "miniupnpd") as network:
        network.start(natpmp=method == "pcp")
        done = run_on(network.host, COMMAND)
        assert done.returncode == 0, done.stderr
        host, mapped = json.loads(done.stdout)["candidates"]
        assert (host["type"], mapped["type"]) == ("host", "srflx")
        assert mapped["address"] == OUTSIDE
        assert mapped["related"] == {"address": host["address"], "port": host["port"]}
        assert mapped["source"] == {
            "method": "port mapping",
            "name": method,
            "server": {"address": ROUTER, "port": mapped["source"]["server"]["port"]},
            "transport": None,
        }
        assert f"{host['port']}" not in network.rules()
