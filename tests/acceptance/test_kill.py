"""kill -9 at any moment: nothing is lost, skipped or repeated, and the work goes on by itself."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.ids import ExecutionId
from obelisk.core.state import ExecutionState

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
CHILDREN = 2_000
FIRST_STEP_S_MAX = 2.0
"""Loose: the figure is printed here, and measured by the benchmark."""


def state_of(server: Any, execution_id: str) -> ExecutionState | None:
    """The row in the file; the server may be dead."""
    if not server.database.exists():
        return None
    with closing(server.reader()) as reader:
        state: ExecutionState | None = reader.state(ExecutionId(execution_id))
        return state


def progress(server: Any, execution_id: str) -> int:
    """How many children have been finished, or will not be waited for any more: the responses of the execution."""
    state = state_of(server, execution_id)
    return 0 if state is None else state.response_count


def first_step_s(server: Any, execution_id: str) -> float:
    """From ready to the first response that was not there before."""
    before = progress(server, execution_id)
    while progress(server, execution_id) == before:
        state = state_of(server, execution_id)
        if state is not None and state.finished_at is not None:
            break
        time.sleep(0.002)
    return time.monotonic() - server.ready_at


def undisturbed_s(server: Any, function: str) -> float:
    """How long a run takes that nobody disturbs."""
    begun = time.monotonic()
    assert server.result(server.submit(FIBO + function, 10, CHILDREN), 120) == ("ok", 55)
    return time.monotonic() - begun


@pytest.mark.timeout(600)
@pytest.mark.parametrize("function", ["fiboa", "fiboa-concurrent"])
def test_killed_once_at_a_random_moment(fibo: Any, function: str) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print("seed", seed)
    fibo.start()
    duration = undisturbed_s(fibo, function)
    first_steps = []
    for _ in range(20):
        execution_id = fibo.submit(FIBO + function, 10, CHILDREN)
        time.sleep(chance.uniform(0, duration))
        fibo.kill()
        fibo.start()
        first_steps.append(first_step_s(fibo, execution_id))
        fibo.check_fibo(execution_id, CHILDREN)
    fibo.stop()
    print(f"ready to first step: median {statistics.median(first_steps):.3f} s, max {max(first_steps):.3f} s")
    assert max(first_steps) < FIRST_STEP_S_MAX


@pytest.mark.timeout(300)
def test_killed_twenty_times_after_at_least_one_new_event(fibo: Any) -> None:
    chance = random.Random()
    fibo.start()
    execution_id = fibo.submit(FIBO + "fiboa", 10, CHILDREN)
    for _ in range(20):
        before = progress(fibo, execution_id)
        while progress(fibo, execution_id) == before:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        fibo.kill()
        fibo.start()
    fibo.check_fibo(execution_id, CHILDREN)
    state = state_of(fibo, execution_id)
    assert state is not None
    kinds = fibo.kinds(execution_id)
    assert kinds.count("locked") > 10  # after a crash, once the workflow goes on; a kill may come before that
    fibo.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("call", ["fdatasync", "pwrite"])
@pytest.mark.parametrize("kind", ["kill", "kill-after"])
def test_killed_inside_a_commit(fibo: Any, faults: Path, call: str, kind: str) -> None:
    children = 300
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print("seed", seed)
    fibo.start()  # makes the file, so that the calls counted below are those of commits
    execution_id = fibo.submit(FIBO + "fiboa", 10, children)
    for _ in range(5):
        fibo.kill()
        fault = {
            "LD_PRELOAD": str(faults),
            "FAULT_CALL": call,
            "FAULT_KIND": kind,
            "FAULT_FILE": "obelisk.sqlite",
            "FAULT_AT": str(chance.randrange(5, 60 if call == "fdatasync" else 600)),
        }
        fibo.start(fault, wait=False)
        try:
            fibo.wait_ready()
        except AssertionError:
            assert fibo.process.returncode == -9  # it came while the server started
            continue
        assert fibo.wait_dead(60) == -9
    fibo.start()
    fibo.check_fibo(execution_id, children)
    fibo.stop()


@pytest.mark.timeout(120)
def test_what_kills_the_process_three_times_is_not_started_again(server: Any, testing_components: Any) -> None:
    """The harness kills the server while the child spins, each time it runs; a child that was only waiting is spared."""
    made = server(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        exec.lock_expiry.seconds = 60
        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        """
    )
    made.start()
    execution_id = made.submit("testing:workflow/flows.timeout-pattern", 3_600_000)
    child = f"{execution_id}.n:timeout_1"
    while state_of(made, child) is None:  # on a busy machine the workflow may need more than its first slice
        time.sleep(0.01)
    for starts in range(1, 4):
        while made.kinds(child).count("locked") < starts:
            time.sleep(0.01)
        time.sleep(0.1)  # it is locked before it starts
        made.kill()
        made.start()
    assert made.result(execution_id, 30) == ("ok", child)
    assert made.kinds(child) == ["created", "locked", "locked", "locked", "finished"]
    kind, failure, reason = made.result(child)
    assert (kind, failure) == ("failure", "uncategorized")
    assert "died 3 times" in reason
    made.stop()


