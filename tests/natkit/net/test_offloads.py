"""What interfaces do for the system, as they say."""

import os

import pytest

from natkit.net.offloads import takes_vlan_tags_off
from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import lab, run


def test_who_does_not_say_takes_nothing_off() -> None:
    assert not takes_vlan_tags_off("lo")
    assert not takes_vlan_tags_off("no-such-one")
    assert not takes_vlan_tags_off("a-name-that-no-interface-can-have")


@pytest.mark.netns
def test_an_interface_says_whether_it_takes_vlan_tags_off() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with lab() as made:
        one, other = made.host("one"), made.host("other")
        made.cable((one, "eth0", ""), (other, "eth0", ""))
        for setting in ("on", "off"):
            run(one, "ethtool", "-K", "eth0", "rxvlan", setting)
            with inside(one):
                assert takes_vlan_tags_off("eth0") == (setting == "on")
