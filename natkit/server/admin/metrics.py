"""Metrics for Prometheus: families declared once, read from one state, written as text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

__all__ = ["Family", "Kind", "Values", "exposition", "scraped"]

S = TypeVar("S")

Values = Mapping[tuple[str, ...], float]
"""A value for each combination of labels; ``{(): 1}`` where a family has none."""


class Kind(StrEnum):
    """What a number does."""

    GAUGE = "gauge"
    COUNTER = "counter"
    """Grows, and starts again at 0 with the server; its name ends in ``_total``."""


@dataclass(frozen=True, slots=True)
class Family(Generic[S]):
    """One metric: its full name, what it says, and how it is read from the state ``S``.

    The values of its labels are few whatever clients do.
    """

    name: str
    kind: Kind
    says: str
    read: Callable[[S], Values]
    labels: tuple[str, ...] = ()


class _Snapshot(Collector, Generic[S]):
    """Gives a registry of its own the metrics of one moment."""

    def __init__(self, families: Sequence[Family[S]], state: S) -> None:
        self._families = families
        self._state = state

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric: GaugeMetricFamily | CounterMetricFamily
            match family.kind:
                case Kind.GAUGE:
                    metric = GaugeMetricFamily(family.name, family.says, labels=family.labels)
                case Kind.COUNTER:
                    metric = CounterMetricFamily(family.name, family.says, labels=family.labels)
            for labels, value in family.read(self._state).items():
                metric.add_metric(list(labels), value)
            yield metric


def exposition(
    families: Sequence[Family[S]], state: S, accept: str | None = None
) -> tuple[bytes, str]:
    """The metrics of ``state`` in the format that a scraper accepts, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(families, state))
    encode, content_type = choose_encoder(accept or "")
    return encode(registry), content_type


def scraped(request: web.Request, families: Sequence[Family[S]], state: S) -> web.Response:
    """The metrics of ``state``, for the scraper that asks."""
    text, kind = exposition(families, state, request.headers.get("Accept"))
    return web.Response(body=text, headers={"Content-Type": kind})
