"""What is promised about the lifetimes of executions: a test for each row of `S` in test_rows.py, with real components on a
real server.
"""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from obelisk.core.events import ChildRequested, Created, Finished, JoinNext, JoinSetCreated, TemporarilyFailed
from obelisk.core.ids import absolute
from obelisk.core.instants import MILLISECOND_US
from obelisk.core.responses import ChildFinished
from obelisk.core.state import Status
from obelisk.core.values import Err, Failure, Json
from obelisk.proto import obelisk_pb2 as pb
from obelisk.wit import wasi

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
ACTS = "testing:activity/acts."
FLOWS = "testing:workflow/flows."
FEATURES = "testing:features/flows."
CALLS = "testing:calls-five/"
TRAP = {"interface_name": ACTS[:-1], "function_name": "trap"}


def lifetimes(served: Any, root: str) -> dict[str, tuple[int, int]]:
    """When each execution of a tree was created and finished."""
    found = {}
    for execution_id in served.tree(root):
        log = served.read(execution_id)
        assert isinstance(log[-1].event, Finished)
        found[execution_id] = (log[0].created_at, log[-1].created_at)
    return found


def parent_of(execution_id: str) -> str:
    return execution_id.rpartition(".")[0]


# --- the tree --------------------------------------------------------------------------------------------------------


def test_s01_a_parent_finishes_after_children_that_it_did_not_await(served: Any) -> None:
    execution_id, outcome = served.run(FEATURES + "leaves", 200)  # workflows: they are waited for
    assert outcome == ("ok", 2)
    lives = lifetimes(served, execution_id)
    assert len(lives) == 3
    (begun, ended) = lives.pop(execution_id)
    assert ended - begun >= 200 * MILLISECOND_US
    assert max(child_ended for _, child_ended in lives.values()) <= ended
    for child in lives:
        assert served.server.result(child)[0] == "ok"
    execution_id, outcome = served.run(FLOWS + "timeout-pattern", 30)  # an activity that never ends: it is cancelled
    assert outcome[0] == "ok"
    child = f"{execution_id}.n:timeout_1"
    assert served.server.result(child)[:2] == ("failure", "cancelled")
    lives = lifetimes(served, execution_id)
    assert lives[child][1] <= lives[execution_id][1]


def test_s03_only_activities_have_side_effects(served: Any, refused: list[str]) -> None:
    """A workflow that wants to reach out is refused at start; those that run import nothing but the host and others."""
    said = [line for line in refused if "workflow busybody" in line]
    for line, interface in zip(said, ("wasi:http/outgoing-handler@0.2.0", "wasi:sockets/network@0.2.0"), strict=True):
        assert f"imports {interface}; which no replay can repeat, so workflows have none of it" in line
    listed = served.json("component", "list", "--imports")
    workflows = [each for each in listed if each["component_id"]["component_type"] == "workflow"]
    imported = {imported["ffqn"].partition("@")[0] for each in workflows for imported in each["imports"]}
    of_wasi = {interface for interface in imported if interface.startswith("wasi:")}
    assert of_wasi <= wasi.DETERMINISTIC
    assert {interface.partition(":")[0] for interface in imported - of_wasi} == {"obelisk", "testing", "template-fibo"}


def test_s04_children_do_not_outlive_their_parents_at_any_level(served: Any) -> None:
    for ffqn, params in (
        (FLOWS + "parent", (3,)),
        (FEATURES + "backfill-parallel", (3,)),
        (FEATURES + "unwraps", (2,)),
    ):
        execution_id, _ = served.run(ffqn, *params)
        lives = lifetimes(served, execution_id)
        assert len(lives) > 3
        told = {
            absolute(parent, response.body.child): response.created_at
            for parent in lives
            for response in served.responses(parent)
        }
        for child, (created, ended) in lives.items():
            if child == execution_id:
                continue
            parent_created, parent_ended = lives[parent_of(child)]
            assert parent_created <= created <= ended <= parent_ended
            assert told[child] == ended


# --- failures --------------------------------------------------------------------------------------------------------


