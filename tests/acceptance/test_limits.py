"""Guests that misbehave, crowds, and delays: nobody else is disturbed, and the process is unharmed."""

from __future__ import annotations

import asyncio
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from obelisk.core.events import DelayRequested
from obelisk.core.ids import ExecutionId
from obelisk.core.reading import ExecutionFilter, Page, StateFilter
from obelisk.core.values import Json, Ok
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as rpc

FLOWS = "testing:workflow/flows."
ACTS = "testing:activity/acts."
ALL = 1 << 30


def status(server: Any, name: str) -> int:
    """A number of /proc/PID/status; memory in kB."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def submit_all(server: Any, calls: list[tuple[Any, ...]]) -> list[str]:
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda call: server.submit(*call), calls))


def wait_until_finished(server: Any, count: int, timeout_s: float) -> None:
    ends = time.monotonic() + timeout_s
    with closing(server.reader()) as reader:
        while True:
            where = ExecutionFilter(states=(StateFilter.FINISHED,))
            done = len(reader.executions(where, Page(ALL), 0))
            if done >= count:
                return
            assert time.monotonic() < ends, f"{done} of {count} have finished"
            time.sleep(0.2)


MISBEHAVIOUR = {
    "trap": ("failure", "uncategorized"),
    "spin": ("failure", None),
    "hog": ("failure", "uncategorized"),
}


@pytest.mark.timeout(600)
def test_a_thousand_of_each_misbehaviour_harm_nobody(flows: Any) -> None:
    flows.start()
    calls = [(interface + name,) for name in MISBEHAVIOUR for interface in (FLOWS, ACTS) for _ in range(1_000)]
    calls += [(FLOWS + "returns-err",)] * 1_000 + [(ACTS + "fail", 7)] * 1_000
    quiet = flows.submit(FLOWS + "many-sleeps", 20, 50)
    bystander = flows.submit(FLOWS + "sleeper", 2_000)
    threads = status(flows, "Threads")
    submitted = submit_all(flows, calls)
    assert flows.result(quiet, 120) == ("ok", 20)
    assert flows.result(bystander, 120)[0] == "ok"
    wait_until_finished(flows, len(calls) + 2, 400)
    with closing(flows.reader()) as reader:
        for (ffqn, *_), execution_id in zip(calls, submitted, strict=True):
            outcome = reader.result(ExecutionId(execution_id)).outcome
            match ffqn.rpartition(".")[2]:
                case "returns-err" | "fail":
                    assert type(outcome).__name__ == "Err"
                case "spin":
                    assert outcome.kind == ("out_of_fuel" if ffqn.startswith(FLOWS) else "timed_out")
                case _:
                    assert outcome.kind == "uncategorized"
    assert status(flows, "Threads") <= threads + 40  # grpc's own come and go
    assert flows.result(flows.submit(FLOWS + "parent", 3)) == ("ok", 3)
    assert flows.stop() == 0


@pytest.mark.timeout(120)
def test_a_thousand_delays(flows: Any) -> None:
    """10 ms apart: no thread each, in order, none early, all within a second."""
    flows.start()
    threads = status(flows, "Threads")
    ids = submit_all(flows, [(FLOWS + "sleeper", 3_000 + 10 * number) for number in range(1_000)])
    assert status(flows, "Threads") <= threads + 40
    assert status(flows, "VmRSS") < 200_000
    wait_until_finished(flows, len(ids), 60)
    assert status(flows, "VmRSS") < 200_000
    lateness_ms = []
    with closing(flows.reader()) as reader:
        for execution_id in map(ExecutionId, ids):
            events = [entry.event for entry in reader.events(execution_id, 0, ALL)]
            (due,) = [event.expires_at for event in events if isinstance(event, DelayRequested)]
            (fired,) = reader.responses(execution_id, 0, ALL)
            lateness_ms.append((fired.created_at - due) / 1_000)
    lateness_ms.sort()
    print(f"lateness: p50 {lateness_ms[500]:.1f} ms, p99 {lateness_ms[989]:.1f} ms, max {lateness_ms[-1]:.1f} ms")
    assert lateness_ms[0] >= 0
    assert lateness_ms[-1] <= 1_000
    flows.stop()


@pytest.mark.timeout(300)
def test_twelve_thousand_at_once(flows: Any) -> None:
    """More than may be in memory: the cap holds, the rest is cold, and all of them wake. They sleep for longer than it takes
    a slow machine to submit them all.
    """
    flows.start()
    count = 12_000
    ids: list[str] = []
    for begin in range(0, count, 1_000):
        ids += submit_all(flows, [(FLOWS + "sleeper", 90_000)] * min(1_000, count - begin))
    with closing(flows.reader()) as reader:
        where = ExecutionFilter(states=(StateFilter.BLOCKED,))
        while len(reader.executions(where, Page(ALL), 0)) < count:
            assert not reader.executions(ExecutionFilter(states=(StateFilter.FINISHED,)), Page(1), 0)
            time.sleep(0.1)
    maps = len(Path(f"/proc/{flows.process.pid}/maps").read_text().splitlines())
    print(f"{maps} mappings, {status(flows, 'VmRSS') // 1000} MB")
    assert maps < int(Path("/proc/sys/vm/max_map_count").read_text())
    assert status(flows, "VmRSS") < 500_000
    wait_until_finished(flows, count, 120)
    flows.stop()


@pytest.mark.timeout(120)
def test_five_thousand_submissions_at_once(flows: Any) -> None:
    """Each is accepted or refused for good reason; what was accepted runs, and nothing times out before it started."""
    flows.toml.write_text(flows.toml.read_text().replace("exec.lock_expiry.milliseconds = 10\n", "\n"))
    flows.start()

    async def crowd() -> list[str | None]:
        async with grpc.aio.insecure_channel(flows.address) as channel:
            stub = rpc.ExecutionRepositoryStub(channel)

            async def one() -> str | None:
                chosen = (await stub.GenerateExecutionId(pb.GenerateExecutionIdRequest())).execution_id
                name = pb.FunctionName(interface_name=ACTS[:-1], function_name="echo")
                request = pb.SubmitRequest(execution_id=chosen, function_name=name)
                request.params.value = b'["x"]'
                call = stub.Submit(request)
                code = await call.code()
                assert code in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED), await call.details()
                return str(chosen.id) if code is grpc.StatusCode.OK else None

            return list(await asyncio.gather(*(one() for _ in range(5_000))))

    accepted = [execution_id for execution_id in asyncio.run(crowd()) if execution_id is not None]
    print(f"{len(accepted)} accepted, {5_000 - len(accepted)} refused")
    assert accepted
    wait_until_finished(flows, len(accepted), 60)
    with closing(flows.reader()) as reader:
        for execution_id in accepted:
            result = reader.result(ExecutionId(execution_id))
            assert result.outcome == Ok(Json(b'"x"')), result.outcome
            assert [entry.version for entry in reader.events(ExecutionId(execution_id), 0, ALL)] == [0, 1, 2]
    flows.stop()


def test_ten_long_ones_on_few_cores_do_not_time_out(fibo: Any, fibo_components: Any) -> None:
    """The deadline of each begins with its run and stands still while it queues."""
    del fibo_components
    fibo.toml.write_text(fibo.toml.read_text().replace("exec.lock_expiry.seconds = 60", "exec.lock_expiry.seconds = 3"))
    fibo.start()
    begun = time.monotonic()
    execution_id = fibo.submit("template-fibo:workflow/fibo-workflow-ifc.fiboa-concurrent", 40, 10)
    assert fibo.result(execution_id, 60) == ("ok", 102334155)
    print(f"ten fibo(40) on {os.cpu_count()} cores took {time.monotonic() - begun:.1f} s, each may take 3 s")
    for number in range(1, 11):
        assert fibo.kinds(f"{execution_id}.g:1_{number}") == ["created", "locked", "finished"]
    fibo.stop()
