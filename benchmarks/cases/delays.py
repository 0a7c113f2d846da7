"""I: how late durable delays expire."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Final

from serving import Server

from benchmarks.figures import Figures, percentile
from benchmarks.servers import ALL, FLOWS, flows_toml, new_id, run_s, serving
from obelisk.core.events import DelayRequested
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.reading import ExecutionFilter, Page

TOGETHER: Final = 1_000


def delays() -> Figures:
    """30 of 100 ms, one at a time; then 1,000 that are due at one instant."""
    with serving(flows_toml()) as server:
        single = [1_000 * run_s(server, FLOWS + "sleeper", 100) for _ in range(30)]
        late = _late_ms(server, time.time() * 1_000 + 4_000)
    return {
        "single_p50_ms": percentile(single, 0.5),
        "together_p50_ms": percentile(late, 0.5),
        "together_p99_ms": percentile(late, 0.99),
    }


def _late_ms(server: Server, due_ms: float) -> list[float]:
    def submit(_: int) -> str:
        wait = max(1, round(due_ms - time.time() * 1_000))
        return server.submit(FLOWS + "sleeper", wait, execution_id=new_id())

    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(submit, range(TOGETHER)))
    late = []
    with closing(server.reader()) as reader:
        while reader.executions(ExecutionFilter(hide_finished=True), Page(1), Instant(0)):
            time.sleep(0.1)
        for execution_id in map(ExecutionId, ids):
            events = [entry.event for entry in reader.events(execution_id, 0, ALL)]
            (due,) = [event.expires_at for event in events if isinstance(event, DelayRequested)]
            result = reader.result(execution_id)
            assert result is not None, execution_id
            late.append((result.finished_at - due) / 1_000)
    return late
