"""Where bindings are kept."""

from sip_proxy.shell.stores.location import Location
from sip_proxy.shell.stores.memory import MemoryLocation
from sip_proxy.shell.stores.sqlite import SqliteLocation

__all__ = ["Location", "MemoryLocation", "SqliteLocation"]
