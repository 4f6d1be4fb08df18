"""The data plane of a TURN server: what happens to every packet, apart from the rest.

:mod:`natkit.relay.plane` is the interface, :mod:`natkit.relay.userspace` the plane that runs
anywhere.
"""

from natkit.relay.plane import BindingPolicy, Counters, RelayPlane

__all__ = ["BindingPolicy", "Counters", "RelayPlane"]
