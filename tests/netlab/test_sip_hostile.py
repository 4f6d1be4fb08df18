"""Hostile messages on the sockets of a running proxy, from which no packet gets anywhere."""

from pathlib import Path

import pytest

from tests.netlab.namespaces import Lab
from tests.netlab.sip_world import PORT, PROXY, WEB_PORT, home
from tests.netlab.steered import steered

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2")]


@pytest.mark.parametrize("authenticate", [True, False], ids=["strict", "open"])
def test_a_proxy_that_was_sent_hostile_messages_goes_on_and_answers(
    lab: Lab, tmp_path: Path, authenticate: bool
) -> None:
    with home(lab, tmp_path, authenticate=authenticate) as at:
        arguments = (PROXY, str(PORT), str(WEB_PORT), "600")
        with steered(at.alice.prefix, "tests.netlab.hostile_phone", *arguments) as phone:
            told = phone.hear("answered")
        assert told["answered"] == "SIP/2.0 200 OK"
        assert at.process.is_running
        assert "Traceback" not in at.process.log()
        assert "Exception" not in at.process.log()
