"""H: workflows that wait. Up to a cap they stay in memory as they are; the rest is loaded when it is woken."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.figures import Figures
from benchmarks.machine import memory_mb
from benchmarks.servers import FLOWS, flows_toml, pid_of, serving, submit_many

WORKFLOWS: Final = 10_000


def waiting(count: int = WORKFLOWS) -> Figures:
    """10,000 that sleep for an hour."""
    with serving(flows_toml()) as server:
        begun = time.perf_counter()
        submit_many(server, count, FLOWS + "sleeper", 3_600_000)
        taken = time.perf_counter() - begun
        time.sleep(2)
        found = {"memory_mb": memory_mb(pid_of(server)), "submitted_per_s": count / taken}
        server.kill()
    return found