def test_s05_the_failure_of_a_child_is_passed_on_once_it_has_no_retries_left(served: Any) -> None:
    """What it returned last, a trap, and a timeout."""
    spin = {"interface_name": ACTS[:-1], "function_name": "spin"}
    submit = served.server.submit
    calls = [
        (submit(FLOWS + "calls-fail", 7), ("err", "failed with 7"), "temporarily_failed"),
        (submit(FLOWS + "calls-trap"), ("err", None), "temporarily_failed"),
        (
            submit(CALLS + "support.call-json", spin, "[]", None, None),
            ("ok", {"ok": {"err": None}}),
            "temporarily_timed_out",
        ),
    ]
    for execution_id, seen, failed in calls:
        assert served.server.result(execution_id) == seen
        (request,) = served.events(execution_id, ChildRequested)
        child = absolute(execution_id, request.child)
        assert served.kinds(child) == ["created", *["locked", failed] * 3, "locked", "finished"]
        (response,) = served.responses(execution_id)
        assert isinstance(response.body, ChildFinished)
        if execution_id == calls[0][0]:
            assert response.body.outcome == Err(Json(b'"failed with 7"'))
        else:
            assert isinstance(response.body.outcome, Failure)


def test_s06_errors_that_nobody_handles_bubble_up(served: Any) -> None:
    execution_id, outcome = served.run(FEATURES + "unwraps", 2)
    levels = sorted(served.tree(execution_id), key=len)
    assert len(levels) == 4
    assert outcome[:2] == ("failure", "uncategorized")
    for level in levels[:3]:
        kind, failure, reason = served.server.result(level)
        assert (kind, failure) == ("failure", "uncategorized")
        assert reason.startswith("workflow trap")
    assert served.server.result(levels[3])[2].startswith("activity trap")


def test_s07_the_failure_of_the_root_is_that_of_the_whole(served: Any) -> None:
    for ffqn, params, status, shown in (
        (
            FEATURES + "unwraps",
            "[0]",
            "Finished: Execution failure (uncategorized)",
            "Execution failure (uncategorized): ",
        ),
        (FLOWS + "returns-err", "[]", "Finished: Error", 'Error: "returned by the workflow"'),
    ):
        followed = served.cli("execution", "submit", "--follow", ffqn, params)
        assert followed.exit_code == 1
        assert f"Execution finished: {shown}" in followed.output
        execution_id = followed.output.splitlines()[0]
        assert served.done("execution", "status", execution_id).startswith(status)
        result = served.cli("execution", "result", execution_id)
        assert (result.exit_code, result.output.startswith(shown)) == (1, True)


# --- join sets -------------------------------------------------------------------------------------------------------


def test_s08_direct_calls_have_a_set_of_their_own_and_submissions_an_explicit_one(served: Any) -> None:
    for ffqn, params, sets, children in (
        (FIBO + "fiboa", (10, 2), ["o:1-fibo", "o:2-fibo"], ["o:1-fibo_1", "o:2-fibo_1"]),
        (FIBO + "fiboa-concurrent", (10, 2), ["g:1"], ["g:1_1", "g:1_2"]),
        (FLOWS + "in-time-pattern", (10_000,), ["n:timeout"], ["n:timeout_1"]),
    ):
        execution_id, outcome = served.run(ffqn, *params)
        assert outcome[0] == "ok"
        assert [event.join_set for event in served.events(execution_id, JoinSetCreated)] == sets
        assert [request.child for request in served.events(execution_id, ChildRequested)] == children


def test_s09_results_are_awaited_in_the_order_of_completion(served: Any) -> None:
    """By function, or whatever comes next: children and a delay, by their ids."""
    execution_id, (kind, came) = served.run(FEATURES + "in-order-any", 300)
    assert kind == "ok"
    assert came == [
        [f"{execution_id}.g:1_2", 0],
        [f"{execution_id}.g:1_3", 0],
        [f"{execution_id}.g:1_1", 0],
        [f"Delay_{execution_id[2:]}.g:1_1", 0],
    ]
    execution_id, (kind, came) = served.run(FEATURES + "in-order", 300)
    assert kind == "ok"
    assert [child for child, _ in came] == [f"{execution_id}.g:1_{number}" for number in (2, 3, 1)]


def test_s10_a_join_set_that_goes_out_of_scope_waits_for_its_children(served: Any) -> None:
    execution_id, outcome = served.run(FEATURES + "scoped", 150)
    assert outcome == ("ok", 2)
    history = served.history(execution_id)
    assert [type(event) for event in history] == [
        JoinSetCreated,
        ChildRequested,
        ChildRequested,
        JoinNext,
        JoinNext,
        JoinSetCreated,
    ]
    assert [(event.join_set, event.closing) for event in history if isinstance(event, JoinNext)] == [("g:1", True)] * 2
    assert history[-1].join_set == "n:after"
    assert served.done("execution", "events", execution_id).count("JoinNext(g:1, closing)") == 2
    log = served.read(execution_id)
    after = next(entry.created_at for entry in log if entry.event == history[-1])
    for number in (1, 2):
        child = f"{execution_id}.g:1_{number}"
        assert served.server.result(child)[0] == "ok"
        assert served.span(child)[1] <= after


