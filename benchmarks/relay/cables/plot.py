"""The picture of what a packet costs: bars from SVG's few words."""

from collections.abc import Sequence
from math import ceil
from statistics import quantiles
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.relay.cables.loads import LOADS, Load
from benchmarks.relay.cables.results import Results
from benchmarks.relay.cables.servers import COTURN, KERNEL, SERVERS, USERSPACE

__all__ = ["picture"]

_COLOURS: Final = {
    KERNEL: "#1b7f5c",
    USERSPACE: "#3d6fb5",
    COTURN: "#b9652a",
}
_LOADS: Final = tuple(load for load in LOADS if load.clients != 4)
_LEFT, _RIGHT, _TOP = 215, 60, 58
_BAR, _GAP = 11, 13
_GROUP: Final = len(SERVERS) * _BAR + _GAP
_WIDTH: Final = 860
_SPAN: Final = _WIDTH - _LEFT - _RIGHT
_TEXT: Final = 'font-family="sans-serif" font-size="12" fill="#222"'
_STEPS: Final = (0.5, 1, 2, 5, 10, 20, 50)


def picture(results: Results) -> str:
    """An SVG image."""
    highest = max(_middle(results.added(name, load))[2] for name in SERVERS for load in _LOADS)
    step = next((each for each in _STEPS if highest / each <= 10), highest)
    end = step * ceil(highest / step)
    height = _TOP + len(_LOADS) * _GROUP + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        _words(_LEFT, 20, "CPU of a packet, the load's own not counted: µs of the whole machine"),
        *_legend(),
        *_grid(step, end, height - 34),
    ]
    for number, load in enumerate(_LOADS):
        parts += _group(results, load, _TOP + number * _GROUP + _GAP // 2, end)
    return "\n".join([*parts, "</svg>", ""])


def _words(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" {_TEXT}>{escape(text)}</text>'


def _box(x: float, y: float, width: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>'
    )


def _legend() -> list[str]:
    parts = []
    for number, name in enumerate(_COLOURS):
        x = _LEFT + number * 140
        parts += [_box(x, 32, 14, _COLOURS[name]), _words(x + 20, 41, name)]
    return parts


def _grid(step: float, end: float, bottom: float) -> list[str]:
    parts = []
    for number in range(round(end / step) + 1):
        x = _LEFT + _SPAN * number * step / end
        parts += [
            f'<path d="M{x:.1f} {_TOP - 6}V{bottom:.1f}" stroke="#ddd"/>',
            _words(x, bottom + 18, f"{number * step:g}", "middle"),
        ]
    return parts


def _group(results: Results, load: Load, y: float, end: float) -> list[str]:
    """The servers under one load: medians of the rounds, and a line for their middle half."""
    parts = [_words(_LEFT - 10, y + _GROUP / 2 - 3, load.title, "end")]
    for number, name in enumerate(_COLOURS):
        low, middle, high = _middle(results.added(name, load))
        top = y + number * _BAR
        parts += [
            _box(_LEFT, top, _length(middle, end), _COLOURS[name]),
            _range(low, high, top + _BAR / 2 - 1, end),
            _words(_LEFT + _length(high, end) + 6, top + 9, f"{middle:.2f}"),
        ]
    return parts


def _middle(added: Sequence[float]) -> tuple[float, float, float]:
    """What a quarter, a half, and three quarters are below."""
    if len(added) < 2:
        return added[0], added[0], added[0]
    low, middle, high = quantiles(added, n=4, method="inclusive")
    return low, middle, high


def _range(low: float, high: float, y: float, end: float) -> str:
    start, stop = (_LEFT + _length(each, end) for each in (low, high))
    return f'<path d="M{start:.1f} {y:.1f}H{stop:.1f}" stroke="#222"/>'


def _length(microseconds: float, end: float) -> float:
    return max(0.0, microseconds) / end * _SPAN
