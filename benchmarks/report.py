"""The report: a table of medians and ratios for a terminal, and everything as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.figures import CASES, Results, ratio

OURS: Final = "Obelisk"


def show(results: Results, notes: Mapping[str, str], console: Console) -> None:
    """The table. What peers have is followed by how many times better ours is."""
    others = [name for name in results.contenders if name != OURS]
    table = Table(title="medians; in brackets how many times better Obelisk is", title_justify="left")
    table.add_column("")
    table.add_column(OURS, justify="right")
    for name in others:
        table.add_column(name, justify="right")
    for case in CASES:
        rows = []
        for metric in case.metrics:
            values = {name: results.median(case.name, metric.name, name) for name in (OURS, *others)}
            if all(value is None for value in values.values()):
                continue
            cells = [_number(values[OURS])]
            for name in others:
                times = ratio(metric, values[OURS], values[name])
                cells.append(_number(values[name]) + ("" if times is None else f" ({times:.1f}x)"))
            rows.append((f"  {metric.title}, {metric.unit}", *cells))
        if rows:
            table.add_row(f"[bold]{case.letter}[/bold] {case.title}")
            for row in rows:
                table.add_row(*row)
    console.print(table)
    share = floor_share(results)
    if share is not None:
        console.print(f"A is {share:.2f} of what SQLite does in durable commits of one row.")
    for name, note in notes.items():
        console.print(f"{name}: {note}", highlight=False)
    for name, why in results.absent.items():
        console.print(f"not measured: {name}: {why}", highlight=False)


def floor_share(results: Results) -> float | None:
    """Steps of A by durable single-row commits, the median of the rounds: what two versions on one machine are compared by."""
    steps = results.values.get(("series", "child_per_s", OURS), [])
    commits = results.values.get(("floors", "commits_per_s", "floor"), [])
    shares = [ours / floor for ours, floor in zip(steps, commits, strict=False)]
    return statistics.median(shares) if shares else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}"


def as_json(results: Results, notes: Mapping[str, str], machine: Mapping[str, str]) -> str:
    """Every value of every round, with medians and ratios."""
    cases: dict[str, Any] = {}
    for case in CASES:
        metrics = {}
        for metric in case.metrics:
            by_contender = {
                name: {"median": results.median(case.name, metric.name, name), "rounds": found}
                for name in results.contenders
                if (found := results.values.get((case.name, metric.name, name)))
            }
            ours = results.median(case.name, metric.name, OURS)
            ratios = {
                name: times
                for name in by_contender
                if name != OURS
                and (times := ratio(metric, ours, results.median(case.name, metric.name, name))) is not None
            }
            if by_contender:
                metrics[metric.name] = {
                    "title": metric.title,
                    "unit": metric.unit,
                    "more_is_better": metric.more_is_better,
                    "values": by_contender,
                    "times_better": ratios,
                }
        if metrics:
            cases[case.name] = {"letter": case.letter, "title": case.title, "metrics": metrics}
    whole = {
        "machine": dict(machine),
        "contenders": dict(notes),
        "absent": results.absent,
        "share_of_commits": floor_share(results),
        "cases": cases,
    }
    return json.dumps(whole, indent=2) + "\n"


def from_json(text: str) -> tuple[Results, dict[str, str]]:
    """The results of a report and its notes, to show it again."""
    results = Results()
    whole = json.loads(text)
    for case, found in whole["cases"].items():
        for metric, described in found["metrics"].items():
            for contender, values in described["values"].items():
                results.values[case, metric, contender] = values["rounds"]
    results.absent = whole["absent"]
    return results, whole["contenders"]
