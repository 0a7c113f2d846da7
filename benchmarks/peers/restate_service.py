"""Restate's service: `python -m benchmarks.peers.restate_service PORT [MARKS]`, in the peers' environment. The server calls it
over HTTP/2 for every invocation, and keeps the journal of each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate import Context, Service, gather

from benchmarks.peers.work import FIBO_10, fibo, leave_mark

port, *rest = sys.argv[1:]
mark_file = rest[0] if rest else None
bench = Service("bench")


async def run_step() -> int:
    leave_mark(mark_file)
    return fibo(10)


@bench.handler()
async def step(context: Context, n: int) -> int:
    """An invocation of its own, as Obelisk's child executions are."""
    return fibo(n)


@bench.handler()
async def plain(context: Context, count: int) -> int:
    """Journaled steps inside one invocation."""
    return sum([await context.run_typed("fibo", run_step) for _ in range(count)])


@bench.handler()
async def children(context: Context, count: int) -> list[float]:
    ends = []
    for _ in range(count):
        assert await context.service_call(step, arg=10) == FIBO_10
        ends.append(time.perf_counter())
    return ends


@bench.handler()
async def plain_at_once(context: Context, count: int) -> int:
    steps: list[Any] = [context.run_typed("fibo", run_step) for _ in range(count)]
    await gather(*steps)
    return sum([await each for each in steps])


@bench.handler()
async def children_at_once(context: Context, count: int) -> int:
    calls: list[Any] = [context.service_call(step, arg=10) for _ in range(count)]
    await gather(*calls)
    return sum([await each for each in calls])


if __name__ == "__main__":
    config = Config()
    config.bind, config.errorlog, config.accesslog = [f"127.0.0.1:{port}"], None, None
    asyncio.run(serve(restate.app([bench]), config))  # in this process; hypercorn's command line would fork
