"""C: many workflows at once."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.figures import Figures
from benchmarks.servers import FIBO, fibo_toml, serving, submit_many

WORKFLOWS: Final = 200
STEPS: Final = 10


def many() -> Figures:
    """200 workflows of 10 steps."""
    with serving(fibo_toml()) as server:
        for execution_id in submit_many(server, 20, FIBO + "fiboa", 10, STEPS):
            server.finished(execution_id)
        begun = time.perf_counter()
        for execution_id in submit_many(server, WORKFLOWS, FIBO + "fiboa", 10, STEPS):
            server.finished(execution_id)
        rate = WORKFLOWS * STEPS / (time.perf_counter() - begun)
        return {"child_per_s": rate, "plain_per_s": rate}
