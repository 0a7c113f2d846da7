"""F: kill -9 amid a long series, and a start."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Final

from serving import Server

from benchmarks.figures import Figures
from benchmarks.servers import ALL, FIBO, FLOWS, fibo_toml, flows_toml, serving, submit_many
from benchmarks.work import STEPS
from obelisk.core.events import Locked
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.reading import ExecutionFilter, Page

WAITING: Final = 10_000


def recovery() -> Figures:
    """Once with nothing else in the database, once beside 10,000 executions that wait."""
    with serving(fibo_toml()) as server:
        first_step, ready_to_first_step, execution_id = _killed(server)
        assert server.result(execution_id, 120) == ("ok", 55)
        repeated = _runs(server, execution_id) - STEPS
    with serving(fibo_toml() + flows_toml()) as server:
        submit_many(server, WAITING, FLOWS + "sleeper", 3_600_000)
        _, beside, _ = _killed(server)
        server.kill()
    return {
        "first_step_s": first_step,
        "ready_to_first_step_s": ready_to_first_step,
        "beside_10000_s": beside,
        "repeated": repeated,
    }


def _killed(server: Server) -> tuple[float, float, str]:
    """Seconds from the start, and from ready, to the first new step of an execution that was at its half."""
    execution_id = server.submit(FIBO + "fiboa", 10, STEPS)
    with closing(server.reader()) as reader:

        def done() -> int:
            state = reader.state(ExecutionId(execution_id))
            return 0 if state is None else state.response_count

        while done() < STEPS // 2:
            time.sleep(0.001)
        server.kill()
        before = done()
        begun = time.monotonic()
        server.start()
        while done() == before:
            time.sleep(0.001)
        now = time.monotonic()
    return now - begun, now - server.ready_at, execution_id


def _runs(server: Server, root: str) -> int:
    """How often a step was begun."""
    with closing(server.reader()) as reader:
        tree = reader.executions(ExecutionFilter(top_level_only=False, root=ExecutionId(root)), Page(ALL), Instant(0))
        steps = [state.execution_id for state in tree if state.execution_id != root]
        logs = [reader.events(step, 0, ALL) for step in steps]
    return sum(isinstance(entry.event, Locked) for log in logs for entry in log)
