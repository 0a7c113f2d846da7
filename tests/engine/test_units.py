"""Units: what an execution does on top of a unit that changed it belongs to that unit, and to no other."""

from __future__ import annotations

import pytest

from obelisk.core import calls
from obelisk.core.batch import Refused, RefusedBy, Unit, UnitOutcome
from obelisk.core.events import Finished, JoinSetCreated, Locked
from obelisk.core.ids import DeploymentId, Digest, ExecutionId, JoinSetId, RunId
from obelisk.core.instants import Now
from obelisk.core.names import FunctionName
from obelisk.core.policy import Limits
from obelisk.core.ports import FunctionKind
from obelisk.core.state import ExecutionState
from obelisk.core.values import Failure, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.held import Held
from obelisk.engine.inputs import AttemptFinished, Submit
from obelisk.engine.tick import Draft
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import Flow

ACT = FunctionName("t:acts/acts.act")
TWICE, NESTED, TWO_AT_ONCE, SCHEDULES, SCHEDULES_ANY = (
    FunctionName(f"t:flows/flows.{name}") for name in ("twice", "nested", "two-at-once", "schedules", "schedules-any")
)


def twice(execution_id: ExecutionId, params: Json) -> Flow:
    for index in range(2):
        reply = yield calls.CallChild(ACT, json_array(index))
        assert isinstance(reply, Ok | Failure)
    return Ok()


def nested(execution_id: ExecutionId, params: Json) -> Flow:
    reply = yield calls.CallChild(TWICE, json_array())
    assert isinstance(reply, Ok | Failure)
    return Ok()


def two_at_once(execution_id: ExecutionId, params: Json) -> Flow:
    join_set = yield calls.JoinSetCreate()
    yield calls.Submit(join_set, ACT, json_array(1))
    yield calls.Submit(join_set, ACT, json_array(2))
    for _ in range(2):
        yield calls.AwaitNext(join_set, ACT)
    return Ok()


def schedules(execution_id: ExecutionId, params: Json) -> Flow:
    """A workflow that runs in the same tick, and asks for it once more, which rests on its being there."""
    other = yield calls.GenerateExecutionId()
    assert isinstance(other, str)
    for _ in range(2):
        yield calls.ScheduleJson(ExecutionId(other), TWICE, json_array(), Now())
    return Ok()


def schedules_any(execution_id: ExecutionId, params: Json) -> Flow:
    yield calls.Schedule(ACT, json_array(), Now())
    return Ok()


@pytest.fixture
def driver() -> Driver:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    flows = {TWICE: twice, NESTED: nested, TWO_AT_ONCE: two_at_once, SCHEDULES: schedules, SCHEDULES_ANY: schedules_any}
    for ffqn, flow in flows.items():
        registry.add_workflow(ffqn, flow)
    return Driver(registry)


def units_of(driver: Driver, *inputs: AttemptFinished | Submit) -> list[Unit]:
    """The units of a tick, which is committed."""
    units: list[Unit] = []
    driver.tick(*inputs, refuse=lambda unit: bool(units.append(unit)))
    return units


def whom(unit: Unit) -> list[ExecutionId]:
    return [state.execution_id for state in unit.states]


def child(index: int, of: ExecutionId = ROOT) -> ExecutionId:
    return ExecutionId(f"{of}.o:{index}-act_1")


def test_a_step_is_one_unit_the_end_of_a_child_what_its_parent_does_then_and_the_next_child(driver: Driver) -> None:
    (submitted,) = units_of(driver, Submit(1, ROOT, TWICE, json_array()))
    assert whom(submitted) == [ROOT, child(1)]
    (step,) = units_of(driver, driver.end_of(driver.starts()[0]))
    assert whom(step) == [child(1), ROOT, child(2)]
    assert step.after == []
    assert [state.next_version for state in step.states] == [3, 8, 2]
    (last,) = units_of(driver, driver.end_of(driver.starts()[1]))
    assert whom(last) == [child(2), ROOT]
    assert driver.outcome() == Ok()


