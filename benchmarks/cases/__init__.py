"""Obelisk's side of the cases: one module each, one function that runs the case once and returns what it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.cases.at_once import at_once
from benchmarks.cases.busy import busy
from benchmarks.cases.delays import delays
from benchmarks.cases.idle import idle
from benchmarks.cases.latency import latency
from benchmarks.cases.many import many
from benchmarks.cases.recovery import recovery
from benchmarks.cases.replay import replays
from benchmarks.cases.series import series
from benchmarks.cases.waiting import waiting
from benchmarks.figures import Figures

OBELISK: Final[dict[str, Callable[[], Figures]]] = {
    "series": series,
    "at-once": at_once,
    "many": many,
    "latency": latency,
    "idle": idle,
    "recovery": recovery,
    "replay": replays,
    "waiting": waiting,
    "delays": delays,
    "busy": busy,
}
