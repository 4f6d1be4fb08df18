"""The fixture of tests that play the server."""

import pytest

from tests.natkit.turn.table import Table


@pytest.fixture
def table() -> Table:
    """A client that has its allocation."""
    return Table().allocated()
