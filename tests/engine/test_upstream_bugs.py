"""Bugs of the original that concern the engine, as tests; the numbers are those of the list that they are from."""

from __future__ import annotations

from obelisk.core import calls
from obelisk.core.ids import ExecutionId
from obelisk.core.names import FunctionName
from obelisk.core.policy import ExecutionPolicy, RetryPolicy
from obelisk.core.responses import ChildFinished
from obelisk.core.values import Failure, FailureKind, Json, Ok
from obelisk.engine.inputs import Submit
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver
from obelisk.testing.guests import Flow

ACT, MAIN = FunctionName("t:acts/acts.act"), FunctionName("t:flows/flows.main")


def test_bug_12_a_failure_keeps_its_kind_reason_and_detail_for_whoever_asks() -> None:
    asked: list[calls.Reply | None] = []

    def main(execution_id: ExecutionId, params: Json) -> Flow:
        reply = yield calls.CallChild(ACT, json_array())
        asked.append((yield calls.GetJson(f"{execution_id}.o:1-act_1")))
        return Ok(json_array(type(reply).__name__))

    registry = SimulatedRegistry()
    registry.add_activity(ACT, ExecutionPolicy(retry=RetryPolicy(max_retries=0)))
    registry.add_workflow(MAIN, main)
    driver = Driver(registry)
    driver.submit(MAIN)
    failure = Failure(FailureKind.UNCATEGORIZED, "activity trap: boom", "at 0x1")
    driver.finish(driver.starts()[0], failure)
    (response,) = invariants.snapshot_of(driver.store, ROOT).responses
    assert isinstance(response.body, ChildFinished)
    assert response.body.outcome == driver.outcome(ExecutionId(f"{ROOT}.o:1-act_1")) == failure
    assert [reply.outcome for reply in asked if isinstance(reply, calls.JsonDone)] == [failure]
    assert driver.outcome() == Ok(json_array("Failure"))  # told apart from any error of the function's own


def test_bug_16_a_row_that_lost_a_race_delays_nobody_else() -> None:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    driver = Driver(registry)
    ids = [ExecutionId(f"E_01K42AJA8QHD7D3GTJAY{number:06}") for number in range(5)]
    loser = ids[2]
    submissions = [Submit(number, execution_id, ACT, json_array()) for number, execution_id in enumerate(ids)]
    driver.tick(*submissions, refuse=lambda unit: unit.events[0].execution_id == loser)
    assert [start.execution_id for start in driver.starts()] == [each for each in ids if each != loser]
    driver.run()
    assert driver.starts()[-1].execution_id == loser
