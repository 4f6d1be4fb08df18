"""The suite of the whole server holds for both planes, with the server at the end of a cable.

In ``make test`` the kernel's plane has one test of each kind; in ``make soak`` both have all.
"""

import subprocess
from collections.abc import Callable, Sequence

import pytest

from tests.conftest import SOAKING
from tests.netlab.cabled_suite import run_cabled, run_here

pytestmark = [
    pytest.mark.netns,
    pytest.mark.peer("libbpf", "iproute2", "coturn", "aioice", "aiortc", "openssl"),
    pytest.mark.timeout(0 if SOAKING else 300),
]

PLANES = ("kernel", "userspace")
SUITE = (
    "tests/peers/test_access_tokens.py",
    "tests/peers/test_aioice.py",
    "tests/peers/test_aiortc.py",
    "tests/peers/test_time_limited.py",
    "tests/peers/test_uclient.py",
    "tests/peers/test_uclient_matrix.py",
    "tests/peers/test_uclient_secure.py",
    "tests/peers/test_uclient_tcp_relaying.py",
    "tests/peers/test_uclient_workers.py",
    "tests/floods/test_connections.py",
    "tests/stun_server/shell/test_forbidden_peers.py",
    "tests/stun_server/shell/test_small_answers.py",
    "tests/stun_server/test_churn_process.py",
    "tests/stun_server/test_secure_workers.py",
    "tests/stun_server/test_workers.py",
)
IN_NAMESPACES = ("tests/netlab/test_chromium.py", "tests/netlab/test_floods.py")
"""These make a network for themselves."""
SOME = (
    "allocates_and_relays_both_ways and udp",
    "data_channel_opens and udp",
    "test_a_row_of_the_matrix and udp",
    "no_spelling_is_reached",
    "bandwidth_of_a_user",
)


Run = Callable[[str, Sequence[str]], "subprocess.CompletedProcess[str]"]


@pytest.mark.soak
@pytest.mark.parametrize("module", SUITE)
@pytest.mark.parametrize("plane", PLANES)
def test_the_suite_holds_for_both_planes(plane: str, module: str) -> None:
    passes(run_cabled, plane, module)


@pytest.mark.soak
@pytest.mark.peer("chromium")
@pytest.mark.parametrize("module", IN_NAMESPACES)
@pytest.mark.parametrize("plane", PLANES)
def test_what_makes_its_own_network_holds_for_both_planes(plane: str, module: str) -> None:
    passes(run_here, plane, module)


def test_some_of_the_suite_holds_for_the_plane_in_the_kernel() -> None:
    passes(run_cabled, "kernel", *SUITE, "-k", " or ".join(SOME))


def passes(run: Run, plane: str, *arguments: str) -> None:
    """These tests pass there; what they wrote is shown either way."""
    # Whoever runs these says how many at once.
    plugins = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tests.netlab.cabled_order")
    limit = ("--timeout", "0") if SOAKING else ()
    done = run(plane, ("-m", "pytest", "-q", *plugins, *limit, *arguments))
    print(done.stdout)
    assert done.returncode == 0, done.stdout
