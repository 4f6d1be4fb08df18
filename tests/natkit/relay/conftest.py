import os
from collections.abc import Iterator

import pytest

from natkit.net.libc import HAVE_MMSG
from tests.natkit.relay.rig import Rig
from tests.netlab.namespaces import Lab, lab


@pytest.fixture(
    params=[
        pytest.param(False, marks=pytest.mark.skipif(not HAVE_MMSG, reason="Linux"), id="linux"),
        pytest.param(True, id="portable"),
    ]
)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(portable=bool(request.param))
    yield rig
    rig.close()


@pytest.fixture(name="lab")
def empty_lab() -> Iterator[Lab]:
    """A network without hosts, for a plane in the kernel."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with lab() as made:
        yield made
