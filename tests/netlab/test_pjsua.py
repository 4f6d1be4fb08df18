"""A telephone of PJSIP and our ICE agent: an audio call, whoever calls."""

import json
from pathlib import Path
from typing import cast

import pytest

from tests.netlab.namespaces import Lab
from tests.netlab.steered import steered
from tests.netlab.world import CLIENT, SERVER, client_and_server

pytestmark = [pytest.mark.netns, pytest.mark.peer("pjsua2", "iproute2")]


@pytest.mark.parametrize("calls", ["pjsua", "natkit"])
def test_speech_passes_both_ways_over_the_pairs_that_ice_selected(
    lab: Lab, tmp_path: Path, calls: str
) -> None:
    network = client_and_server(lab)
    options = json.dumps({"host": CLIENT, "log_file": str(tmp_path / "pjsua.log")})
    with steered(network.client.prefix, "tests.peering.pjsua_driver", options) as phone:
        address = str(phone.hear("address")["address"])
        callee = [address] if calls == "natkit" else []
        ours_module = "tests.netlab.ice_phone"
        with steered(network.server.prefix, ours_module, SERVER, *callee) as ours:
            our_address = ours.hear("address")["address"]
            if calls == "pjsua":
                phone.tell(do="call", uri=f"sip:ours@{our_address}")
            told = ours.hear("echoed")
            # PCMA's packets are what some agents take for STUN.
            assert told["types"] == [8]
            assert told["controlling"] is (calls == "natkit")
            assert all(CLIENT in pair for pair in cast("list[str]", told["pairs"]))
            phone.tell(do="report")
            assert cast("int", phone.hear("received")["received"]) > 0
