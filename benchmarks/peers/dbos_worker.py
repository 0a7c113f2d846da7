"""DBOS does a case: `python -m benchmarks.peers.dbos_worker CASE URL [MARKS]`, in the peers' environment. DBOS is a library, so
this one process is the engine, the worker and the client. What it found is a line of JSON.

DBOS leaves `synchronous` to SQLite; here it is FULL, so that a step is durable when it is acknowledged. The file is in WAL mode
already, which the other half sees to: by default DBOS would use a rollback journal, which is slower.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from itertools import pairwise
from typing import Any

from benchmarks.figures import percentile
from benchmarks.peers.work import FIBO_10, fibo, leave_mark
from benchmarks.work import LATENCIES, STEPS, STEPS_EACH, WARM_UP, WORKFLOWS

BEGUN = time.perf_counter()

from dbos import DBOS, SetWorkflowID  # noqa: E402  # the time of imports is part of the start
from sqlalchemy import event  # noqa: E402
from sqlalchemy.engine import Engine  # noqa: E402

case, url, *rest = sys.argv[1:]
mark_file = rest[0] if rest else None

if url.startswith("sqlite"):

    @event.listens_for(Engine, "connect")
    def _durable(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = FULL")


DBOS(
    config={
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "run_admin_server": False,
        "application_version": "1",
    }
)


@DBOS.step()
def step(n: int) -> int:
    leave_mark(mark_file)
    return fibo(n)


@DBOS.step()
async def step_async(n: int) -> int:
    return fibo(n)


@DBOS.workflow()
def one() -> int:
    result: int = step(10)
    return result


@DBOS.workflow()
def plain(count: int) -> int:
    return sum([step(10) for _ in range(count)])


@DBOS.workflow()
def children(count: int) -> list[float]:
    ends = []
    for _ in range(count):
        assert one() == FIBO_10
        ends.append(time.perf_counter())
    return ends


@DBOS.workflow()
async def plain_at_once(count: int) -> int:
    return sum(await asyncio.gather(*[step_async(10) for _ in range(count)]))


@DBOS.workflow()
def children_at_once(count: int) -> int:
    return sum([handle.get_result() for handle in [DBOS.start_workflow(one) for _ in range(count)]])


def rate(count: int, begun: float) -> float:
    return count / (time.perf_counter() - begun)


def series() -> dict[str, float]:
    plain(10)
    children(10)
    begun = time.perf_counter()
    ends = children(STEPS)
    child = rate(STEPS, begun)
    gaps = [1_000 * (after - before) for before, after in pairwise(ends)]
    begun = time.perf_counter()
    assert plain(STEPS) == STEPS * FIBO_10
    return {
        "child_per_s": child,
        "child_p50_ms": percentile(gaps, 0.5),
        "child_p99_ms": percentile(gaps, 0.99),
        "plain_per_s": rate(STEPS, begun),
    }


def at_once() -> dict[str, float]:
    children_at_once(20)
    begun = time.perf_counter()
    assert children_at_once(STEPS) == STEPS * FIBO_10
    child = rate(STEPS, begun)
    begun = time.perf_counter()
    assert asyncio.run(plain_at_once(STEPS)) == STEPS * FIBO_10
    return {"child_per_s": child, "plain_per_s": rate(STEPS, begun)}


def many() -> dict[str, float]:
    begun = time.perf_counter()
    for handle in [DBOS.start_workflow(children, STEPS_EACH) for _ in range(WORKFLOWS)]:
        assert len(handle.get_result()) == STEPS_EACH
    child = rate(WORKFLOWS * STEPS_EACH, begun)
    begun = time.perf_counter()
    for handle in [DBOS.start_workflow(plain, STEPS_EACH) for _ in range(WORKFLOWS)]:
        assert handle.get_result() == STEPS_EACH * FIBO_10
    return {"child_per_s": child, "plain_per_s": rate(WORKFLOWS * STEPS_EACH, begun)}


def latency() -> dict[str, float]:
    taken = []
    for number in range(WARM_UP + LATENCIES):
        begun = time.perf_counter()
        assert DBOS.start_workflow(one).get_result() == FIBO_10
        if number >= WARM_UP:
            taken.append(1_000 * (time.perf_counter() - begun))
    return {"p50_ms": percentile(taken, 0.5), "p99_ms": percentile(taken, 0.99)}


def crash() -> dict[str, float]:
    with SetWorkflowID("crash"):
        handle = DBOS.start_workflow(plain, STEPS)
    assert handle.get_result() == STEPS * FIBO_10
    return {}


def idle() -> dict[str, float]:
    print(json.dumps({"ready_s": time.perf_counter() - BEGUN}), flush=True)
    time.sleep(600)  # the other half looks, and kills
    return {}


DBOS.launch()
found = {
    "prepare": dict,
    "series": series,
    "at-once": at_once,
    "many": many,
    "latency": latency,
    "recovery": crash,
    "idle": idle,
}[case]()
print(json.dumps(found), flush=True)
os._exit(0)  # what it would do at a clean stop is not measured
