"""Asks a STUN server whether it serves, without any code of natkit's codec."""

import socket

from natkit.address import Address

PROBE_TIMEOUT = 0.2
BINDING_REQUEST = bytes.fromhex("0001 0000 2112a442") + b"natkit-probe"
"""RFC 8489 §5: a Binding request without attributes."""


def answers_binding(address: Address) -> bool:
    """Whether ``address`` answers a Binding request over UDP and over TCP."""
    return _answers(address, socket.SOCK_DGRAM) and _answers(address, socket.SOCK_STREAM)


def _answers(address: Address, kind: socket.SocketKind) -> bool:
    with socket.socket(address.family.socket_family, kind) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(address)
            probe.send(BINDING_REQUEST)
            return probe.recv(2048)[8:20] == BINDING_REQUEST[8:20]
        except OSError:
            return False
