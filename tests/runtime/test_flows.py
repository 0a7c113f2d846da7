"""Every function of the test components, run by a whole runtime, gives its documented result."""

from __future__ import annotations

from typing import Any

import pytest

from obelisk.core.events import TemporarilyFailed, TemporarilyTimedOut, kind_of
from obelisk.core.ids import ExecutionId

FLOWS = "testing:workflow/flows."
ACTS = "testing:activity/acts."


@pytest.mark.parametrize(
    ("function", "params", "expected"),
    [
        ("returns-err", [], ("err", "returned by the workflow")),
        ("many-sleeps", [3, 5], ("ok", 3)),
        ("calls-trap", [], ("err", None)),
        ("calls-fail", [7], ("err", "failed with 7")),
        ("invoke", ["abc"], ("ok", "invoked")),
        ("get", [], ("ok", "got")),
        ("get-early", [], ("err", "not-found")),
        ("close-then-get", [], ("err", "execution-failed")),
        ("mismatch-delay", [], ("ok", "delay")),
        ("overawait", [], ("ok", "all-processed")),
        ("named-conflict", [], ("ok", "conflict")),
        ("named", ["abc"], ("ok", "n:abc")),
        ("submit-many", [20], ("ok", 20)),
        ("parent", [5], ("ok", 5)),
        ("logs", [10], ("ok", None)),
    ],
)
def test_documented_result(flows: Any, function: str, params: list[Any], expected: Any) -> None:
    outcome = flows.run(FLOWS + function, *params)
    if function == "close-then-get" and outcome == ("ok", "closed"):
        return  # the child was faster than its cancellation
    assert outcome == expected


def test_names_with_other_characters_are_refused(flows: Any) -> None:
    kind, message = flows.run(FLOWS + "invoke", "not_allowed")
    assert kind == "err"
    assert "not_allowed" in message
    kind, message = flows.run(FLOWS + "named", "not allowed")
    assert kind == "err"
    assert "not allowed" in message


def test_mismatch_names_the_actual_function(flows: Any) -> None:
    assert flows.run(FLOWS + "mismatch") == ("ok", "echo")


def test_random_values_stay_in_their_ranges_and_differ_between_executions(flows: Any) -> None:
    sums = {flows.run(FLOWS + "random", 20) for _ in range(3)}
    assert all(kind == "ok" for kind, _ in sums)
    assert len(sums) == 3


def test_a_workflow_knows_its_id(flows: Any) -> None:
    execution_id, outcome = flows.run_id(FLOWS + "current-id")
    assert outcome == ("ok", execution_id)


def test_the_child_in_time_comes_first(flows: Any) -> None:
    execution_id, outcome = flows.run_id(FLOWS + "in-time-pattern", 5_000)
    assert outcome == ("ok", f"{execution_id}.n:timeout_1")


def test_the_delay_comes_first_and_the_child_is_cancelled(flows: Any) -> None:
    execution_id, outcome = flows.run_id(FLOWS + "timeout-pattern", 50)
    assert outcome == ("ok", f"Delay_{execution_id[2:]}.n:timeout_1")
    child = flows.runtime.reader.result(ExecutionId(f"{execution_id}.n:timeout_1"))
    assert child.outcome.kind == "cancelled"
    closing = [entry.event for entry in flows.log(execution_id) if getattr(entry.event, "closing", False)]
    assert len(closing) == 1


def test_what_traps_is_tried_again_and_then_failed(flows: Any) -> None:
    execution_id, outcome = flows.run_id(ACTS + "trap")
    assert outcome[:2] == ("failure", "uncategorized")
    assert outcome[2].startswith("activity trap: ")
    log = flows.log(execution_id)
    assert [kind_of(entry.event) for entry in log] == ["created", "locked", "temporarily_failed", "locked", "finished"]
    failed = log[2].event
    assert isinstance(failed, TemporarilyFailed)
    assert failed.backoff_expires_at == log[2].created_at + 10_000
    assert log[3].created_at >= failed.backoff_expires_at


def test_what_loops_for_ever_times_out(flows: Any) -> None:
    execution_id, outcome = flows.run_id(ACTS + "spin")
    assert outcome[:2] == ("failure", "timed_out")
    kinds = [type(entry.event) for entry in flows.log(execution_id)]
    assert kinds[2] is TemporarilyTimedOut


def test_a_returned_error_is_tried_again_and_then_returned(flows: Any) -> None:
    execution_id, outcome = flows.run_id(ACTS + "fail", 3)
    assert outcome == ("err", "failed with 3")
    assert [kind_of(entry.event) for entry in flows.log(execution_id)].count("temporarily_failed") == 1


def test_a_permanent_error_is_final(flows: Any) -> None:
    execution_id, outcome = flows.run_id(ACTS + "permanent")
    assert outcome[0] == "err"
    assert [kind_of(entry.event) for entry in flows.log(execution_id)] == ["created", "locked", "finished"]


@pytest.mark.parametrize(
    ("function", "kind"), [("trap", "uncategorized"), ("hog", "uncategorized"), ("spin", "out_of_fuel")]
)
def test_a_workflow_that_misbehaves_is_failed_at_once(flows: Any, function: str, kind: str) -> None:
    execution_id, outcome = flows.run_id(FLOWS + function)
    assert outcome[:2] == ("failure", kind)
    assert [kind_of(entry.event) for entry in flows.log(execution_id)] == ["created", "locked", "finished"]
    if function == "spin":
        assert "exec.cpu_budget" in outcome[2]
