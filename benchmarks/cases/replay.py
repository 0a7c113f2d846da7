"""G: reading a log of direct calls, and replaying it on its component."""

from __future__ import annotations

import functools
import time
from contextlib import closing
from typing import Final

from benchmarks.figures import Figures
from benchmarks.servers import EXAMPLE, FIBO, fibo_toml, serving
from obelisk.core.events import Finished
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.replay import replay
from obelisk.store.sqlite import SqliteStore
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import EntryPoint, link_workflow

EVENTS: Final = (1_000, 10_000, 100_000)


def replays(sizes: tuple[int, ...] = EVENTS) -> Figures:
    """Logs of so many history events: three of each step."""
    figures: dict[str, float] = {}
    with serving(fibo_toml()) as server:
        ids = {}
        for events in sizes:
            ids[events] = ExecutionId(server.submit(FIBO + "fiboa", 1, events // 3))
            server.result(ids[events], 300)
        server.stop()
        with closing(SqliteStore(server.database)) as store:
            for events, execution_id in ids.items():
                replaying_s, reading_s = replay_rounds(store, execution_id)
                figures[f"of_{events}_ms"] = replaying_s * 1_000
                figures[f"reading_{events}_ms"] = reading_s * 1_000
    return figures


def replay_rounds(store: SqliteStore, execution_id: ExecutionId) -> tuple[float, float]:
    """Seconds of replaying, and of reading: the best of three."""
    rounds = []
    entry = _entry()
    for _ in range(3):
        began = time.perf_counter()
        snapshot = store.load(execution_id)
        read = time.perf_counter()
        assert snapshot is not None
        done = replay(execution_id, snapshot.log, snapshot.responses, WorkflowGuest(entry), Instant(0))
        rounds.append((time.perf_counter() - read, read - began))
        end = snapshot.log[-1].event
        assert isinstance(end, Finished), end
        assert done.outcome == end.outcome, done
    return min(rounds)


@functools.cache
def _entry() -> EntryPoint:
    engines = Engines(EngineConfig(pool_instances_max=8))
    linked = link_workflow(ComponentLoader(engines, None).load(EXAMPLE / "fibo_workflow.wasm"))
    return linked.entries[FunctionName(FIBO + "fiboa")]
