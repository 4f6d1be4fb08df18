"""What Prometheus reads of the proxy: every metric, its name and its labels.

No label holds a user, an address of a client or anything else that clients choose.
"""

from natkit.server.admin.metrics import Family, Kind, Values
from sip_proxy.administration import Status

__all__ = ["FAMILIES"]


def _one(value: float) -> Values:
    return {(): float(value)}


def _info(status: Status) -> Values:
    return {(status.version, status.event_loop): 1.0}


def _listeners(status: Status) -> Values:
    values: dict[tuple[str, ...], float] = {}
    for each in status.listeners:
        key = (str(each.transport),)
        values[key] = values.get(key, 0.0) + 1
    return values


def _answers(status: Status) -> Values:
    return {(each.method, str(each.status)): float(each.count) for each in status.answers}


def _connections(status: Status) -> Values:
    values: dict[tuple[str, ...], float] = {}
    for each in status.connections:
        values[str(each.transport), "accepted"] = float(each.accepted)
        values[str(each.transport), "made"] = float(each.made)
    return values


def _gateways_up(status: Status) -> Values:
    return {(each.group, each.name): float(each.is_up) for each in status.gateways}


def _gateway_calls(status: Status) -> Values:
    return {(each.group, each.name): float(each.calls) for each in status.gateways}


def _stores(status: Status) -> Values:
    return {
        ("users",): float(status.users.failure is None),
        ("location",): float(status.location.failure is None),
    }


def _events(status: Status) -> Values:
    return {(name.replace(" ", "_"),): float(count) for name, count in status.counts.items()}


def _certificates(status: Status) -> Values:
    return {(each.names[0] if each.names else "",): each.expires for each in status.certificates}


FAMILIES: tuple[Family[Status], ...] = (
    Family(
        "sip_proxy_info",
        Kind.GAUGE,
        "1; what runs stands in the labels.",
        _info,
        ("version", "event_loop"),
    ),
    Family(
        "sip_proxy_start_time_seconds",
        Kind.GAUGE,
        "When the proxy started, in Unix seconds.",
        lambda status: _one(status.started),
    ),
    Family(
        "sip_proxy_ready",
        Kind.GAUGE,
        "Whether new calls are taken, 1 or 0; 0 while the proxy drains.",
        lambda status: _one(status.is_ready),
    ),
    Family(
        "sip_proxy_listeners",
        Kind.GAUGE,
        "Addresses that SIP is spoken on.",
        _listeners,
        ("transport",),
    ),
    Family(
        "sip_proxy_requests_total",
        Kind.COUNTER,
        "Requests by method and final status, whoever chose it; unknown methods are OTHER.",
        _answers,
        ("method", "status"),
    ),
    Family(
        "sip_proxy_transactions",
        Kind.GAUGE,
        "Live transactions, those that wait for retransmissions included.",
        lambda status: _one(status.transactions),
    ),
    Family(
        "sip_proxy_forwarded_requests",
        Kind.GAUGE,
        "Requests that were sent on and whose transactions live.",
        lambda status: _one(status.forks),
    ),
    Family(
        "sip_proxy_waiting_requests",
        Kind.GAUGE,
        "Requests that wait for the DNS, a store or a connection.",
        lambda status: _one(status.waiting),
    ),
    Family(
        "sip_proxy_registered_addresses",
        Kind.GAUGE,
        "Addresses of record with bindings, as far as is known here.",
        lambda status: _one(status.registered),
    ),
    Family(
        "sip_proxy_calls",
        Kind.GAUGE,
        "Calls that ring or go on.",
        lambda status: _one(status.calls),
    ),
    Family(
        "sip_proxy_connections",
        Kind.GAUGE,
        "Open connections, by who made them.",
        _connections,
        ("transport", "direction"),
    ),
    Family(
        "sip_proxy_gateway_up",
        Kind.GAUGE,
        "Whether a gateway gets calls, 1 or 0.",
        _gateways_up,
        ("group", "gateway"),
    ),
    Family(
        "sip_proxy_gateway_calls",
        Kind.GAUGE,
        "Calls that a gateway carries.",
        _gateway_calls,
        ("group", "gateway"),
    ),
    Family(
        "sip_proxy_store_up",
        Kind.GAUGE,
        "Whether a store answers, 1 or 0; what is not there does.",
        _stores,
        ("store",),
    ),
    Family(
        "sip_proxy_dropped_packets_total",
        Kind.COUNTER,
        "What arrived and got no answer.",
        lambda status: _one(status.dropped),
    ),
    Family(
        "sip_proxy_events_total",
        Kind.COUNTER,
        "Whatever else happened, by what the log calls it.",
        _events,
        ("event",),
    ),
    Family(
        "sip_proxy_certificate_expiry_seconds",
        Kind.GAUGE,
        "When a certificate expires, in Unix seconds, by the first name in it.",
        _certificates,
        ("name",),
    ),
    Family(
        "sip_proxy_open_descriptors",
        Kind.GAUGE,
        "Open files.",
        lambda status: _one(status.descriptors.used),
    ),
    Family(
        "sip_proxy_max_descriptors",
        Kind.GAUGE,
        "Open files that the process may have.",
        lambda status: _one(status.descriptors.limit),
    ),
)
