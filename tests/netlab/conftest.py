"""The fixtures of tests in network namespaces."""

import os
from collections.abc import Iterator

import pytest

from tests.netlab.namespaces import Lab, lab


@pytest.fixture(name="lab")
def empty_lab() -> Iterator[Lab]:
    """A network without hosts, which the test fills."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with lab() as made:
        yield made
