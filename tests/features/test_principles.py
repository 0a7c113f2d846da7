"""What is promised as a principle or a concept: a test for each row of `R` in test_rows.py, with real components on a real
server.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import entry_points
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.events import (
    ChildRequested,
    Created,
    DelayRequested,
    Finished,
    JoinNext,
    Locked,
    Persist,
    TemporarilyFailed,
    TemporarilyTimedOut,
    kind_of,
)
from obelisk.core.instants import MILLISECOND_US, SECOND_US
from obelisk.core.state import Status
from obelisk.proto import obelisk_pb2 as pb

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
FIBO_ACTIVITY = "template-fibo:activity/fibo-activity-ifc.fibo"
ACTS = "testing:activity/acts."
FLOWS = "testing:workflow/flows."
BRIEF = "testing:brief/flows."
HASTY = "testing:hasty/flows."
FEATURES = "testing:features/flows."
LONG = 40
"""fibo of it takes half a second of CPU or more: long enough to be interrupted."""


def function(ffqn: str) -> dict[str, str]:
    """A function's name as a parameter."""
    interface, _, name = ffqn.rpartition(".")
    return {"interface_name": interface, "function_name": name}


def processes_of(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


# --- the platform ----------------------------------------------------------------------------------------------------


def test_r01_it_is_installed_and_runs_on_linux_x64(served: Any) -> None:
    assert (platform.system(), platform.machine()) == ("Linux", "x86_64")
    (script,) = entry_points(group="console_scripts", name="obelisk")
    assert script.value == "obelisk.cli.main:main"
    command = ["-c", f"import sys; from {script.module} import {script.attr} as run; sys.exit(run())", "--version"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "obelisk" in done.stdout
    assert served.run(FIBO + "fiboa", 10, 1)[1] == ("ok", 55)


def test_r02_types_of_an_import_and_its_export_must_be_the_same(refused: list[str]) -> None:
    (at,) = [number for number, line in enumerate(refused) if "workflow mistyped" in line]
    told = "workflow mistyped imports testing:activity/acts.fail with another type than activity acts exports:"
    assert refused[at].endswith(told)
    assert [line.partition("func")[2] for line in refused[at + 1 : at + 3]] == [
        "(n: u32) -> result<u64, string>",
        "(n: u64) -> result<u64, string>",
    ]


def test_r03_one_process_runs_the_executor_workflows_and_activities(served: Any) -> None:
    pid = served.server.process.pid
    execution_id = served.server.submit(FIBO + "fiboa-concurrent", 38, 4)
    served.until(lambda: len(served.tree(execution_id)) == 5)
    seen = 0
    while served.state(execution_id).status is not Status.FINISHED:
        assert processes_of(pid) == []
        seen += 1
    assert seen > 1
    assert served.server.result(execution_id) == ("ok", 39088169)
    executors = {event.executor for child in served.tree(execution_id) for event in served.events(child, Locked)}
    assert len(executors) == 1
    assert served.server.process.poll() is None


# --- failures and crashes --------------------------------------------------------------------------------------------


def test_r05_retries_and_workflows_go_on_after_a_crash(crashed: Any) -> None:
    """The crash came after the second failure: no retry is forgotten, and none is begun anew. When an attempt was under way, it is
    begun once more, in the log right behind what the crash left.
    """
    served, execution_id = crashed.served, crashed.failing
    child = f"{execution_id}.o:1-fail_1"
    left = crashed.logs[child]
    assert sum(isinstance(entry.event, TemporarilyFailed) for entry in left) >= 2
    assert served.server.result(execution_id) == ("err", "failed with 7")
    expected = ["created", *["locked", "temporarily_failed"] * 3, "locked", "finished"]
    if isinstance(left[-1].event, Locked):
        expected.insert(len(left), "locked")
    assert served.kinds(child) == expected
    assert served.read(child)[: len(left)] == left
    runs = [event.run for event in served.events(child, Locked)]
    assert sorted(set(runs)) == runs


def test_r06_params_and_results_of_the_whole_tree_are_kept(served: Any) -> None:
    execution_id, _ = served.run(FEATURES + "backfill", 2)
    found = {}
    for row in served.json("execution", "trace", execution_id):
        log = served.json("execution", "events", row["execution_id"])
        created, finished = log[0]["event"]["created"], log[-1]["event"]["finished"]
        place = row["execution_id"].removeprefix(execution_id)
        assert created["function_name"] == row["ffqn"]
        parent = created.get("parent_execution_id")
        assert parent == (row["execution_id"].rpartition(".")[0] if place else None)
        found[place] = (row["ffqn"].rpartition(".")[2], created["params"], finished["value"])
    expected: dict[str, Any] = {"": ("backfill", [2], {"ok": 2})}
    for number in (1, 2):
        login = f"user {number - 1}"
        star = f".o:{number}-star-added_1"
        expected[star] = ("star-added", [login], {"ok": login})
        for call in (1, 2):
            expected[f"{star}.o:{call}-echo_1"] = ("echo", [login], {"ok": login})
    assert found == expected


def test_r07_workflows_nest_across_components_and_generations(served: Any) -> None:
    """Components from different makers: one by hand, two generated, against both generations of the host's packages."""
    inner = [function(ACTS + "echo"), '["deep"]']
    middle = [function("testing:calls-six/support.call-json"), json.dumps(inner), None, None]
    execution_id, outcome = served.run(
        "testing:calls-six/support.call-json", function("testing:calls-five/support.call-json"), json.dumps(middle)
    )
    assert outcome[0] == "ok"
    value = outcome[1]
    for _ in range(2):
        value = json.loads(value["ok"]["ok"])
    assert json.loads(value["ok"]["ok"]) == "deep"
    names = [
        event.ffqn for child in sorted(served.tree(execution_id), key=len) for event in served.events(child, Created)
    ]
    assert names == [
        "testing:calls-six/support.call-json",
        "testing:calls-five/support.call-json",
        "testing:calls-six/support.call-json",
        ACTS + "echo",
    ]
    execution_id, outcome = served.run(FLOWS + "parent", 4)
    assert outcome == ("ok", 4)
    assert max(child.count(".") for child in served.tree(execution_id)) == 4


def test_r08_an_existing_workflow_is_replayed(served: Any) -> None:
    execution_id, (kind, value) = served.run(FEATURES + "reads", 10)
    assert kind == "ok"
    log = served.read(execution_id)
    replayed = served.done("execution", "replay", execution_id)
    assert replayed == f"outcome: finished\nresult: OK: {json.dumps(value, separators=(',', ':'))}"
    assert served.read(execution_id) == log
    answer = served.server.executions.ReplayExecution(
        pb.ReplayExecutionRequest(execution_id=pb.ExecutionId(id=execution_id))
    )
    assert answer.WhichOneof("outcome") == "finished"


def test_r09_an_existing_workflow_is_forked_fixed_and_continued(redeployed: Any) -> None:
    """The origin trapped after its second sleep. On the mended component, its fork has both sleeps behind it and goes on to
    a good end.
    """
    served = redeployed.served
    origin, outcome = redeployed.runs["faulty"]
    assert outcome[:2] == ("failure", "uncategorized")
    log = redeployed.logs["faulty"]
    (version,) = [entry.version for entry in log if isinstance(entry.event, Finished)]
    fork = served.done("execution", "fork", origin, "--at-version", str(version))
    assert served.server.result(fork) == ("ok", 3)
    assert served.read(origin) == log
    before = [entry.event for entry in log if entry.event.history]
    assert [kind_of(event) for event in before] == ["join_set_create", "delay_request", "join_next"] * 2
    assert served.history(fork)[: len(before)] == before
    assert len(served.events(fork, DelayRequested)) == 3
    (created,) = served.events(fork, Created)
    assert (created.forked_from.execution_id, created.forked_from.version) == (origin, version)


def test_r10_an_activity_may_be_stopped_at_any_time_and_is_tried_again(served: Any, crashed: Any) -> None:
    """By a kill, or by a stop; the first says nothing, the second is told as the end of the run."""
    execution_id = served.server.submit(FIBO_ACTIVITY, 40)
    served.until_status(execution_id, Status.LOCKED)
    served.restart()
    assert served.server.result(execution_id) == ("ok", 102334155)
    assert served.kinds(execution_id) == ["created", "locked", "unlocked", "locked", "finished"]
    killed = f"{crashed.long}.g:1_1"
    assert served.server.result(killed) == ("ok", 102334155)
    assert served.kinds(killed) == ["created", "locked", "locked", "finished"]
    for each in (execution_id, killed):
        first, second = served.events(each, Locked)
        assert first.run != second.run


# --- activities ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spun(_served: Any) -> str:
    """An activity that never ends by itself, tried four times of 50 ms each."""
    execution_id, outcome = _served.run(ACTS + "spin")
    assert outcome[:2] == ("failure", "timed_out")
    return str(execution_id)


def test_r14_an_attempt_that_takes_too_long_is_an_intermittent_timeout(served: Any, spun: str) -> None:
    assert served.kinds(spun) == ["created", *["locked", "temporarily_timed_out"] * 3, "locked", "finished"]
    assert "TemporarilyTimedOut" in served.done("execution", "events", spun)
    log = served.read(spun)
    for begun, ended in pairwise(log):
        if isinstance(begun.event, Locked):
            assert ended.created_at - begun.created_at >= 50 * MILLISECOND_US


@pytest.mark.parametrize(("name", "params"), [("trap", ()), ("fail", (7,))])
def test_r15_a_trap_and_a_returned_error_are_tried_again(served: Any, name: str, params: tuple[int, ...]) -> None:
    execution_id, outcome = served.run(ACTS + name, *params)
    assert served.kinds(execution_id) == ["created", *["locked", "temporarily_failed"] * 3, "locked", "finished"]
    reasons = {event.reason for event in served.events(execution_id, TemporarilyFailed)}
    if name == "trap":
        assert outcome[:2] == ("failure", "uncategorized")
        assert all(reason.startswith("activity trap: ") for reason in reasons)
    else:
        assert outcome == ("err", "failed with 7")
        assert reasons == {"activity returned error"}


def test_r16_the_wait_before_a_retry_doubles(served: Any, spun: str) -> None:
    log = served.read(spun)
    gaps = [
        (again.created_at - ended.created_at, ended.event.backoff_expires_at - ended.created_at)
        for ended, again in pairwise(log)
        if isinstance(ended.event, TemporarilyTimedOut)
    ]
    assert [planned for _, planned in gaps] == [100_000, 200_000, 400_000]
    assert all(0 <= waited - planned < 20 * SECOND_US for waited, planned in gaps)


def test_r17_the_result_of_an_execution_is_kept(crashed: Any) -> None:
    served = crashed.served
    activity, outcome = crashed.ended[ACTS + "echo"]
    assert outcome == ("ok", "grüß dich")
    assert served.server.result(activity) == outcome
    assert served.done("execution", "result", activity) == 'OK: "grüß dich"'
    assert served.kinds(activity) == ["created", "locked", "finished"]


# --- workflows -------------------------------------------------------------------------------------------------------


def test_r18_a_parent_is_kept_hot_or_unloaded_and_replayed_with_the_same_outcome(served: Any) -> None:
    runs = {}
    ids = {package: served.server.submit(package + "calls-fail", 7) for package in (FLOWS, BRIEF, HASTY)}
    for package, execution_id in ids.items():
        assert served.server.result(execution_id) == ("err", "failed with 7")
        history = [(type(event), getattr(event, "child", None)) for event in served.history(execution_id)]
        runs[package] = (history, served.kinds(execution_id).count("locked"))
    assert runs[FLOWS][0] == runs[BRIEF][0] == runs[HASTY][0]
    assert [runs[package][1] for package in (FLOWS, BRIEF, HASTY)] == [1, 2, 2]


def test_r19_a_workflow_is_isolated_from_its_environment(crashed: Any) -> None:
    """What it can read (clock, random) is the same in every replay: it was killed and read all of it again."""
    served, execution_id = crashed.served, crashed.reads
    before = [entry.event for entry in crashed.logs[execution_id]]
    now, _ = [event for event in before if isinstance(event, DelayRequested)]
    (drawn,) = [event for event in before if isinstance(event, Persist)]
    kind, (first, random, slept, again, other) = served.server.result(execution_id)
    assert (kind, first, random) == ("ok", now.expires_at // MILLISECOND_US, int(bytes(drawn.value)))
    assert first + 3_000 <= slept <= again
    assert random != other
    value = json.dumps([first, random, slept, again, other], separators=(",", ":"))
    for _ in range(2):
        assert served.done("execution", "replay", execution_id) == f"outcome: finished\nresult: OK: {value}"


def test_r20_children_are_called_blocking_or_awaited_in_the_end(served: Any) -> None:
    orders = []
    for name in ("fiboa", "fiboa-concurrent"):
        execution_id, outcome = served.run(FIBO + name, 10, 3)
        assert outcome == ("ok", 55)
        orders.append([type(event) for event in served.events(execution_id, ChildRequested, JoinNext)])
    assert orders == [[ChildRequested, JoinNext] * 3, [ChildRequested] * 3 + [JoinNext] * 3]


def test_r21_every_change_of_state_is_in_the_file_before_it_is_told(served: Any) -> None:
    execution_id = served.server.new_id()
    request = pb.GetStatusRequest(execution_id=pb.ExecutionId(id=execution_id), follow=True, send_finished_status=True)
    served.server.submit(HASTY + "many-sleeps", 5, 150, execution_id=execution_id)
    told = []
    for message in served.server.executions.GetStatus(request, timeout=120):
        log = served.read(execution_id)
        if message.HasField("finished_status"):
            assert isinstance(log[-1].event, Finished)
            break
        status = message.summary.current_status if message.HasField("summary") else message.current_status
        kind = status.WhichOneof("status")
        told.append(kind)
        match kind:
            case "locked":
                assert status.locked.run_id.id in {e.event.run for e in log if isinstance(e.event, Locked)}
            case "blocked_by_join_set":
                name = f"o:{status.blocked_by_join_set.join_set_id.name}"
                assert name in {e.event.join_set for e in log if isinstance(e.event, JoinNext)}
            case "finished":
                assert isinstance(log[-1].event, Finished)
    assert told.count("blocked_by_join_set") >= 3
    assert told[-1] == "finished"
    versions = [entry.version for entry in served.read(execution_id)]
    assert versions == list(range(len(versions)))


def test_r22_changes_that_do_not_alter_what_is_recorded_replay(redeployed: Any) -> None:
    """Log lines, and calls that leave no event. A call that leaves one is noticed."""
    served = redeployed.served
    execution_id, outcome = redeployed.runs["tidied"]
    assert outcome == ("ok", 3)
    first, result, on = served.done("execution", "replay", execution_id).splitlines()
    assert (first, result) == ("outcome: finished", "result: OK: 3")
    assert on.startswith("replayed on tidied (sha256:")
    noticed = served.cli("execution", "replay", redeployed.runs["altered"][0])
    assert noticed.exit_code == 1
    assert noticed.output.startswith("outcome: replay_failed, error: nondeterminism detected at version 2:")


# --- the executor ----------------------------------------------------------------------------------------------------


def cpu_of_threads(pid: int) -> dict[int, int]:
    """Ticks of CPU that each thread has used."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            fields = (task / "stat").read_text().rpartition(") ")[2].split()
            found[int(task.name)] = int(fields[11]) + int(fields[12])
    return found


def most_at_once(spans: list[tuple[int, int]]) -> int:
    """Of so many there was a moment in which all were under way; in one tick, what ended before makes room."""
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return max(accumulate(change for _, change in changes))


def test_r25_no_more_is_started_than_there_is_room_for_and_in_order(serve: Any, components: Any) -> None:
    """Of many that are due, as many are locked with their first slice still due as the start window is wide, and the
    others follow in the order in which they came; those that compute for longer share as many threads as there are cores.
    """
    width = 3
    served = serve(
        f"""limits.start_window = {width}
        [[activity_wasm]]
        name = "fibo"
        location = "{components.fibo.activity}"
        exec.lock_expiry.seconds = 60
        [[workflow]]
        name = "fiboa"
        location = "{components.fibo.workflow}"
        """
    )
    served.server.start()
    # One whose first slice a busy machine interrupts makes room before it ends. It is not known which; but not in each run.
    seen: list[int] = []
    while width not in seen:
        assert len(seen) < 10, seen
        execution_id, outcome = served.run(FIBO + "fiboa-concurrent", 10, 60)
        assert outcome == ("ok", 55)
        spans = [served.span(f"{execution_id}.g:1_{number}") for number in range(1, 61)]
        begun = [start for start, _ in spans]
        assert begun == sorted(begun)
        seen.append(most_at_once(spans))
    assert min(seen) == width

    cores = len(os.sched_getaffinity(0))
    pid = served.server.process.pid
    before = cpu_of_threads(pid)
    execution_id = served.server.submit(FIBO + "fiboa-concurrent", 36, 4 * cores)
    assert served.server.result(execution_id) == ("ok", 14930352)
    assert most_at_once([served.span(f"{execution_id}.g:1_{number}") for number in range(1, 4 * cores + 1)]) > cores
    used = sorted((after - before.get(thread, 0) for thread, after in cpu_of_threads(pid).items()), reverse=True)
    # And the engine's, which runs first slices: on a busy machine they are longer.
    assert sum(used[: cores + 1]) > 0.8 * sum(used)
    assert served.server.stop() == 0


def test_r26_after_a_crash_nothing_waits_for_a_lock_and_nothing_is_counted(crashed: Any) -> None:
    """The locks of the activities stand for a minute, and they may not be retried at all."""
    served = crashed.served
    assert served.server.result(crashed.long) == ("ok", 102334155)
    for child in (f"{crashed.long}.g:1_1", f"{crashed.long}.g:1_2"):
        assert served.kinds(child) == ["created", "locked", "locked", "finished"]
        lost, again = [entry for entry in served.read(child) if isinstance(entry.event, Locked)]
        assert lost.event.max_retries == 0
        assert lost.event.lock_expires_at - lost.created_at == 60 * SECOND_US
        assert again.created_at - crashed.ready_at < 30 * SECOND_US
    state = served.state(f"{crashed.long}.g:1_1")
    assert state.failures == 0
