"""The network interfaces of this machine ("links"), with what lies under them."""

from dataclasses import dataclass

__all__ = ["NetworkLink", "read_links"]

# <linux/if_arp.h>, <linux/if.h>
_ETHERNET, _LOOPBACK = 1, 772
_UP = 1 << 0


@dataclass(frozen=True, slots=True)
class NetworkLink:
    """An interface.

    ``kind`` is what sort of virtual one it is, "veth" or "bridge"; empty for a card.  ``vlan`` is
    the tag of a VLAN, and then ``below`` is the number of the interface that has its wire.
    ``is_port`` says that its packets are another's, as those of the ports of a bridge are.
    """

    number: int
    name: str
    mac: bytes
    is_ethernet: bool
    kind: str
    below: int
    vlan: int
    is_loopback: bool = False
    is_up: bool = True
    is_port: bool = False
    far_end_elsewhere: bool = False
    """Of a virtual cable: its other end is in another network namespace."""


def read_links() -> tuple[NetworkLink, ...]:
    """All of them; none where the platform does not tell.  Raises OSError."""
    try:
        # Much to load, for those who ask.
        from pyroute2.netlink.rtnl import RTM_GETLINK  # noqa: PLC0415

        from natkit.net import rtnetlink as netlink  # noqa: PLC0415
    except ImportError:  # no Linux, or an installation without it
        return ()
    found = []
    for message in netlink.dump(RTM_GETLINK):
        info = message.get_attr("IFLA_LINKINFO")
        kind, port_kind, vlan = "", "", 0
        if info is not None and not isinstance(info, str | int):
            kind = str(info.get_attr("IFLA_INFO_KIND") or "")
            port_kind = str(info.get_attr("IFLA_INFO_SLAVE_KIND") or "")
            data = info.get_attr("IFLA_INFO_DATA")
            if kind == "vlan" and data is not None and not isinstance(data, str | int):
                vlan = netlink.number(data, "IFLA_VLAN_ID")
        mac = str(message.get_attr("IFLA_ADDRESS") or "")
        found.append(
            NetworkLink(
                number=message["index"],
                name=str(message.get_attr("IFLA_IFNAME")),
                mac=bytes.fromhex(mac.replace(":", "")),
                is_ethernet=message["ifi_type"] == _ETHERNET,
                kind=kind,
                below=netlink.number(message, "IFLA_LINK") if vlan else 0,
                vlan=vlan,
                is_loopback=message["ifi_type"] == _LOOPBACK,
                is_up=bool(message["flags"] & _UP),
                is_port=message.get_attr("IFLA_MASTER") is not None and port_kind != "vrf",
                far_end_elsewhere=kind == "veth"
                and message.get_attr("IFLA_LINK_NETNSID") is not None,
            )
        )
    return tuple(found)
