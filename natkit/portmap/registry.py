"""Every number of PCP and NAT-PMP on the wire, once, with the RFC that assigns it."""

from enum import IntEnum
from typing import Final

from natkit.address import Family

SERVER_PORT: Final = 5351
"""Where gateways listen for both protocols (RFC 6886 §3.1, RFC 6887 §19)."""

CLIENT_PORT: Final = 5350
"""Where gateways announce, to the multicast groups below (RFC 6886 §3.2.1, RFC 6887 §14.1.1)."""

ANNOUNCEMENT_GROUPS: Final = ("224.0.0.1", "ff02::1")
"""All hosts of the link."""

PCP_ANYCAST: Final = {Family.IPV4: "192.0.0.9", Family.IPV6: "2001:1::1"}
"""Where a PCP server answers whose address is not known (RFC 7723 §2.1)."""

PCP_VERSION: Final = 2
"""RFC 6887 §7.1."""

NAT_PMP_VERSION: Final = 0
"""RFC 6886 §3.1."""

RESPONSE: Final = 0x80
"""The bit that makes an opcode that of its response, in both protocols."""

LARGEST_MESSAGE: Final = 1100
"""Bytes (RFC 6887 §7)."""

NONCE_LENGTH: Final = 12
"""Bytes of a mapping nonce (RFC 6887 §11.1)."""


class Protocol(IntEnum):
    """What a mapping is for, by IANA's protocol numbers."""

    TCP = 6
    UDP = 17


class PcpOpcode(IntEnum):
    """RFC 6887 §19.2."""

    ANNOUNCE = 0
    MAP = 1
    PEER = 2


class PcpOption(IntEnum):
    """RFC 6887 §19.4."""

    THIRD_PARTY = 1
    PREFER_FAILURE = 2
    FILTER = 3


class PcpResult(IntEnum):
    """RFC 6887 §7.4."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


class NatPmpOpcode(IntEnum):
    """RFC 6886 §3.2, §3.3."""

    EXTERNAL_ADDRESS = 0
    MAP_UDP = 1
    MAP_TCP = 2


class NatPmpResult(IntEnum):
    """RFC 6886 §3.5."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5
