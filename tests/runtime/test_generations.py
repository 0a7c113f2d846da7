"""Workflows of both generations of the host's packages in one runtime: their host calls have the effects they name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from obelisk.core.ids import ExecutionId

FUNCTION = {"interface_name": "testing:activity/acts", "function_name": "echo"}
SCHEDULED = "E_01K42AJA8QHD7D3GTJAYMASFY0"
TRACE = {"frames": []}


@pytest.fixture
def both(running: Callable[[str], Any], testing_components: Any, calling_components: Any) -> Any:
    """A runtime with an activity and a workflow of each generation."""
    five, six = calling_components.without_stubs
    return running(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        max_retries = 0

        [[workflow]]
        name = "five"
        location = "{five}"

        [[workflow]]
        name = "six"
        location = "{six}"
        """
    )


@pytest.fixture(params=["five", "six"])
def make_call(request: pytest.FixtureRequest, both: Any) -> Any:
    """Runs the workflow that makes one call; parameters that only 5.1.0 has come in `five`."""

    def run(function: str, *params: Any, five: tuple[Any, ...] = ()) -> Any:
        more = five if request.param == "five" else ()
        return both.run(f"testing:calls-{request.param}/{function}", *params, *more)

    return run


def finished(both: Any, execution_id: str) -> Any:
    """What an execution that something else started ended with."""
    return asyncio.run(asyncio.wait_for(both.result(ExecutionId(execution_id)), 60)).outcome


def test_call_json(make_call: Any) -> None:
    assert make_call("support.call-json", FUNCTION, '["x"]', five=(None, TRACE)) == ("ok", {"ok": {"ok": '"x"'}})
    trap = {**FUNCTION, "function_name": "trap"}
    assert make_call("support.call-json", trap, "[]", five=(None, None)) == ("ok", {"ok": {"err": None}})
    permanent = {**FUNCTION, "function_name": "permanent"}
    expected = {"ok": {"err": '"permanent_no"'}}
    assert make_call("support.call-json", permanent, "[]", five=(None, None)) == ("ok", expected)
    nowhere = {**FUNCTION, "function_name": "nowhere"}
    expected_error: Any = {"err": "function_not_found"}
    assert make_call("support.call-json", nowhere, "[]", five=(None, None)) == ("ok", expected_error)
    kind, refused = make_call("support.call-json", FUNCTION, "[7]", five=(None, None))
    assert (kind, list(refused["err"])) == ("ok", ["type_check_error"])


def test_a_timeout_of_a_child_ends_it(both: Any) -> None:
    spin = {**FUNCTION, "function_name": "spin"}
    config = {"timeout": {"milliseconds": 50}}
    assert both.run("testing:calls-five/support.call-json", spin, "[]", config, None) == ("ok", {"ok": {"err": None}})


def test_schedule_json_starts_an_execution_under_the_id(both: Any, make_call: Any) -> None:
    at: Any
    for at in ("now", {"in": {"milliseconds": 1}}, {"at": {"seconds": 0, "nanoseconds": 0}}):
        assert make_call("support.schedule-json", {"id": SCHEDULED}, at, FUNCTION, '["x"]', five=(None, None)) == (
            "ok",
            {"ok": None},
        )
        assert json.loads(bytes(finished(both, SCHEDULED).value)) == "x"


def test_schedule_starts_an_execution_under_a_new_id(both: Any, make_call: Any) -> None:
    kind, new = make_call("acts-schedule.echo-schedule", {"in": {"milliseconds": 1}}, "later")
    assert kind == "ok"
    assert json.loads(bytes(finished(both, new["id"]).value)) == "later"


def test_bug_02_minutes_hours_and_days_are_scheduled(make_call: Any) -> None:
    for unit in ("minutes", "hours", "days"):
        kind, new = make_call("acts-schedule.echo-schedule", {"in": {unit: 49_711}}, "in a while")
        assert kind == "ok"
        assert new["id"].startswith("E_")


def test_ids_and_random_values(make_call: Any) -> None:
    kind, generated = make_call("support.execution-id-generate", five=(None,))
    assert kind == "ok"
    assert generated["id"].startswith("E_")
    assert make_call("support.random-u64", 3, 4) == ("ok", 3)


def test_twins_with_backtraces(both: Any) -> None:
    assert both.run("testing:calls-five/support.random-u64-bt", 3, 4, TRACE) == ("ok", 3)
    assert both.run("testing:calls-six/traced.random-u64", 3, 4, TRACE) == ("ok", 3)


def test_a_named_sleep_has_its_name_in_the_log(both: Any) -> None:
    for function, more in (("five/support.sleep-named-bt", (None,)), ("six/support.sleep", ())):
        execution_id, outcome = both.run_id(f"testing:calls-{function}", "now", "nap", *more)
        assert outcome[0] == "ok"
        assert [getattr(entry.event, "join_set", None) for entry in both.log(execution_id)].count("o:1-nap") == 2


def test_join_sets(make_call: Any) -> None:
    assert make_call("support.join-next") == ("ok", {"err": "all_processed"})
    assert make_call("support.join-next-try") == ("ok", {"err": "all_processed"})
    assert make_call("sets.set-id") == ("ok", "g:1")
    assert make_call("acts-ext.echo-await-next") == ("ok", {"err": "all_processed"})


def test_nothing_was_last_at_first(both: Any) -> None:
    for function in ("sets.set-last-id", "support.last-direct-call-id", "support.last-oneoff-id"):
        assert both.run(f"testing:calls-six/{function}") == ("ok", None)


def test_a_child_that_is_not_awaited_is_submitted_all_the_same(both: Any, make_call: Any) -> None:
    kind, submitted = make_call("support.submit-json", FUNCTION, '["x"]', five=(None,))
    assert (kind, list(submitted)) == ("ok", ["ok"])
    assert finished(both, submitted["ok"]["id"]) is not None
