from collections.abc import Iterator

import pytest

from natkit.net.libc import HAVE_MMSG
from tests.natkit.relay.rig import Rig


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
