"""The charts: bars of a few cases for the README, and lines of what grows for the scale report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.figures import BY_NAME, Results
from benchmarks.report import OURS
from benchmarks.svg import Drawing

_SHOWN: Final = (
    ("series", "child_per_s", "500 child executions in series, per second"),
    ("at-once", "child_per_s", "500 child executions at once, per second"),
    ("many", "child_per_s", "200 workflows of 10 child executions, per second"),
    ("latency", "p50_ms", "one-step workflow, submission to result, ms (less is better)"),
)
_WIDTH: Final = 720
_LABELS: Final = 150
_VALUES: Final = 90
_BAR: Final = 20
_GAP: Final = 30
_LINES_MAX: Final = 8

Points = Sequence[tuple[float, float]]


def bars(results: Results) -> str:
    """Medians of all contenders, a group of bars for each case that was measured."""
    names = sorted((name for name in results.contenders if name != "floor"), key=lambda name: name != OURS)
    groups = []
    for case, metric, title in _SHOWN:
        values = [(name, results.median(case, metric, name)) for name in names]
        measured = [(name, value) for name, value in values if value is not None]
        if measured:
            groups.append((title, measured))
    height = sum(_GAP + _BAR * len(measured) for _, measured in groups) + 16
    drawing = Drawing(_WIDTH, max(height, 48), "; ".join(_sentence(title, found) for title, found in groups))
    if not groups:
        drawing.text(0, 28, "not measured yet: make bench", style="small")
    y = 0.0
    styles = {name: f"s{min(index, 3)}" for index, name in enumerate(names)}
    for title, measured in groups:
        y += _GAP
        drawing.text(0, y - 9, title, style="title")
        most = max(value for _, value in measured)
        for name, value in measured:
            drawing.text(0, y + 14, name, style="" if name == OURS else "small")
            width = (_WIDTH - _LABELS - _VALUES) * value / most
            drawing.bar(_LABELS, y + 3, width, _BAR - 5, styles[name])
            drawing.text(_LABELS + width + 6, y + 14, _short(value), style="small")
            y += _BAR
    return str(drawing)


def _sentence(title: str, measured: list[tuple[str, float]]) -> str:
    return f"{title}: " + ", ".join(f"{name} {_short(value)}" for name, value in measured)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lines(title: str, x_title: str, y_title: str, series: Mapping[str, Points]) -> str:
    """Both axes are logarithmic: what is linear has slope 1, what is constant lies flat. Of many series the dearest are shown."""
    width, height, left, bottom, top, right = 720, 320, 64, 44, 34, 170
    drawing = Drawing(width, height, f"{title}: {y_title} by {x_title}")
    drawing.text(0, 16, title, style="title")
    positive = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    every = [point for points in positive.values() for point in points]
    if not every:
        return str(drawing)
    x_low, x_high = _decades([x for x, _ in every])
    y_low, y_high = _decades([y for _, y in every])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return left + across * (width - left - right), height - bottom - up * (height - bottom - top)

    for decade in range(x_low, x_high + 1):
        x, y = place(10.0**decade, 10.0**y_low)
        drawing.line([(x, y), (x, top)], "axis")
        drawing.text(x, y + 16, _power(decade), style="small", anchor="middle")
    for decade in range(y_low, y_high + 1):
        x, y = place(10.0**x_low, 10.0**decade)
        drawing.line([(x, y), (width - right, y)], "axis")
        drawing.text(x - 6, y + 4, _power(decade), style="small", anchor="end")
    drawing.text((left + width - right) / 2, height - 8, x_title, style="small", anchor="middle")
    drawing.text(left, top - 6, y_title, style="small")
    drawn = [(name, points) for name, points in positive.items() if points]
    shown = sorted(drawn, key=lambda each: each[1][-1][1], reverse=True)[:_LINES_MAX]
    label_at = 0.0
    for index, (name, points) in enumerate(shown):
        placed = [place(x, y) for x, y in points]
        drawing.line(placed, f"l{index}")
        label_at = max(placed[-1][1] + 4, label_at + 13)
        drawing.line([(width - right + 6, label_at - 4), (width - right + 16, label_at - 4)], f"l{index}")
        drawing.text(width - right + 20, label_at, name, style="small")
    return str(drawing)


def _decades(values: list[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _power(decade: int) -> str:
    return f"{10**decade:,}" if 0 <= decade <= 6 else f"{10.0**decade:g}"


assert all(case in BY_NAME for case, _, _ in _SHOWN)
