"""C: many workflows at once."""

from __future__ import annotations

import time

from benchmarks.figures import Figures
from benchmarks.servers import FIBO, call_many, fibo_toml, serving
from benchmarks.work import STEPS_EACH, WORKFLOWS


def many() -> Figures:
    """200 workflows of 10 steps."""
    with serving(fibo_toml()) as server:
        call_many(server, 20, FIBO + "fiboa", 10, STEPS_EACH)
        begun = time.perf_counter()
        call_many(server, WORKFLOWS, FIBO + "fiboa", 10, STEPS_EACH)
        rate = WORKFLOWS * STEPS_EACH / (time.perf_counter() - begun)
        return {"child_per_s": rate, "plain_per_s": rate}
