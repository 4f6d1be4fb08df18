"""What Prometheus reads of the server: every metric, its name and its labels.

No label holds a user, an address of a client or anything else that clients choose.
"""

from natkit.machine import Transport
from natkit.server.admin.metrics import Family, Kind, Values
from stun_server.administration import Status

__all__ = ["FAMILIES"]

_FAMILIES = (4, 6)
_TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.DTLS)


def _one(value: float) -> Values:
    return {(): float(value)}


def _named(name: str) -> str:
    """A label's value from what the server calls its counts."""
    return name.replace(" ", "_")


def _info(status: Status) -> Values:
    labels = (status.version, status.plane, status.plane_reason, status.event_loop)
    return {labels: 1.0}


def _allocations(status: Status) -> Values:
    # Those that may come are there with 0: what vanishes cannot be told from what is not asked.
    transports = dict.fromkeys(each.transport for each in status.listeners)
    values: dict[tuple[str, ...], float] = {
        (str(each), str(family)): 0.0 for each in transports for family in _FAMILIES
    }
    for each in status.allocations:
        values[str(each.transport), str(each.family)] = float(each.count)
    return values


def _listeners(status: Status) -> Values:
    # 0 stands for a transport that could be served; SIP's are none of them.
    values: dict[tuple[str, ...], float] = {(str(each),): 0.0 for each in _TRANSPORTS}
    for each in status.listeners:
        values[(str(each.transport),)] += 1
    return values


def _relayed_packets(status: Status) -> Values:
    relayed = status.relayed
    return {
        ("to_peers",): float(relayed.packets_to_peers),
        ("to_clients",): float(relayed.packets_to_clients),
    }


def _relayed_bytes(status: Status) -> Values:
    relayed = status.relayed
    return {
        ("to_peers",): float(relayed.bytes_to_peers),
        ("to_clients",): float(relayed.bytes_to_clients),
    }


def _dropped(status: Status) -> Values:
    return {(_named(reason),): float(count) for reason, count in status.dropped.items()}


def _refused(status: Status) -> Values:
    return {(str(code),): float(count) for code, count in status.refusals.items()}


def _events(status: Status) -> Values:
    return {(_named(name),): float(count) for name, count in status.counts.items()}


def _certificates(status: Status) -> Values:
    return {(each.names[0] if each.names else "",): each.expires for each in status.certificates}


def _worker_sessions(status: Status) -> Values:
    return {(str(each.number),): float(each.sessions) for each in status.workers}


def _worker_restarts(status: Status) -> Values:
    return {(str(each.number),): float(each.restarts) for each in status.workers}


def _descriptors(status: Status) -> Values:
    return {(str(each.number),): float(each.descriptors.used) for each in status.workers}


def _descriptor_limits(status: Status) -> Values:
    return {(str(each.number),): float(each.descriptors.limit) for each in status.workers}


FAMILIES: tuple[Family[Status], ...] = (
    Family(
        "stun_server_info",
        Kind.GAUGE,
        "1; what runs stands in the labels.",
        _info,
        ("version", "plane", "plane_reason", "event_loop"),
    ),
    Family(
        "stun_server_start_time_seconds",
        Kind.GAUGE,
        "When the server started, in Unix seconds.",
        lambda status: _one(status.started),
    ),
    Family(
        "stun_server_ready",
        Kind.GAUGE,
        "Whether new allocations are granted, 1 or 0; 0 while the server drains.",
        lambda status: _one(status.is_ready),
    ),
    Family(
        "stun_server_listeners",
        Kind.GAUGE,
        "Addresses that clients are served on.",
        _listeners,
        ("transport",),
    ),
    Family(
        "stun_server_sessions",
        Kind.GAUGE,
        "Live allocations; one with two relayed addresses is one.",
        lambda status: _one(status.sessions),
    ),
    Family(
        "stun_server_allocations",
        Kind.GAUGE,
        "Live relayed addresses, by the client's transport and the address's family, 4 or 6.",
        _allocations,
        ("transport", "family"),
    ),
    Family(
        "stun_server_connections",
        Kind.GAUGE,
        "Clients' open connections: TCP, TLS and DTLS.",
        lambda status: _one(status.connections),
    ),
    Family(
        "stun_server_relayed_packets_total",
        Kind.COUNTER,
        "Relayed packets, those of live sessions included.",
        _relayed_packets,
        ("direction",),
    ),
    Family(
        "stun_server_relayed_bytes_total",
        Kind.COUNTER,
        "Bytes of application data in them.",
        _relayed_bytes,
        ("direction",),
    ),
    Family(
        "stun_server_dropped_packets_total",
        Kind.COUNTER,
        "Packets that were not relayed.",
        _dropped,
        ("reason",),
    ),
    Family(
        "stun_server_bindings_total",
        Kind.COUNTER,
        "Answered Binding requests.",
        lambda status: _one(status.bindings),
    ),
    Family(
        "stun_server_refused_requests_total",
        Kind.COUNTER,
        "Requests answered with an error, by STUN's error code; challenges do not count.",
        _refused,
        ("code",),
    ),
    Family(
        "stun_server_refused_peers_total",
        Kind.COUNTER,
        "Peers that the policy refused.",
        lambda status: _one(status.peers_refused),
    ),
    Family(
        "stun_server_events_total",
        Kind.COUNTER,
        "Whatever else happened, by what the log calls it.",
        _events,
        ("event",),
    ),
    Family(
        "stun_server_store_up",
        Kind.GAUGE,
        "Whether the store of users answers, 1 or 0.",
        lambda status: _one(status.store.failure is None),
    ),
    Family(
        "stun_server_certificate_expiry_seconds",
        Kind.GAUGE,
        "When the certificate expires, in Unix seconds, by the first name in it.",
        _certificates,
        ("name",),
    ),
    Family(
        "stun_server_worker_sessions",
        Kind.GAUGE,
        "Live allocations of each process.",
        _worker_sessions,
        ("worker",),
    ),
    Family(
        "stun_server_worker_restarts_total",
        Kind.COUNTER,
        "How often each process has died and was started again.",
        _worker_restarts,
        ("worker",),
    ),
    Family(
        "stun_server_worker_open_descriptors",
        Kind.GAUGE,
        "Open files of each process.",
        _descriptors,
        ("worker",),
    ),
    Family(
        "stun_server_worker_max_descriptors",
        Kind.GAUGE,
        "Open files that each process may have.",
        _descriptor_limits,
        ("worker",),
    ),
)
