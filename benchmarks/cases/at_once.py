"""B: child executions that one workflow submits at once."""

from __future__ import annotations

from benchmarks.figures import Figures
from benchmarks.servers import FIBO, fibo_toml, run_s, serving
from benchmarks.work import STEPS


def at_once() -> Figures:
    """500 of them."""
    with serving(fibo_toml()) as server:
        run_s(server, FIBO + "fiboa-concurrent", 10, 50)
        rate = STEPS / run_s(server, FIBO + "fiboa-concurrent", 10, STEPS)
        return {"child_per_s": rate, "plain_per_s": rate}
