"""Bindings in memory alone."""

import pytest

from sip_proxy.shell.stores import MemoryLocation
from tests.sip_proxy.shell.location_contract import LocationContract


class TestMemoryLocation(LocationContract):
    @pytest.fixture
    def location(self) -> MemoryLocation:
        return MemoryLocation(largest_count=1000)