DIES = """
import os, signal, sys, time
from pathlib import Path
from obelisk.config import load
from obelisk.core.names import FunctionName
from obelisk.core.values import Json
from obelisk.runtime.runtime import Failure, start
from obelisk.runtime.marked_guest import MarkedGuest
from obelisk.store.sqlite import committing
from obelisk.wasm.activity import ActivityRun

directory, ident, function, params, culprit, wanted = Path(sys.argv[1]), *sys.argv[2:]

def dies(self, params, hold=None):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_if_it_is_this_one(self, params, start=MarkedGuest.start):
    if self._execution_id != culprit:
        return start(self, params)
    self._marks.set(culprit)
    dies(self, params)

def slow(cursor, commit=committing.commit):
    time.sleep(0.05)
    commit(cursor)

ActivityRun.start = dies
MarkedGuest.start = dies_if_it_is_this_one
committing.commit = slow
runtime = start(load(directory / "obelisk.toml", {}, directory), Failure())
state = runtime.reader.state(ident)
if state is None:
    import asyncio
    asyncio.run(runtime.submit(ident, FunctionName(function), Json(params.encode()), {}, None))
while (state := runtime.reader.state(culprit)) is None or wanted not in (state.status, state.lifecycle):
    time.sleep(0.01)
print(runtime.reader.events(culprit, 0, 100)[-1])
runtime.refuse_new_work()
runtime.stop()
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("function", "params", "child", "wanted"),
    [
        ("calls-fail", "[3]", ".o:1-fail_1", "finished"),
        ("current-id", "[]", "", "parked"),
        ("parent", "[2]", ".o:1-parent_1", "parked"),
    ],
)
def test_what_kills_the_process_before_its_lock_is_durable_is_given_up_too(
    tmp_path: Path, testing_components: Any, function: str, params: str, child: str, wanted: str
) -> None:
    """An activity runs while the commit is under way that locks it, a workflow in the tick that does, so that the process dies
    without a trace of it in the database; but its mark is left, and the next time it runs when it is locked.
    """
    (tmp_path / "obelisk.toml").write_text(
        f"""
        sqlite.directory = "{tmp_path}/db"
        codegen_cache.directory = "{tmp_path}/code"
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        """
    )
    ident = "E_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    deaths = 0
    while True:
        command = [sys.executable, "-c", DIES, str(tmp_path), ident, f"testing:workflow/flows.{function}", params]
        command += [ident + child, wanted]
        ran = subprocess.run(command, env=env, check=False, timeout=60, capture_output=True)
        if ran.returncode == 0:
            break
        assert ran.returncode == -signal.SIGKILL, ran.stderr.decode()
        deaths += 1
        assert deaths <= 6
    assert "died 3 times" in ran.stdout.decode()
    assert deaths == 4  # the first time it left nothing but its mark
