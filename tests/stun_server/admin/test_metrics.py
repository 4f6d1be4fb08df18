"""The metrics: what they say, what they never say, and the page that lists them."""

import re
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from natkit.machine import Transport
from natkit.server.admin.metrics import Kind, exposition
from stun_server.admin.metrics import FAMILIES
from stun_server.administration import ListenerStatus, Status, StoreStatus
from tests.project.tree import ROOT
from tests.stun_server.test_administration import FIRST, SECOND

PAGE = ROOT / "docs" / "guides" / "monitoring.md"
ROW = re.compile(r"^\| `(stun_server_\w+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


def scraped(status: Status) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = exposition(FAMILIES, status)[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(status: Status, name: str, /, **labels: str) -> float | None:
    return scraped(status).get((name, frozenset(labels.items())))


def test_each_number_of_the_status_is_there() -> None:
    assert value(FIRST, "stun_server_sessions") == 3
    assert value(FIRST, "stun_server_allocations", transport="udp", family="4") == 2
    assert value(FIRST, "stun_server_relayed_packets_total", direction="to_peers") == 1
    assert value(FIRST, "stun_server_relayed_bytes_total", direction="to_peers") == 2
    assert value(FIRST, "stun_server_relayed_packets_total", direction="to_clients") == 3
    assert value(FIRST, "stun_server_relayed_bytes_total", direction="to_clients") == 4
    assert value(FIRST, "stun_server_bindings_total") == 5
    assert value(FIRST, "stun_server_refused_requests_total", code="486") == 1
    assert value(FIRST, "stun_server_refused_peers_total") == 7
    assert value(FIRST, "stun_server_dropped_packets_total", reason="no_channel") == 1
    assert value(FIRST, "stun_server_events_total", event="malformed_messages") == 1
    assert value(FIRST, "stun_server_connections") == 2
    assert value(FIRST, "stun_server_store_up") == 1
    assert value(FIRST, "stun_server_certificate_expiry_seconds", name="example.org") == 2e9
    assert value(FIRST, "stun_server_start_time_seconds") == 1000.5
    assert value(FIRST, "stun_server_worker_open_descriptors", worker="0") == 9
    assert value(FIRST, "stun_server_worker_max_descriptors", worker="0") == 1024
    assert value(FIRST, "stun_server_worker_sessions", worker="0") == 3
    assert value(FIRST, "stun_server_listeners", transport="udp") == 1
    assert value(FIRST, "stun_server_listeners", transport="dtls") == 0
    labels = {
        "version": "0.1",
        "plane": "userspace",
        "plane_reason": "asked for",
        "event_loop": "uvloop",
    }
    assert value(FIRST, "stun_server_info", **labels) == 1


def test_a_drain_a_dead_store_and_a_worker_that_died_are_seen() -> None:
    assert (value(FIRST, "stun_server_ready"), value(SECOND, "stun_server_ready")) == (1, 0)
    assert value(SECOND, "stun_server_worker_restarts_total", worker="1") == 1
    down = replace(FIRST, store=StoreStatus("redis", "no answer"))
    assert value(down, "stun_server_store_up") == 0


def test_what_there_is_none_of_is_zero_where_it_may_come() -> None:
    listeners = (
        ListenerStatus(Transport.UDP, "192.0.2.1:3478"),
        ListenerStatus(Transport.TLS, "192.0.2.1:5349"),
    )
    idle = replace(FIRST, allocations=(), listeners=listeners)
    for transport in ("udp", "tls"):
        for family in ("4", "6"):
            assert value(idle, "stun_server_allocations", transport=transport, family=family) == 0


def test_only_transports_that_the_server_has_are_listed() -> None:
    (listeners,) = (each for each in FAMILIES if each.name == "stun_server_listeners")
    assert {labels[0] for labels in listeners.read(FIRST)} == {"udp", "tcp", "tls", "dtls"}


def test_nothing_that_a_client_chooses_is_a_label() -> None:
    labels = {label for family in FAMILIES for label in family.labels}
    assert labels == {
        "code",
        "direction",
        "event",
        "event_loop",
        "family",
        "name",
        "plane",
        "plane_reason",
        "reason",
        "transport",
        "version",
        "worker",
    }


def test_names_are_as_prometheus_wants_them() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"stun_server(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert family.says.endswith(".")


def test_the_page_lists_every_metric_as_it_is() -> None:
    rows = re.findall(
        r"^\| `(stun_server_\w+)` \| (.*?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [
        (
            family.name,
            ", ".join(f"`{label}`" for label in family.labels),
            family.says,
        )
        for family in FAMILIES
    ]
