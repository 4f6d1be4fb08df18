"""The tables of the kernel's relay plane, as bytes: what ``relay_tables.h`` declares.

Keys and values are in the processor's byte order, addresses and ports in network order.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from natkit.address import IPNetwork
from natkit.net import sockaddr
from natkit.relay.plane import Counters, Ports
from natkit.relay.rates import BUCKET_WORDS
from natkit.relay.source_memory import State

__all__ = [
    "BUCKETS",
    "COUNTERS_STRIDE",
    "HALF_SIZE",
    "LOW_DEVICES",
    "NO_DEVICE",
    "PORT_RANGES",
    "REFUSED",
    "REFUSED_AT",
    "SIZES",
    "WORKERS",
    "DeviceFlag",
    "HalfFields",
    "LocalKind",
    "Mark",
    "channel_key",
    "channel_value",
    "device_key",
    "device_value",
    "endpoint",
    "endpoint_of_host",
    "flow_key",
    "flow_of_client",
    "flow_of_peer",
    "half_of_flow",
    "half_of_key",
    "half_of_local",
    "half_value",
    "limits_value",
    "local_value",
    "low_device_key",
    "network_key",
    "network_value",
    "permission_key",
    "permission_value",
    "read_counters",
    "settings_value",
]


class Mark(IntFlag):
    """What is said of a half, a client, a permission or a channel."""

    HAND_UP = 1
    """User space treats all that concerns it."""
    ONLY_RELAYED = 2
    """Only from and to addresses that are relayed here."""


class DeviceFlag(IntFlag):
    """What is said of an interface."""

    RUNS_ON_SKB = 1
    """The program runs after the driver, on packets that may hold several datagrams."""
    FAR_END_ELSEWHERE = 2
    """A virtual cable, whose far end is in another network namespace."""


class LocalKind(IntEnum):
    """What a local address is."""

    LISTENER = 1
    RELAYED = 2


ANSWERS_BINDING = 1
COUNTS_SOURCES = 2
LOW_DEVICES = 1024
"""Interfaces with lower numbers have a table that takes less time, where they have no tag."""

PORT_RANGES = 4
"""How many ranges of ports a permission has room for; with more, user space sees to it."""

BUCKETS = 2
"""How many buckets the data of an allocation passes each way; with more, user space sees to it."""

_ENDPOINT = struct.Struct("=16s2sH")
_HALF = struct.Struct("=QIIII2I2I20s4x20s20s24x")
_LIMITS = struct.Struct(f"={2 * BUCKETS}I")
_COUNTERS = struct.Struct("=10Q48x")
REFUSED = struct.Struct("=3Q")
REFUSED_AT = 80
"""Where in ``struct counters`` the Binding requests stand that were not answered."""
_NETWORK_KEY = struct.Struct("=II16s")
_SOURCE = struct.Struct("=2Q")
_LOCAL = struct.Struct("=III")
_FLOW_IPV4 = struct.Struct("=4s4s2s2s")
_FLOW_IPV6 = struct.Struct("=16s16s2s2s")
_FLOW = struct.Struct("=QQIHH")
_PERMISSION_KEY = struct.Struct("=I16s")
_PERMISSION = struct.Struct(f"=QII{2 * PORT_RANGES}H")
_CHANNEL_KEY = struct.Struct("=II")
_CHANNEL = struct.Struct("=Q20sI")
_DEVICE_KEY = struct.Struct("=II")
_DEVICE = struct.Struct("=6sBBIHxx")
WORKERS = 256
"""How many processes the tables can have a sign of."""

_SETTINGS = struct.Struct(f"=QBB6x{WORKERS}x")
_NUMBER = struct.Struct("=I")

HALF_SIZE = _HALF.size
NO_DEVICE = bytes(_DEVICE.size)
"""A place of that table where there is none."""
COUNTERS_STRIDE = _COUNTERS.size

SIZES: dict[str, tuple[int, int]] = {
    "settings": (_NUMBER.size, _SETTINGS.size),
    "halves": (_NUMBER.size, _HALF.size),
    "counters": (_NUMBER.size, _COUNTERS.size),
    "buckets": (_NUMBER.size, 8 * BUCKET_WORDS),
    "low_devices": (_NUMBER.size, _DEVICE.size),
    "devices": (_DEVICE_KEY.size, _DEVICE.size),
    "locals": (_ENDPOINT.size, _LOCAL.size),
    "flows_ipv4": (_FLOW_IPV4.size, _FLOW.size),
    "flows_ipv6": (_FLOW_IPV6.size, _FLOW.size),
    "permissions": (_PERMISSION_KEY.size, _PERMISSION.size),
    "channels": (_CHANNEL_KEY.size, _CHANNEL.size),
    "external": (_ENDPOINT.size, _NUMBER.size),
    "networks": (_NETWORK_KEY.size, _NUMBER.size),
    "sources": (_NUMBER.size, _SOURCE.size),
    "sources_state": (_NUMBER.size, 8 * len(State)),
}
"""By the name of a table, the bytes of a key and of a value."""


def endpoint(name: bytes) -> bytes:
    """``struct endpoint`` of a socket address, without its scope."""
    host = sockaddr.host_bytes(name)
    return _ENDPOINT.pack(host, name[2:4], 4 if len(host) == 4 else 6)


def endpoint_of_host(host: bytes) -> bytes:
    """``struct endpoint`` of a host, with port 0."""
    return _ENDPOINT.pack(host, bytes(2), 4 if len(host) == 4 else 6)


@dataclass(frozen=True, slots=True)
class HalfFields:
    """``struct half``; endpoints as :func:`endpoint` gives them, ``until`` in nanoseconds."""

    until: int
    relayed: bytes
    client: bytes
    listener: bytes
    flags: Mark
    other: int
    counters: int
    own: int
    to_peers: tuple[int, ...] = ()
    to_clients: tuple[int, ...] = ()


def half_value(half: HalfFields) -> bytes:
    """``struct half``."""
    return _HALF.pack(
        half.until,
        half.flags,
        half.other,
        half.counters,
        half.own,
        *_both(half.to_peers),
        *_both(half.to_clients),
        half.relayed,
        half.client,
        half.listener,
    )


def limits_value(to_peers: Sequence[int], to_clients: Sequence[int]) -> bytes:
    """The part of ``struct half`` that says through which buckets its data passes."""
    return _LIMITS.pack(*_both(to_peers), *_both(to_clients))


def _both(numbers: Sequence[int]) -> Sequence[int]:
    return (*numbers, *(0,) * BUCKETS)[:BUCKETS]


def half_of_local(value: bytes) -> int:
    """Which half a ``struct local`` leads to; 0 for that of a listener."""
    half: int = _LOCAL.unpack(value)[2]
    return half


def half_of_flow(value: bytes) -> int:
    """Which half a ``struct flow`` leads to."""
    half: int = _FLOW.unpack(value)[2]
    return half


def half_of_key(key: bytes) -> int:
    """Whose permission or channel a key is of."""
    half: int = _NUMBER.unpack_from(key)[0]
    return half


def local_value(
    kind: LocalKind, half: int = 0, *, answers_binding: bool = False, is_counted: bool = False
) -> bytes:
    """``struct local``."""
    flags = (ANSWERS_BINDING if answers_binding else 0) | (COUNTS_SOURCES if is_counted else 0)
    return _LOCAL.pack(kind, flags, half)


def flow_key(source: bytes, destination: bytes) -> bytes:
    """``struct flow_ipv4`` or ``struct flow_ipv6``, of the endpoints of one family."""
    host, port, family = _ENDPOINT.unpack(source)
    to_host, to_port, _ = _ENDPOINT.unpack(destination)
    if family == 4:
        return _FLOW_IPV4.pack(host, to_host, port, to_port)
    return _FLOW_IPV6.pack(host, to_host, port, to_port)


def flow_of_client(half: int, flags: Mark) -> bytes:
    """``struct flow`` of a client, whose allocation's first half that is."""
    return _FLOW.pack(0, 0, half, 0, flags)


