"""What a network interface does for the system before it shows it a packet (ethtool)."""

import fcntl
import socket
import struct
import sys
from array import array

__all__ = ["takes_vlan_tags_off"]

# <linux/sockios.h>, <linux/ethtool.h>
_SIOCETHTOOL = 0x8946
_GET_FLAGS = 0x25
_RECEIVES_VLAN = 1 << 8
_REQUEST = struct.Struct("=16sQ16x")  # struct ifreq
_LONGEST_NAME = 15


def takes_vlan_tags_off(interface: str) -> bool:
    """Whether an interface takes VLAN tags off what it receives, and tells them beside the packet.

    False where it does not say.
    """
    name = interface.encode()
    if not sys.platform.startswith("linux") or len(name) > _LONGEST_NAME:
        return False
    # struct ethtool_value
    value = array("I", [_GET_FLAGS, 0])
    request = bytearray(_REQUEST.pack(name, value.buffer_info()[0]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError:
            return False
    return bool(value[1] & _RECEIVES_VLAN)
