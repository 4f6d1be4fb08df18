"""Where bindings are kept."""

from sip_proxy.shell.stores.location import Location
from sip_proxy.shell.stores.memory import MemoryLocation
from sip_proxy.shell.stores.opening import location_at
from sip_proxy.shell.stores.shared import SharedLocation
from sip_proxy.shell.stores.sqlite import SqliteLocation

__all__ = ["Location", "MemoryLocation", "SharedLocation", "SqliteLocation", "location_at"]
