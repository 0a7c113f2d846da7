"""All series, one after another: a table of each, and what is worse than it may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import chart, machine
from benchmarks.scale.components import COMPONENTS
from benchmarks.scale.executions import EXECUTIONS
from benchmarks.scale.histories import HISTORIES
from benchmarks.scale.pages import PAGES
from benchmarks.scale.parameters import PARAMETERS
from benchmarks.scale.series import Sample, Series, by_cost, exponent, findings
from benchmarks.scale.waiting import WAITING

SERIES: Final = {series.name: series for series in (EXECUTIONS, WAITING, HISTORIES, PARAMETERS, COMPONENTS, PAGES)}


def scale(chosen: list[str], console: Console, say: Callable[[str], None]) -> tuple[str, dict[str, str], list[str]]:
    """Measures the chosen series: JSON, a drawing of each, and what is worse than it may be."""
    whole, drawings, problems = {}, {}, []
    for name in chosen:
        series = SERIES[name]
        samples: dict[int, Sample] = {}
        for size in series.sizes:
            samples[size] = series.measure(size)
            say(f"{name} {size:,}: " + ", ".join(f"{cost} {value:,.2f}" for cost, value in samples[size].items()))
        console.print(_table(series, samples))
        problems += findings(series, samples)
        points = by_cost(samples)
        drawings[name] = chart.lines(series.title, series.grows, series.unit, points)
        whole[name] = {
            "title": series.title,
            "grows": series.grows,
            "samples": {str(size): dict(sample) for size, sample in samples.items()},
            "exponents": {cost: exponent(each) for cost, each in points.items()},
        }
    for problem in problems:
        console.print(problem, style="red", highlight=False)
    text = json.dumps({"machine": machine.describe(), "series": whole, "problems": problems}, indent=2) + "\n"
    return text, drawings, problems


def _table(series: Series, samples: Mapping[int, Sample]) -> Table:
    table = Table(title=f"{series.title}{f', {series.unit}' if series.unit else ''}", title_justify="left")
    table.add_column(series.grows)
    for size in samples:
        table.add_column(f"{size:,}", justify="right")
    table.add_column("grows as", justify="right")
    for cost, points in by_cost(samples).items():
        growth = exponent(points)
        cells = [f"{value:,.2f}" for _, value in points]
        table.add_row(cost, *cells, "" if growth is None else f"n^{growth:.2f}")
    return table
