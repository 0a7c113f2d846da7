"""What attempts send over HTTP, and the trace they belong to: data that the engine carries and does not read."""

from __future__ import annotations

import pytest

from obelisk.core import calls
from obelisk.core.batch import CancelRequest
from obelisk.core.events import Created, Finished, TemporarilyFailed, TemporarilyTimedOut, Unlocked
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Now
from obelisk.core.names import FunctionName
from obelisk.core.policy import Blocking, ExecutionPolicy, RetryPolicy
from obelisk.core.values import CANCELLED, Err, Failure, FailureKind, Json, Ok
from obelisk.engine.inputs import AttemptFinished, AttemptKilled, AttemptStopped, Operate, Submit
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver
from obelisk.testing.guests import Flow

ACT, FLOW = FunctionName("t:acts/acts.act"), FunctionName("t:flows/flows.flow")
CONTEXT = {"tracing:traceparent": "00-1", "tracing:tracestate": "a=b"}
TRACES = (HttpTrace("GET", "http://a/", 1, 2, 200), HttpTrace("PUT", "http://b/", 3))
OTHER = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFY0")


def flow(execution_id: ExecutionId, params: Json) -> Flow:
    yield calls.CallChild(ACT, json_array(0))
    yield calls.ScheduleJson(OTHER, ACT, json_array(0), Now())
    yield calls.CallChild(ACT, json_array(1))
    return Ok()


def deployed(**policy: object) -> SimulatedRegistry:
    registry = SimulatedRegistry()
    registry.add_activity(ACT, ExecutionPolicy(retry=RetryPolicy(max_retries=1, exp_backoff_us=10)))
    registry.add_workflow(FLOW, flow, ExecutionPolicy(**policy))  # type: ignore[arg-type]
    return registry


def log_of(driver: Driver, execution_id: ExecutionId = ROOT) -> list[object]:
    return [entry.event for entry in invariants.snapshot_of(driver.store, execution_id).log]


@pytest.mark.parametrize(
    "result", [Err(Json(b"1")), Failure(FailureKind.UNCATEGORIZED, "trap"), Failure(FailureKind.TIMED_OUT)]
)
def test_what_an_attempt_sent_is_kept_with_its_end(result: Err | Failure) -> None:
    driver = Driver(deployed())
    driver.submit(ACT, 0)
    (first,) = driver.starts()
    driver.run(AttemptFinished(ROOT, first.run, result, http_traces=TRACES))
    temporary = log_of(driver)[-1]
    assert isinstance(temporary, TemporarilyFailed | TemporarilyTimedOut)
    assert temporary.http_traces == TRACES
    driver.sleep(1_000)
    driver.run(AttemptFinished(ROOT, driver.starts()[-1].run, Ok(), http_traces=TRACES[:1]))
    assert log_of(driver)[-1] == Finished(Ok(), TRACES[:1])


def test_what_one_sent_that_was_cancelled_is_kept_with_its_end() -> None:
    driver = Driver(deployed())
    for number, ends in enumerate((AttemptKilled, AttemptFinished, AttemptStopped)):
        execution_id = ExecutionId(f"{ROOT[:-1]}{number}")
        driver.run(Submit(0, execution_id, ACT, json_array(0)))
        start = driver.starts()[-1]
        driver.run(Operate(1, execution_id, CancelRequest()))
        match ends.__name__:
            case "AttemptKilled":
                driver.run(AttemptKilled(execution_id, start.run, TRACES))
            case "AttemptFinished":
                driver.run(AttemptFinished(execution_id, start.run, Ok(), http_traces=TRACES))
            case _:
                driver.run(AttemptStopped(execution_id, start.run, "stopping", TRACES))
        assert log_of(driver, execution_id)[-1] == Finished(CANCELLED, TRACES)


def test_what_one_sent_that_a_stop_gave_up_is_kept_with_that() -> None:
    driver = Driver(deployed())
    driver.submit(ACT, 0)
    (start,) = driver.starts()
    driver.run(AttemptStopped(ROOT, start.run, "stopping", TRACES))
    unlocked = next(event for event in log_of(driver) if isinstance(event, Unlocked))
    assert unlocked.http_traces == TRACES


@pytest.mark.parametrize("blocking", Blocking)
@pytest.mark.parametrize("dies", [False, True])
def test_attempts_know_the_trace_and_children_inherit_it(blocking: Blocking, dies: bool) -> None:
    driver = Driver(deployed(blocking=blocking))
    driver.run(Submit(0, ROOT, FLOW, json_array(), metadata={**CONTEXT, "mine": "x"}))
    if dies:
        driver.crash()
    child = driver.starts()[-1]
    assert child.trace_context == CONTEXT
    created = log_of(driver, child.execution_id)[0]
    assert isinstance(created, Created)
    assert created.metadata == CONTEXT
    driver.finish(child)
    second = next(start for start in driver.starts() if start.execution_id.endswith("o:2-act_1"))
    assert second.trace_context == CONTEXT
    scheduled = next(start for start in driver.starts() if start.execution_id == OTHER)
    assert scheduled.trace_context == {}


def test_without_a_trace_there_is_none() -> None:
    driver = Driver(deployed())
    driver.submit(FLOW)
    (child,) = driver.starts()
    assert child.trace_context == {}
