"""C: many workflows at once."""

from __future__ import annotations

import time

from benchmarks.figures import Figures
from benchmarks.servers import FIBO, fibo_toml, serving, submit_many
from benchmarks.work import STEPS_EACH, WORKFLOWS


def many() -> Figures:
    """200 workflows of 10 steps."""
    with serving(fibo_toml()) as server:
        for execution_id in submit_many(server, 20, FIBO + "fiboa", 10, STEPS_EACH):
            server.finished(execution_id)
        begun = time.perf_counter()
        for execution_id in submit_many(server, WORKFLOWS, FIBO + "fiboa", 10, STEPS_EACH):
            server.finished(execution_id)
        rate = WORKFLOWS * STEPS_EACH / (time.perf_counter() - begun)
        return {"child_per_s": rate, "plain_per_s": rate}
