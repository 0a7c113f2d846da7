"""Executions in the database: does their number change what a step, a submission or a start takes?"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.figures import percentile
from benchmarks.scale.filling import fill
from benchmarks.scale.series import Sample, Series
from benchmarks.servers import FIBO, fibo_toml, run_s, serving

_STEPS = 200


def _measure(count: int) -> Sample:
    with tempfile.TemporaryDirectory(prefix="obelisk-scale-") as folder:
        filled = fill(Path(folder), count, rare=False)
        with serving(fibo_toml(), database=filled.path) as server:
            run_s(server, FIBO + "fiboa", 10, 20)
            steps = [run_s(server, FIBO + "fiboa", 10, _STEPS) / _STEPS for _ in range(3)]
            one = [run_s(server, FIBO + "fiboa", 10, 1) for _ in range(50)]
            server.stop()
            begun = time.perf_counter()
            server.start()
            start = time.perf_counter() - begun
    return {"a step": 1_000 * min(steps), "a one-step workflow": 1_000 * percentile(one, 0.5), "a start": 1_000 * start}


EXECUTIONS = Series(
    "executions",
    "Beside executions in the database",
    "executions",
    "ms",
    (1, 10, 100, 1_000, 10_000, 100_000),
    _measure,
)