def test_who_ends_and_has_a_parent_does_so_in_a_unit_of_its_own(driver: Driver) -> None:
    """It changes the parent, which a later unit may have changed already."""
    units_of(driver, Submit(1, ROOT, NESTED, json_array()))
    units_of(driver, driver.end_of(driver.starts()[0]))
    middle = ExecutionId(f"{ROOT}.o:1-twice_1")
    ended, goes_on = units_of(driver, driver.end_of(driver.starts()[1]))
    assert whom(ended) == [child(2, middle), middle]
    assert whom(goes_on) == [middle, ROOT]
    assert goes_on.after == [0]
    assert driver.outcome() == Ok()


def test_of_two_ends_each_has_its_unit_and_what_follows_from_both_is_on_the_last(driver: Driver) -> None:
    units_of(driver, Submit(1, ROOT, TWO_AT_ONCE, json_array()))
    one, other = driver.starts()
    first, second = units_of(driver, driver.end_of(one), driver.end_of(other))
    assert whom(first) == [one.execution_id, ROOT]
    assert whom(second) == [other.execution_id, ROOT]
    assert second.after == [0]
    assert isinstance(second.events[-1].event, Finished)
    assert driver.outcome() == Ok()


def test_a_unit_that_is_opened_again_leaves_alone_what_a_later_one_has_changed(driver: Driver) -> None:
    """The scheduled workflow runs when the one that scheduled it has gone on, in a unit that rests on theirs."""
    units_of(driver, Submit(1, ROOT, SCHEDULES, json_array()))
    first, second = units_of(driver)  # it was looked whether there is one of that id
    _, other, _ = whom(first)
    assert whom(first) == [ROOT, other, child(1, other)]
    assert whom(second) == [ROOT]
    assert second.after == [0]
    assert first.states[0].next_version == second.expects[0].next_version
    assert driver.outcome() == Ok()
    driver.finish(driver.starts()[0])
    driver.finish(driver.starts()[1])
    assert driver.outcome(other) == Ok()


def refused_once(driver: Driver, monkeypatch: pytest.MonkeyPatch, *, index: int) -> None:
    """Somebody else has made the execution with that `index` in the first unit; what rests on that unit is refused with it."""

    def commit(batch_id: str, units: list[Unit]) -> list[UnitOutcome]:
        monkeypatch.undo()
        first = Refused(RefusedBy.EXISTS, units[0].expects[index].execution_id)
        return [first, *[Refused(RefusedBy.DEPENDENCY)] * (len(units) - 1)]

    monkeypatch.setattr(driver.store, "commit", commit)


def test_a_submission_is_not_told_that_what_it_scheduled_is_there(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another engine was faster with that: what was decided is decided anew."""
    refused_once(driver, monkeypatch, index=1)
    driver.run(Submit(7, ROOT, SCHEDULES_ANY, json_array()))
    assert of_kind(driver.effects, Answer) == [Answer(7, AnswerKind.CREATED)]
    assert driver.outcome() == Ok()


def test_a_submission_of_what_is_there_is_told_so_and_leaves_nothing_in_memory(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused_once(driver, monkeypatch, index=0)
    driver.run(Submit(7, ROOT, TWICE, json_array()))
    assert of_kind(driver.effects, Answer) == [Answer(7, AnswerKind.EXISTS)]
    assert driver.engine.open_count == 0


def test_rows_of_a_unit_that_is_opened_again_are_counted_once(driver: Driver) -> None:
    draft = Draft(driver.now, Limits())
    state = ExecutionState(ROOT, TWICE, Digest("c"), DeploymentId("d"), driver.now, driver.now, None, driver.now)
    held = Held(state, ROOT, FunctionKind.WORKFLOW)
    unit = draft.unit([held], [])
    unit.append(held, Locked(driver.executor, RunId("r"), driver.now))
    unit.close()
    assert draft.rows == 2
    unit = draft.on_top(held)
    unit.append(held, JoinSetCreated(JoinSetId("g:1")))
    unit.close()
    assert draft.rows == 3
    assert [row.next_version for row in draft.units[0].states] == [held.state.next_version]
