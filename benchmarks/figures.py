"""Figures: what is measured, in which unit, and how the values of several rounds become one.

Decides nothing about how a figure is come by.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Figures = Mapping[str, float]
"""What one run of one case found, by the name of the metric."""


@dataclass(frozen=True)
class Metric:
    """One figure of a case."""

    name: str
    title: str
    unit: str
    more_is_better: bool = False


@dataclass(frozen=True)
class Case:
    """What is done, and what is measured of it."""

    letter: str
    name: str
    title: str
    metrics: tuple[Metric, ...]


_RATE: Final = "steps/s"
_CHILD: Final = Metric("child_per_s", "each step an execution of its own", _RATE, more_is_better=True)
_PLAIN: Final = Metric("plain_per_s", "the cheapest durable step (Obelisk: the same)", _RATE, more_is_better=True)
_ROUND_TRIP: Final = (Metric("p50_ms", "p50", "ms"), Metric("p99_ms", "p99", "ms"))

CASES: Final = (
    Case(
        "A",
        "series",
        "500 steps of fibo(10), one after another",
        (
            _CHILD,
            Metric("child_p50_ms", "from step to step, p50", "ms"),
            Metric("child_p99_ms", "from step to step, p99", "ms"),
            _PLAIN,
            Metric("stored_bytes", "stored for each", "bytes"),
            Metric("written_bytes", "sent to the disk for each", "bytes"),
        ),
    ),
    Case("B", "at-once", "500 steps that one workflow starts at once", (_CHILD, _PLAIN)),
    Case("C", "many", "200 workflows at once, 10 steps each", (_CHILD, _PLAIN)),
    Case("D", "latency", "a workflow of one step, from submission to result", _ROUND_TRIP),
    Case(
        "E",
        "idle",
        "a server with nothing to do",
        (
            Metric("memory_mb", "memory", "MB"),
            Metric("ready_s", "from start to ready", "s"),
            Metric("cpu_percent", "CPU", "%"),
        ),
    ),
    Case(
        "F",
        "recovery",
        "kill -9 amid 500 steps, and a start",
        (
            Metric("first_step_s", "from start to the first new step", "s"),
            Metric("ready_to_first_step_s", "from ready to the first new step", "s"),
            Metric("beside_10000_s", "the same beside 10,000 executions that wait", "s"),
            Metric("repeated", "steps that ran twice", "steps"),
        ),
    ),
    Case(
        "G",
        "replay",
        "a long log, replayed on its component",
        (
            Metric("of_1000_ms", "1,000 events", "ms"),
            Metric("of_10000_ms", "10,000 events", "ms"),
            Metric("of_100000_ms", "100,000 events", "ms"),
            Metric("reading_10000_ms", "reading 10,000 events", "ms"),
        ),
    ),
    Case(
        "H",
        "waiting",
        "10,000 workflows that wait",
        (
            Metric("memory_mb", "memory", "MB"),
            Metric("submitted_per_s", "submitted", "/s", more_is_better=True),
        ),
    ),
    Case(
        "I",
        "delays",
        "delays of 100 ms, and 1,000 that are due together",
        (
            Metric("single_p50_ms", "one delay of 100 ms, from submission to result, p50", "ms"),
            Metric("together_p50_ms", "1,000 together, late, p50", "ms"),
            Metric("together_p99_ms", "1,000 together, late, p99", "ms"),
        ),
    ),
    Case("J", "busy", "D beside four activities that only compute", _ROUND_TRIP),
    Case(
        "K",
        "floors",
        "what the disk and SQLite allow",
        (
            Metric("fdatasync_per_s", "fdatasync of a page", "/s", more_is_better=True),
            Metric("commits_per_s", "durable commits of one row", "/s", more_is_better=True),
            Metric("same_rows_per_s", "the rows of A without an engine", _RATE, more_is_better=True),
        ),
    ),
)
BY_NAME: Final = {case.name: case for case in CASES}


@dataclass
class Results:
    """Values by case, metric and contender, one for each round."""

    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Contenders that were not there, and why."""

    def add(self, case: str, contender: str, figures: Figures) -> None:
        """Adds what a round found."""
        for name, value in figures.items():
            self.values.setdefault((case, name, contender), []).append(value)

    def median(self, case: str, metric: str, contender: str) -> float | None:
        """The median of the rounds; None: it was not measured."""
        found = self.values.get((case, metric, contender))
        return statistics.median(found) if found else None

    @property
    def contenders(self) -> list[str]:
        """Those that were measured, in the order in which they came."""
        return list(dict.fromkeys(contender for _, _, contender in self.values))


def ratio(metric: Metric, ours: float | None, theirs: float | None) -> float | None:
    """How many times better ours is; below 1: theirs is."""
    if not ours or not theirs:
        return None
    return ours / theirs if metric.more_is_better else theirs / ours


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
