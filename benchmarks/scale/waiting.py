"""Workflows that wait: what each takes, and what they take of others."""

from __future__ import annotations

import time

from benchmarks.figures import percentile
from benchmarks.machine import memory_mb
from benchmarks.scale.series import Sample, Series
from benchmarks.servers import FIBO, FLOWS, fibo_toml, flows_toml, pid_of, run_s, serving, submit_many

_STEPS = 200
_HOUR_MS = 3_600_000


def _measure(count: int) -> Sample:
    with serving(fibo_toml() + flows_toml()) as server:
        run_s(server, FIBO + "fiboa", 10, 20)
        empty = memory_mb(pid_of(server))
        submit_many(server, count, FLOWS + "sleeper", _HOUR_MS)
        time.sleep(2)
        memory = memory_mb(pid_of(server))
        steps = [run_s(server, FIBO + "fiboa", 10, _STEPS) / _STEPS for _ in range(3)]
        one = [run_s(server, FIBO + "fiboa", 10, 1) for _ in range(50)]
        server.kill()
        begun = time.perf_counter()
        server.start()
        start = time.perf_counter() - begun
        run_s(server, FIBO + "fiboa", 10, 1)
        first = time.perf_counter() - begun
        server.kill()
    return {
        "all of them, MB": max(memory - empty, 0.1),
        "a step beside them, ms": 1_000 * min(steps),
        "a one-step workflow, ms": 1_000 * percentile(one, 0.5),
        "a start after a kill -9, ms": 1_000 * start,
        "a start and a step, ms": 1_000 * first,
    }


WAITING = Series("waiting", "Workflows that wait", "waiting workflows", "", (10, 100, 1_000, 10_000), _measure)
