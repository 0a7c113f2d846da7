"""Histories: what an execution with a long log takes, while it lives and when it is loaded again."""

from __future__ import annotations

import time
from contextlib import closing

from benchmarks.cases.replay import replay_rounds
from benchmarks.figures import percentile
from benchmarks.scale.series import Sample, Series
from benchmarks.servers import FIBO, fibo_toml, new_id, run_s, serving
from obelisk.core.ids import ExecutionId
from obelisk.proto import obelisk_pb2 as pb
from obelisk.store.sqlite import SqliteStore

_EVENTS_EACH = 3
_PAGE = 200


def _measure(events: int) -> Sample:
    with serving(fibo_toml()) as server:
        run_s(server, FIBO + "fiboa", 1, 20)
        execution_id = new_id()
        begun = time.perf_counter()
        server.result(server.submit(FIBO + "fiboa", 1, max(1, events // _EVENTS_EACH), execution_id=execution_id), 600)
        living = time.perf_counter() - begun
        pages = []
        for start in (0, max(0, events - _PAGE)):
            request = pb.ListExecutionEventsRequest(
                execution_id=pb.ExecutionId(id=execution_id), version_from=start, length=_PAGE
            )
            for _ in range(5):
                begun = time.perf_counter()
                server.executions.ListExecutionEvents(request)
                pages.append(time.perf_counter() - begun)
        server.stop()
        with closing(SqliteStore(server.database)) as store:
            replaying, reading = replay_rounds(store, ExecutionId(execution_id))
    return {
        "living": 1_000 * living,
        "replaying": 1_000 * replaying,
        "reading": 1_000 * reading,
        "the first or last 200": 1_000 * percentile(pages, 0.5),
    }


HISTORIES = Series(
    "histories", "Logs of one execution", "history events", "ms", (100, 1_000, 10_000, 100_000), _measure
)