# --- schedules -------------------------------------------------------------------------------------------------------


def test_s11_what_is_scheduled_shares_no_life_with_who_did_it(served: Any) -> None:
    """No join set, no lifetime, no failure."""
    chosen = served.server.new_id()
    parent, outcome = served.run(CALLS + "support.schedule-json", {"id": chosen}, "now", TRAP, "[]", None, None)
    assert outcome == ("ok", {"ok": None})
    later = {"in": {"milliseconds": 200}}
    other = served.server.new_id()
    who, _ = served.run(CALLS + "support.schedule-json", {"id": other}, later, TRAP, "[]", None, None)
    assert served.done("execution", "cancel", who) == "Already successfully finished"
    assert served.server.result(chosen)[:2] == ("failure", "uncategorized")
    assert len(served.events(chosen, TemporarilyFailed)) == 3
    assert served.server.result(parent) == outcome
    assert served.kinds(parent) == ["created", "locked", "schedule", "finished"]
    assert served.responses(parent) == []
    assert served.span(parent)[1] < served.span(chosen)[1]
    assert served.server.result(other)[:2] == ("failure", "uncategorized")  # it ran all the same


def test_s12_fire_and_forget_and_a_delayed_start(served: Any) -> None:
    for when, wait_us in (("now", 0), ({"in": {"milliseconds": 250}}, 250 * MILLISECOND_US)):
        parent, (kind, new) = served.run(CALLS + "acts-schedule.echo-schedule", when, "a message")
        assert kind == "ok"
        assert served.server.result(new["id"]) == ("ok", "a message")
        asked_at = next(entry.created_at for entry in served.read(parent) if entry.event.history)
        assert served.span(new["id"])[0] - asked_at >= wait_us
        (created,) = served.events(new["id"], Created)
        assert (created.scheduled_by, created.join_set) == (parent, None)


# --- all of it -------------------------------------------------------------------------------------------------------


def unfinished_below_finished(served: Any, roots: list[str]) -> list[str]:
    """Executions that go on although what they derive from has finished."""
    found = []
    for root in roots:
        tree = served.tree(root)
        found += [
            execution_id
            for execution_id, state in tree.items()
            if execution_id != root
            and state.status is not Status.FINISHED
            and tree[parent_of(execution_id)].status is Status.FINISHED
        ]
    return found


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_s13_after_random_cancellations_and_crashes_nothing_goes_on_below_what_has_finished(served: Any) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print("seed", seed)
    calls: list[tuple[Any, ...]] = [
        (FEATURES + "in-order", 100),
        (FEATURES + "in-order-any", 100),
        (FEATURES + "leaves", 300),
        (FEATURES + "scoped", 200),
        (FEATURES + "backfill", 20),
        (FEATURES + "backfill-parallel", 20),
        (FEATURES + "unwraps", 5),
        (FLOWS + "parent", 8),
        (FLOWS + "timeout-pattern", 400),
        (FLOWS + "submit-many", 20),
        (FIBO + "fiboa-concurrent", 30, 10),
        ("testing:hasty/flows.many-sleeps", 10, 50),
    ]
    roots: list[str] = []
    cancelled = 0
    for _ in range(8):
        chance.shuffle(calls)
        new = [served.server.submit(*call) for call in calls]
        roots += new
        time.sleep(chance.uniform(0, 0.2))
        executions = served.server.executions
        for root in new:
            if chance.random() < 0.5:
                chosen = chance.choice(sorted(served.tree(root)))
                request = pb.CancelExecutionRequest(execution_id=pb.ExecutionId(id=chosen))
                cancelled += executions.CancelExecution(request).outcome == 1
        time.sleep(chance.uniform(0, 0.2))
        served.server.kill()
        assert unfinished_below_finished(served, roots) == []
        served.server.start()
    for root in roots:
        served.server.result(root, 120)
    assert unfinished_below_finished(served, roots) == []
    ends = [state.status for root in roots for state in served.tree(root).values()]
    assert len(ends) > 3 * len(roots)
    assert set(ends) == {Status.FINISHED}
    assert cancelled > 10
