"""A: child executions one after another. Each is durable before the next begins."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import pairwise

from benchmarks.figures import Figures, percentile
from benchmarks.machine import written_bytes
from benchmarks.servers import ALL, FIBO, fibo_toml, new_id, pid_of, run_s, serving
from benchmarks.work import STEPS
from obelisk.core.ids import ExecutionId


def series() -> Figures:
    """500 of them."""
    with serving(fibo_toml()) as server:
        run_s(server, FIBO + "fiboa", 10, 50)
        server.stop()  # moves the log into the database
        size = server.database.stat().st_size
        server.start()
        run_s(server, FIBO + "fiboa", 10, 1)
        written = written_bytes(pid_of(server))
        execution_id = new_id()
        begun = time.perf_counter()
        outcome = server.call(FIBO + "fiboa", 10, STEPS, execution_id=execution_id, timeout_s=300)
        taken = time.perf_counter() - begun
        assert outcome == ("ok", 55), outcome
        written = written_bytes(pid_of(server)) - written
        with closing(server.reader()) as reader:
            responses = reader.responses(ExecutionId(execution_id), 0, ALL)
        gaps = [(after.created_at - before.created_at) / 1_000 for before, after in pairwise(responses)]
        server.stop()
        grown = server.database.stat().st_size - size
    return {
        "child_per_s": STEPS / taken,
        "plain_per_s": STEPS / taken,
        "child_p50_ms": percentile(gaps, 0.5),
        "child_p99_ms": percentile(gaps, 0.99),
        "stored_bytes": grown / STEPS,
        "written_bytes": written / STEPS,
    }
