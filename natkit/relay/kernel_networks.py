"""The networks of clients as the kernel's program has them."""

from collections.abc import Mapping

from natkit.address import IPNetwork
from natkit.relay import kernel_layout as layout
from natkit.relay.libbpf import Table

__all__ = ["KernelNetworks"]


class KernelNetworks:
    """The :class:`~natkit.relay.source_memory.Networks` of a table that finds longest prefixes."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def replace(self, served: Mapping[IPNetwork, bool], /) -> bool:
        """Have these, and whether each is served; False when there is not enough room.

        One after the other: nobody may go by them meanwhile.  Two processes may do the same at
        once.
        """
        wanted = {
            layout.network_key(network): layout.network_value(is_served=is_served)
            for network, is_served in served.items()
        }
        for key in self._table.list_keys():
            if key not in wanted:
                self._table.remove(key)
        return all(self._table.put(key, value) for key, value in wanted.items())
