"""What the guide about monitoring shows is what is drawn."""

from sip_proxy.trace import ladder_of
from sip_proxy.trace.text import as_text
from tests.project.tree import ROOT
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, UNIX, Phone, ProxyHost, settings

GUIDE = ROOT / "docs" / "guides" / "sip-monitoring.md"


def drawn(network: Network) -> str:
    """Alice calls Bob, whose desk phone rings in vain and whose mobile answers."""
    proxy = ProxyHost(network, settings(authenticate=True))
    proxy.users["alice", DOMAIN] = proxy.users["bob", DOMAIN] = "secret"
    alice = Phone(network, "alice", "192.0.2.10")
    bobs = [Phone(network, "bob", "192.0.2.11"), Phone(network, "bob", "198.51.100.7")]
    for phone in bobs:
        asked = phone.register()
        network.run_for(1.0)
        phone.authorized(asked)
        network.run_for(1.0)
    bobs[1].name = "bob-mobile"
    asked = alice.invite(f"sip:bob@{DOMAIN}")
    network.run_for(0.1)
    call = alice.authorized(asked)
    network.run_for(0.1)
    for phone in bobs:
        phone.respond(phone.ringing[0], 180)
    network.run_for(3.2)
    bobs[0].respond(bobs[0].ringing[0], 200)
    network.run_for(0.3)
    dialog = alice.acknowledge(call)
    network.run_for(8.0)
    alice.within_after(network, dialog, "BYE")
    ladder = ladder_of(proxy.machine.recorder.messages(), dialog.call_id, UNIX)
    assert ladder is not None
    return as_text(ladder, 118)


def test_the_ladder_of_the_guide_is_that_of_such_a_call(network: Network) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert f"```text\n{drawn(network)}```\n" in guide
