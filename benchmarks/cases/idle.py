"""E: a server with nothing to do."""

from __future__ import annotations

import time

from benchmarks.figures import Figures
from benchmarks.machine import at_rest
from benchmarks.servers import fibo_toml, pid_of, serving


def idle() -> Figures:
    """The second start on its folder, since the first one compiles."""
    with serving(fibo_toml()) as server:
        server.stop()
        begun = time.perf_counter()
        server.start()
        ready = time.perf_counter() - begun
        return {"ready_s": ready, **at_rest(pid_of(server))}