def flow_of_peer(half: int, channel: int, until: int, permitted: int) -> bytes:
    """``struct flow`` of a peer that has a channel until then.

    Until ``permitted`` a permission that has no conditions is its, too; 0: that must be looked up.
    """
    return _FLOW.pack(until, permitted, half, channel, 0)


def permission_key(half: int, host: bytes) -> bytes:
    """``struct permission_key``; ``host`` has 4 or 16 bytes."""
    return _PERMISSION_KEY.pack(half, host)


def permission_value(until: int, ports: Ports, *, only_relayed: bool) -> bytes:
    """``struct permission``."""
    flags = Mark.ONLY_RELAYED if only_relayed else Mark(0)
    if only_relayed and len(ports) > PORT_RANGES:
        flags |= Mark.HAND_UP
    kept = list(ports[:PORT_RANGES]) if only_relayed else []
    flat = [port for both in (*kept, *[(0, 0)] * (PORT_RANGES - len(kept))) for port in both]
    return _PERMISSION.pack(until, flags, len(kept), *flat)


def channel_key(half: int, number: int) -> bytes:
    """``struct channel_key``."""
    return _CHANNEL_KEY.pack(half, number)


def channel_value(until: int, peer: bytes, *, only_relayed: bool) -> bytes:
    """``struct channel``; ``peer`` is an endpoint."""
    return _CHANNEL.pack(until, peer, Mark.ONLY_RELAYED if only_relayed else 0)


def low_device_key(interface: int) -> bytes:
    """Where a device without a tag stands in the table of those with low numbers."""
    return _NUMBER.pack(interface)


def device_key(interface: int, vlan: int = 0) -> bytes:
    """``struct device_key``."""
    return _DEVICE_KEY.pack(interface, vlan)


def device_value(port: int, vlan: int, mac: bytes, flags: DeviceFlag, hop_limit: int) -> bytes:
    """``struct device``."""
    return _DEVICE.pack(mac, flags, hop_limit, port, vlan)


def network_key(network: IPNetwork) -> bytes:
    """``struct network_key``."""
    prefix = 8 * _NUMBER.size + network.prefixlen
    return _NETWORK_KEY.pack(prefix, network.version, network.network_address.packed)


def network_value(*, is_served: bool) -> bytes:
    """Whether clients in it are served."""
    return _NUMBER.pack(is_served)


def settings_value(standing_clock: int, dscp: int, ttl: int) -> bytes:
    """``struct settings``, of workers that have all in the tables."""
    return _SETTINGS.pack(standing_clock, dscp << 2, ttl)


def read_counters(memory: bytes) -> Counters:
    """``struct counters``."""
    (
        packets_to_peers,
        bytes_to_peers,
        packets_to_clients,
        bytes_to_clients,
        malformed,
        no_allocation,
        no_channel,
        no_permission,
        over_rate,
        bindings,
    ) = _COUNTERS.unpack(memory)
    return Counters(
        packets_to_peers=packets_to_peers,
        bytes_to_peers=bytes_to_peers,
        packets_to_clients=packets_to_clients,
        bytes_to_clients=bytes_to_clients,
        dropped_malformed=malformed,
        dropped_no_allocation=no_allocation,
        dropped_no_channel=no_channel,
        dropped_no_permission=no_permission,
        dropped_over_rate=over_rate,
        bindings_answered=bindings,
    )
