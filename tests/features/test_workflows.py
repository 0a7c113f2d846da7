"""What is promised about workflows: a test for each row of `W` in test_rows.py, with real components on a real server.

How long something takes is made of waits, not of work: an activity that fails takes 0.7 s (its retries), a sleeper as long
as it is told.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from obelisk.core.events import (
    ChildRequested,
    Created,
    DelayRequested,
    Finished,
    JoinNext,
    JoinNextTooMany,
    JoinSetCreated,
    Locked,
    Scheduled,
    kind_of,
)
from obelisk.core.instants import MILLISECOND_US, SECOND_US
from obelisk.core.state import Status
from obelisk.core.values import Json, Ok

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
FIBO_ACTIVITY = "template-fibo:activity/fibo-activity-ifc.fibo"
ACTS = "testing:activity/acts."
FLOWS = "testing:workflow/flows."
BRIEF = "testing:brief/flows."
HASTY = "testing:hasty/flows."
FEATURES = "testing:features/flows."
ECHO_LATER = "testing:calls-five/acts-schedule.echo-schedule"
FAIL_US = 700 * MILLISECOND_US
"""What `acts.fail` takes: three retries after 0.1, 0.2 and 0.4 s."""


def times(served: Any, execution_id: str) -> dict[str, tuple[datetime, datetime]]:
    """When each execution of the tree started and finished, as `execution trace` tells; without the top one."""
    rows = served.json("execution", "trace", execution_id)
    assert rows[0]["execution_id"] == execution_id
    return {
        row["execution_id"]: (
            datetime.fromisoformat(row["first_started_at"]),
            datetime.fromisoformat(row["finished_at"]),
        )
        for row in rows[1:]
    }


# --- executions ------------------------------------------------------------------------------------------------------


def test_w01_a_workflow_orchestrates_activities_and_child_workflows(served: Any) -> None:
    execution_id, outcome = served.run(FIBO + "fiboa", 10, 3)
    assert outcome == ("ok", 55)
    assert served.done("execution", "result", execution_id) == "OK: 55"
    children = served.events(execution_id, ChildRequested)
    assert [(child.child, child.ffqn) for child in children] == [
        (f"o:{number}-fibo_1", FIBO_ACTIVITY) for number in (1, 2, 3)
    ]
    execution_id, outcome = served.run(FLOWS + "parent", 1)
    assert outcome == ("ok", 1)
    (child,) = served.events(execution_id, ChildRequested)
    assert child.ffqn == FLOWS + "parent"


def test_w02_after_a_kill_it_goes_on_and_repeats_no_activity_that_finished(crashed: Any) -> None:
    served, execution_id = crashed.served, crashed.steps
    finished = {
        child: log
        for child, log in crashed.logs.items()
        if child.startswith(f"{execution_id}.") and isinstance(log[-1].event, Finished)
    }
    assert 20 <= len(finished) < 300
    assert served.server.result(execution_id) == ("ok", 75025)
    assert {child: served.read(child) for child in finished} == finished
    children = [request.child for request in served.events(execution_id, ChildRequested)]
    assert children == [f"o:{number}-fibo_1" for number in range(1, 301)]
    assert len(served.tree(execution_id)) == 301


def test_w03_the_same_inputs_and_history_lead_to_the_same_outputs(crashed: Any) -> None:
    """Also of a workflow whose way depends on chance, as that of iterating over a hash map may."""
    served = crashed.served
    execution_id, (kind, value) = crashed.ended[FLOWS + "random"]
    assert kind == "ok"
    for _ in range(2):
        assert served.done("execution", "replay", execution_id) == f"outcome: finished\nresult: OK: {value}"
    assert served.read(execution_id) == crashed.logs[execution_id]
    fork = served.done("execution", "fork", execution_id)
    assert served.server.result(fork) == ("ok", value)
    assert served.history(fork) == served.history(execution_id)


def test_w05_every_child_submission_and_result_is_durable_before_the_child_runs(crashed: Any) -> None:
    """The file was read when the server was dead, while both children were running."""
    served, execution_id = crashed.served, crashed.long
    log = [entry.event for entry in crashed.logs[execution_id]]
    requests = [event for event in log if isinstance(event, ChildRequested)]
    assert [(event.child, bytes(event.params)) for event in requests] == [("g:1_1", b"[40]"), ("g:1_2", b"[40]")]
    for request in requests:
        assert [kind_of(entry.event) for entry in crashed.logs[f"{execution_id}.{request.child}"]] == [
            "created",
            "locked",
        ]
    assert crashed.responses[execution_id] == 0
    assert served.server.result(execution_id) == ("ok", 102334155)
    assert served.events(execution_id, ChildRequested) == requests
    responses = served.responses(execution_id)
    assert {response.body.child for response in responses} == {"g:1_1", "g:1_2"}
    assert len(responses) == 2
    for response in responses:
        assert response.body.outcome == Ok(Json(b"102334155"))
        ended = served.read(f"{execution_id}.{response.body.child}")[-1]
        assert (ended.version, ended.created_at) == (response.body.version, response.created_at)


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_w06_no_step_is_duplicated_or_skipped_by_ten_kills_at_random_moments(served: Any) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print("seed", seed)
    steps = 3_000
    execution_id = served.server.submit(FIBO + "fiboa", 10, steps)
    for _ in range(10):
        seen = served.state(execution_id).response_count
        served.until(lambda seen=seen: served.state(execution_id).response_count > seen)
        time.sleep(chance.uniform(0, 0.05))
        served.server.kill()
        assert served.state(execution_id).response_count < steps
        served.server.start()
    served.server.check_fibo(execution_id, steps)  # each child once and finished once, no version missing
    children = [request.child for request in served.events(execution_id, ChildRequested)]
    assert children == [f"o:{number}-fibo_1" for number in range(1, steps + 1)]
    assert [response.body.child for response in served.responses(execution_id)] == children
    assert served.kinds(execution_id).count("locked") > 1


def test_w07_the_events_of_a_run_are_those_of_the_book(served: Any) -> None:
    execution_id, outcome = served.run(FIBO + "fiboa", 10, 2)
    assert outcome == ("ok", 55)
    lines = served.done("execution", "events", execution_id).splitlines()
    events = [line.partition("` ")[2].partition("(Run_")[0] for line in lines]
    call = [
        "JoinSetCreated(o:{0}-fibo)",
        "ChildExecutionRequest(" + execution_id + ".o:{0}-fibo_1, " + FIBO_ACTIVITY + ", `[10]`)",
        "JoinNext(o:{0}-fibo)",
    ]
    assert events == [
        f"Created({FIBO}fiboa, `[10,2]`)",
        "Locked",
        *(line.format(1) for line in call),
        *(line.format(2) for line in call),
        "Finished(OK: 55)",
    ]


def test_w08_an_activity_that_fails_twice_is_tried_until_it_is_ok(redeployed: Any) -> None:
    """It needs more memory than it may have, until the server is started with a higher limit."""
    served, execution_id = redeployed.served, redeployed.needs
    assert served.server.result(execution_id) == ("ok", 64)
    assert served.kinds(execution_id) == ["created", *["locked", "temporarily_failed"] * 2, "locked", "finished"]


def test_w09_the_end_of_an_execution_is_recorded(crashed: Any) -> None:
    served = crashed.served
    for ffqn, kind, result in (
        (FIBO + "fiboa", "OK", "OK: 55"),
        (FLOWS + "returns-err", "Error", 'Error: "returned by the workflow"'),
        (FLOWS + "trap", "Execution failure", "Execution failure (uncategorized): "),
    ):
        execution_id, outcome = crashed.ended[ffqn]
        assert served.cli("execution", "result", execution_id).output.startswith(result)
        assert served.done("execution", "get", execution_id).startswith(f"Finished: {kind}")
        assert served.server.result(execution_id) == outcome


# --- functions -------------------------------------------------------------------------------------------------------

FORMS = {
    "bare": ("result", None),
    "valued": ("result<u64>", None),
    "texted": ("result<u64, string>", "execution-failed"),
    "cased": ("result<u64, variant { mine, execution-failed }>", "execution_failed"),
}
"""The four forms of a result, with what a caller gets of a child that failed."""


def test_w11_functions_must_be_fallible_in_one_of_four_forms(served: Any, refused: list[str]) -> None:
    listed = served.done("component", "list").splitlines()
    for kind in ("activity", "workflow"):
        for name, (type_, _) in FORMS.items():
            assert f"\ttesting:forms-{kind}/forms.{name} : func(spins: bool) -> {type_}" in listed
    said = [line for line in refused if "a:sure/c" in line]
    wrong = ["u64", "option<u64>", "result<u64, u64>", "result<u64, variant { mine }>"]
    assert len(said) == len(wrong)
    for number, type_ in enumerate(wrong):
        assert said[number].endswith(
            f"workflow sure exports a:sure/c.f{number}: func() -> {type_}, which cannot be an execution: it must return a"
            " result whose error is nothing, string, or a variant with the case execution-failed without payload"
        )


@pytest.mark.parametrize("spins", [False, True], ids=["trap", "timeout"])
@pytest.mark.parametrize("kind", ["activity", "workflow"])
@pytest.mark.parametrize("form", FORMS)
def test_w12_a_trap_or_a_timeout_is_an_error_in_the_form_of_the_function(
    served: Any, form: str, kind: str, spins: bool
) -> None:
    """For a caller that was compiled against the function, and for one that calls it by JSON."""
    seen = FORMS[form][1]
    execution_id, outcome = served.run(f"testing:forms-caller/of-{kind}.{form}", spins)
    assert outcome == ("err", seen)
    failure = served.server.result(f"{execution_id}.o:1-{form}_1")
    timed_out = "timed_out" if kind == "activity" else "out_of_fuel"
    assert failure[:2] == ("failure", timed_out if spins else "uncategorized")
    function = {"interface_name": f"testing:forms-{kind}/forms", "function_name": form}
    _, outcome = served.run("testing:calls-five/support.call-json", function, json.dumps([spins]), None, None)
    assert outcome == ("ok", {"ok": {"err": None if seen is None else json.dumps(seen)}})


# --- direct calls ----------------------------------------------------------------------------------------------------


def test_w15_direct_calls_run_one_after_another(served: Any) -> None:
    execution_id, outcome = served.run(FIBO + "fiboa", 28, 5)
    assert outcome == ("ok", 317811)
    spans = times(served, execution_id)
    in_order = [spans[f"{execution_id}.o:{number}-fibo_1"] for number in range(1, 6)]
    assert len(spans) == 5
    for (_, ended), (begun, _) in itertools.pairwise(in_order):
        assert begun >= ended


def test_w16_each_direct_call_has_a_join_set_of_its_own(served: Any) -> None:
    execution_id, _ = served.run(FIBO + "fiboa", 10, 3)
    sets = [event.join_set for event in served.events(execution_id, JoinSetCreated)]
    assert sets == ["o:1-fibo", "o:2-fibo", "o:3-fibo"]
    rows = served.done("execution", "events", execution_id)
    assert [f"JoinSetCreated({each})" in rows for each in sets] == [True] * 3


def test_w21_submit_and_follow_prints_id_states_and_result(served: Any) -> None:
    command = [sys.executable, "-m", "obelisk", "execution", "submit", "--follow", FIBO + "fiboa", "[30,10]"]
    url = ["-a", f"http://{served.server.address}"]
    done = subprocess.run([*command, *url], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    first, *states, result, blank, took = done.stdout.splitlines()
    assert served.done("execution", "result", first) == "OK: 832040"
    known = {"Pending", "Locked", *(f"BlockedByJoinSet o:{number}-fibo" for number in range(1, 11)), "Finished: OK"}
    assert {state.partition(" at ")[0] for state in states} <= known
    assert states[-1] == "Finished: OK"
    assert (result, blank) == ("Execution finished: OK: 832040", "")
    assert took.startswith("Execution took ")


# --- extension functions ---------------------------------------------------------------------------------------------


def test_w25_submit_does_not_block(served: Any) -> None:
    execution_id, outcome = served.run(FEATURES + "crowd", 100, 1_500)
    assert outcome == ("ok", 100)
    history = served.history(execution_id)
    assert [type(event) for event in history] == [JoinSetCreated, *[ChildRequested] * 100, *[JoinNext] * 100]
    submitted = [entry.created_at for entry in served.read(execution_id) if isinstance(entry.event, ChildRequested)]
    responses = served.responses(execution_id)
    assert len(responses) == 100
    assert max(submitted) < responses[0].created_at


def test_w26_await_next_gives_results_in_the_order_of_completion(served: Any) -> None:
    """Three children that sleep 3, 1 and 2 times as long come as the second, the third, the first; a fourth await is told
    that there are no more; and who asks for another function is told which one it was.
    """
    execution_id, (kind, came) = served.run(FEATURES + "in-order", 300)
    assert kind == "ok"
    ids, results = zip(*came, strict=True)
    assert ids == tuple(f"{execution_id}.g:1_{number}" for number in (2, 3, 1))
    assert results == tuple(sorted(results))
    for child, instant in came:
        assert served.server.result(child) == ("ok", instant)
    requested = served.events(execution_id, ChildRequested)
    assert [bytes(event.params) for event in requested] == [b"[900]", b"[300]", b"[600]"]
    awaits = served.events(execution_id, JoinNext, JoinNextTooMany)
    assert [type(event) for event in awaits] == [JoinNext] * 3 + [JoinNextTooMany]
    assert {event.ffqn for event in awaits} == {FLOWS + "sleeper"}
    assert served.run(FLOWS + "overawait")[1] == ("ok", "all-processed")
    assert served.run(FLOWS + "mismatch")[1] == ("ok", "echo")
    assert served.run(FLOWS + "mismatch-delay")[1] == ("ok", "delay")


def test_w27_get_gives_the_result_of_a_response_that_was_awaited(served: Any) -> None:
    assert served.run(FLOWS + "get")[1] == ("ok", "got")
    assert served.run(FLOWS + "get-early")[1] == ("err", "not-found")


def test_w28_invoke_is_a_direct_call_with_a_label(served: Any) -> None:
    execution_id, outcome = served.run(FLOWS + "invoke", "abc")
    assert outcome == ("ok", "invoked")
    assert [event.join_set for event in served.events(execution_id, JoinSetCreated)] == ["o:1-abc"]
    assert served.server.result(f"{execution_id}.o:1-abc_1") == ("ok", "invoked")
    execution_id, (kind, message) = served.run(FLOWS + "invoke", "a_b c")
    assert (kind, "a_b c" in message) == ("err", True)
    assert served.history(execution_id) == []


def test_w29_a_component_that_imports_types_4_2_0_links(served: Any, components: Any) -> None:
    for path in (components.testing.workflow, components.fibo.workflow):
        assert b"obelisk:types/execution@4.2.0" in path.read_bytes()
    imports = served.done("component", "list", "--imports")
    assert "obelisk:types/join-set@4.2.0" in imports
    assert served.run(FLOWS + "in-time-pattern", 10_000)[1][0] == "ok"


# --- join sets -------------------------------------------------------------------------------------------------------


def test_w30_a_join_set_is_created_explicitly(served: Any) -> None:
    execution_id, outcome = served.run(FIBO + "fiboa-concurrent", 10, 2)
    assert outcome == ("ok", 55)
    assert "JoinSetCreated(g:1)" in served.done("execution", "events", execution_id)
    children = [event.child for event in served.events(execution_id, ChildRequested)]
    assert children == ["g:1_1", "g:1_2"]
    assert served.run(FLOWS + "named", "batch")[1] == ("ok", "n:batch")


def test_w31_submitted_children_run_at_the_same_time(served: Any) -> None:
    execution_id, (kind, _) = served.run(FEATURES + "in-order", 500)  # 1.5, 0.5 and 1 s
    assert kind == "ok"
    spans = times(served, execution_id)
    assert len(spans) == 3
    assert max(begun for begun, _ in spans.values()) < min(ended for _, ended in spans.values())
    begun, ended = served.span(execution_id)
    assert 1_500 * MILLISECOND_US <= ended - begun < 3_000 * MILLISECOND_US  # the longest, not the sum
    drawn = served.done("execution", "trace", execution_id)
    assert drawn.count("█") > 3


def test_w32_the_stars_of_a_repository_in_series_and_at_once(served: Any) -> None:
    """A workflow that calls a workflow for each star, which calls two activities; all in series, or all at once."""
    for function in ("backfill", "backfill-parallel"):
        execution_id, outcome = served.run(FEATURES + function, 4)
        assert outcome == ("ok", 4)
        children = [event.child for event in served.events(execution_id, ChildRequested)]
        awaits = [type(event) for event in served.history(execution_id) if not isinstance(event, JoinSetCreated)]
        if function == "backfill":
            assert children == [f"o:{number}-star-added_1" for number in range(1, 5)]
            assert awaits == [ChildRequested, JoinNext] * 4
        else:
            assert children == [f"g:1_{number}" for number in range(1, 5)]
            assert awaits == [ChildRequested] * 4 + [JoinNext] * 4
        for number, child in enumerate(children):
            assert served.server.result(f"{execution_id}.{child}") == ("ok", f"user {number}")
        assert len(served.tree(execution_id)) == 1 + 4 + 8
    for function in ("fiboa", "fiboa-concurrent"):  # activities without a workflow in between
        assert served.run(FIBO + function, 10, 4)[1] == ("ok", 55)


# --- schedules -------------------------------------------------------------------------------------------------------


def test_w33_a_function_is_scheduled_now_at_an_instant_or_after_a_while(served: Any) -> None:
    later = 1_500 * MILLISECOND_US
    at = time.time_ns() // 1_000 + later
    instant = {"seconds": at // SECOND_US, "nanoseconds": at % SECOND_US * 1_000}
    whens: list[tuple[Any, Callable[[int], int]]] = [
        ("now", lambda asked_at: asked_at),
        ({"at": instant}, lambda asked_at: at),
        ({"in": {"milliseconds": 1_500}}, lambda asked_at: asked_at + later),
    ]
    for when, due_at in whens:
        parent, (kind, new) = served.run(ECHO_LATER, when, "later")
        assert kind == "ok"
        scheduled = new["id"]
        assert "." not in scheduled
        assert served.server.result(scheduled) == ("ok", "later")
        (created,) = served.events(scheduled, Created)
        assert (created.join_set, created.scheduled_by, created.ffqn) == (None, parent, ACTS + "echo")
        (entry,) = [entry for entry in served.read(parent) if isinstance(entry.event, Scheduled)]
        due = due_at(entry.created_at)
        assert created.scheduled_at == entry.event.scheduled_at == due
        begun, _ = served.span(scheduled)
        assert due <= begun < due + 20 * SECOND_US
        if when != "now":
            assert served.span(parent)[1] < begun


def test_w34_what_is_scheduled_is_in_no_join_set_and_outlives_who_did_it(served: Any) -> None:
    parent, (_, new) = served.run(ECHO_LATER, {"in": {"milliseconds": 1_500}}, "later")
    assert served.kinds(parent) == ["created", "locked", "schedule", "finished"]
    assert served.state(new["id"]).status is Status.PENDING
    assert list(served.tree(parent)) == [parent]
    assert served.server.result(new["id"]) == ("ok", "later")
    assert served.responses(parent) == []
    assert served.span(parent)[1] < served.span(new["id"])[0]


# --- replays ---------------------------------------------------------------------------------------------------------


def test_w38_added_log_lines_do_not_break_the_replay_of_what_runs_or_has_finished(redeployed: Any) -> None:
    served, running = redeployed.served, redeployed.running
    finished, outcome = redeployed.runs["logged"]
    assert outcome == ("ok", 3)
    first, result, on = served.done("execution", "replay", finished).splitlines()
    assert (first, result) == ("outcome: finished", "result: OK: 3")
    assert on.startswith("replayed on logged (sha256:")  # with the lines: the one without is not loaded any more
    assert served.read(finished) == redeployed.logs["logged"]

    before = served.history(running)
    assert served.done("execution", "upgrade", running).splitlines()[1] == "Upgraded"
    assert served.done("execution", "replay", running) == "outcome: blocked"
    assert served.history(running) == before
    lines = re.compile(r"\bgot\b")
    assert not lines.search(served.server.log.read_text())  # all that ran until here are replays
    served.done("execution", "cancel", f"Delay_{running[2:]}.o:1-sleep_1")
    assert served.server.result(running) == ("err", None)
    # Said once, after the sleep; the line at the beginning is of the part that was replayed.
    served.until(lambda: lines.search(served.server.log.read_text()))
    assert len(lines.findall(served.server.log.read_text())) == 1


def test_w39_a_replay_is_triggered_and_changes_nothing(served: Any) -> None:
    finished, _ = served.run(FIBO + "fiboa", 10, 3)
    blocked = served.server.submit(FLOWS + "sleeper", 60_000)
    served.until_status(blocked, Status.BLOCKED)
    paused = served.done("execution", "submit", "--paused", FLOWS + "random", "[1]")
    logs = {execution_id: served.read(execution_id) for execution_id in (finished, blocked, paused)}
    assert served.done("execution", "replay", finished) == "outcome: finished\nresult: OK: 55"
    assert served.done("execution", "replay", blocked) == "outcome: blocked"
    assert served.done("execution", "replay", paused).startswith("outcome: advanceable, 4 writes\n")
    assert {execution_id: served.read(execution_id) for execution_id in logs} == logs
    for execution_id in (blocked, paused):
        served.done("execution", "cancel", execution_id)
        served.until_status(execution_id, Status.FINISHED)


# --- blocking --------------------------------------------------------------------------------------------------------


def test_w43_awaiting_keeps_the_instance_while_the_lock_stands(served: Any) -> None:
    """The lock stands for a minute, the activity takes 0.7 s."""
    execution_id, outcome = served.run(FLOWS + "calls-fail", 7)
    assert outcome == ("err", "failed with 7")
    begun, ended = served.span(f"{execution_id}.o:1-fail_1")
    assert ended - begun >= FAIL_US
    assert served.kinds(execution_id).count("locked") == 1


def test_w44_a_late_result_begins_a_new_run(served: Any) -> None:
    """The lock stands for 0.2 s, the activity takes 0.7 s."""
    execution_id, outcome = served.run(BRIEF + "calls-fail", 7)
    assert outcome == ("err", "failed with 7")
    first, second = [entry for entry in served.read(execution_id) if isinstance(entry.event, Locked)]
    assert first.event.run != second.event.run
    (response,) = served.responses(execution_id)
    assert first.event.lock_expires_at < response.created_at <= second.created_at
    assert second.event.lock_expires_at > second.created_at
    assert served.done("execution", "replay", execution_id).startswith("outcome: finished")


def test_w45_interrupting_replays_at_every_call_and_sleep(served: Any) -> None:
    for function, params, blocks in (("calls-fail", (7,), 1), ("many-sleeps", (3, 10), 3), ("parent", (1,), 1)):
        execution_id, _ = served.run(HASTY + function, *params)
        awaits_and_locks = [
            event for event in served.events(execution_id, JoinNext, Locked) if isinstance(event, (JoinNext, Locked))
        ]
        assert [type(event) for event in awaits_and_locks] == [Locked, *[JoinNext, Locked] * blocks]
        runs = [event.run for event in awaits_and_locks if isinstance(event, Locked)]
        assert len(set(runs)) == blocks + 1


def test_w46_lock_expiry_is_honoured(served: Any) -> None:
    for ffqn, params, expiry in (
        (FLOWS + "current-id", (), 60 * SECOND_US),
        (BRIEF + "current-id", (), 200 * MILLISECOND_US),
        (HASTY + "current-id", (), SECOND_US),  # the default
        (FIBO_ACTIVITY, (10,), 60 * SECOND_US),
    ):
        execution_id, (kind, _) = served.run(ffqn, *params)
        assert kind == "ok"
        (entry,) = [entry for entry in served.read(execution_id) if isinstance(entry.event, Locked)]
        assert entry.event.lock_expires_at - entry.created_at == expiry


def test_w47_a_sleep_outlives_the_server(crashed: Any) -> None:
    served, execution_id = crashed.served, crashed.sleeper
    (delay,) = served.events(execution_id, DelayRequested)
    kind, woken_ms = served.server.result(execution_id)
    assert (kind, woken_ms) == ("ok", delay.expires_at // MILLISECOND_US)
    ended = served.span(execution_id)[1]
    assert ended >= delay.expires_at
    assert ended - max(delay.expires_at, crashed.ready_at) < 20 * SECOND_US
