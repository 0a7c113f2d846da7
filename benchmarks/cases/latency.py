"""D: a workflow of one step, from submission to result, over gRPC."""

from __future__ import annotations

from serving import Server

from benchmarks.figures import Figures, percentile
from benchmarks.servers import FIBO, fibo_toml, run_s, serving
from benchmarks.work import LATENCIES, WARM_UP


def latency() -> Figures:
    """200 times, on an idle server."""
    with serving(fibo_toml()) as server:
        return round_trips(server, LATENCIES)


def round_trips(server: Server, count: int) -> Figures:
    """What clients wait."""
    for _ in range(WARM_UP):
        run_s(server, FIBO + "fiboa", 10, 1)
    taken = [1_000 * run_s(server, FIBO + "fiboa", 10, 1) for _ in range(count)]
    return {"p50_ms": percentile(taken, 0.5), "p99_ms": percentile(taken, 0.99)}
