"""The picture of what a packet costs: bars from SVG's few words."""

from collections.abc import Sequence
from math import ceil
from statistics import fmean
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.relay.cables.loads import LOADS, Load
from benchmarks.relay.cables.results import Results
from benchmarks.relay.cables.servers import COTURN, GENERIC, NATIVE, SERVERS, USERSPACE

__all__ = ["picture"]

_COLOURS: Final = {
    GENERIC: "#1b7f5c",
    NATIVE: "#7cc5a6",
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
    highest = max(max(results.added(name, load)) for name in SERVERS for load in _LOADS)
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
    """The servers under one load: the mean of the rounds, and a line from the least to the most."""
    parts = [_words(_LEFT - 10, y + _GROUP / 2 - 3, load.title, "end")]
    for number, name in enumerate(_COLOURS):
        added = results.added(name, load)
        top = y + number * _BAR
        parts += [
            _box(_LEFT, top, _length(fmean(added), end), _COLOURS[name]),
            _range(added, top + _BAR / 2 - 1, end),
            _words(_LEFT + _length(max(added), end) + 6, top + 9, f"{fmean(added):.2f}"),
        ]
    return parts


def _range(added: Sequence[float], y: float, end: float) -> str:
    low, high = (_LEFT + _length(each, end) for each in (min(added), max(added)))
    return f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="#222"/>'


def _length(microseconds: float, end: float) -> float:
    return max(0.0, microseconds) / end * _SPAN
