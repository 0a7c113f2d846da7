"""E: a server with nothing to do."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.figures import Figures
from benchmarks.machine import cpu_s, memory_mb
from benchmarks.servers import fibo_toml, pid_of, serving

SECONDS: Final = 5


def idle() -> Figures:
    """The second start on its folder, since the first one compiles."""
    with serving(fibo_toml()) as server:
        server.stop()
        begun = time.perf_counter()
        server.start()
        ready = time.perf_counter() - begun
        time.sleep(1)
        pid = pid_of(server)
        before = cpu_s(pid)
        time.sleep(SECONDS)
        return {
            "ready_s": ready,
            "memory_mb": memory_mb(pid),
            "cpu_percent": 100 * (cpu_s(pid) - before) / SECONDS,
        }
