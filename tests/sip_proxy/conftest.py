"""What the tests of the proxy on the simulated network share."""

from collections.abc import Iterator

import pytest

from tests.simnet.network import Network


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of its own for each test; the seed is fixed."""
    with Network(7) as made:
        yield made
