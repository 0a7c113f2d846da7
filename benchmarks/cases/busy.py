"""J: the latency of one step, beside activities that only compute."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.cases.latency import round_trips
from benchmarks.figures import Figures
from benchmarks.servers import FIBO_ACTIVITY, fibo_toml, serving

COMPUTING: Final = 4
_FOR_EVER: Final = 60
"""fibo(60) takes days."""


def busy() -> Figures:
    """100 times, beside four."""
    with serving(fibo_toml()) as server:
        for _ in range(COMPUTING):
            server.submit(FIBO_ACTIVITY, _FOR_EVER)
        time.sleep(0.5)
        found = round_trips(server, 100)
        server.kill()
    return found
