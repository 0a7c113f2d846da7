"""Units that are opened again and then refused: nothing of them is lost, and nothing happens twice."""

from __future__ import annotations

from collections import Counter

import pytest

from obelisk.core import calls
from obelisk.core.batch import Refused, RefusedBy, Unit, UnitOutcome
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import In, Now
from obelisk.core.names import FunctionName
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.inputs import GiveResult, Operate, Submit
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import Flow

ACT, STUB = FunctionName("t:acts/acts.act"), FunctionName("t:stubs/stubs.stub")
STEPS, WAITS, GIVES, AT_ONCE = (
    FunctionName(f"t:flows/flows.{name}") for name in ("steps", "waits", "gives", "at-once")
)
OTHER = ExecutionId("E_01K42AJA8QHD7D3GTJAYFREE00")


def steps(execution_id: ExecutionId, params: Json) -> Flow:
    """After its first child: a delay, another child and an execution that it schedules."""
    yield calls.CallChild(ACT, json_array(1))
    join_set = yield calls.JoinSetCreate()
    yield calls.SubmitDelay(join_set, In(1_000_000))
    yield calls.Submit(join_set, ACT, json_array(2))
    yield calls.Schedule(ACT, json_array(3), Now())
    yield calls.JoinNext(join_set)
    yield calls.JoinNext(join_set)
    return Ok()


def waits(execution_id: ExecutionId, params: Json) -> Flow:
    """Goes on when its stub has a result: schedules something."""
    join_set = yield calls.JoinSetCreate()
    yield calls.Submit(join_set, STUB, json_array())
    yield calls.AwaitNext(join_set, STUB)
    yield calls.Schedule(ACT, json_array(), Now())
    return Ok()


def gives(execution_id: ExecutionId, params: Json) -> Flow:
    """Gives that result, and goes on."""
    yield calls.Stub(ExecutionId(f"{OTHER}.g:1_1"), STUB, Ok())
    yield calls.Schedule(ACT, json_array(), Now())
    yield calls.CallChild(ACT, json_array())
    return Ok()


def at_once(execution_id: ExecutionId, params: Json) -> Flow:
    """Ends in the tick in which it was submitted: a delay that is due, one that is not and a child that is not wanted."""
    join_set = yield calls.JoinSetCreate()
    yield calls.SubmitDelay(join_set, Now())
    yield calls.SubmitDelay(join_set, In(1_000_000))
    yield calls.JoinNext(join_set)
    return Ok()


@pytest.fixture
def driver() -> Driver:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    registry.add_stub(STUB)
    for ffqn, flow in {STEPS: steps, WAITS: waits, GIVES: gives, AT_ONCE: at_once}.items():
        registry.add_workflow(ffqn, flow)
    return Driver(registry)


def sound(driver: Driver) -> None:
    for execution_id in invariants.everything(driver.store):
        snapshot = invariants.snapshot_of(driver.store, execution_id)
        invariants.log_is_whole(snapshot)
        invariants.state_follows(snapshot)
        invariants.family_agrees(driver.store, snapshot)
    assert driver.registry.guests == set()


def refuse(driver: Driver, monkeypatch: pytest.MonkeyPatch, *, by: RefusedBy, birth: int = 0) -> list[Unit]:
    """The next batch is refused as a whole; the `birth`-th execution that it creates is said to be there."""
    seen: list[Unit] = []

    def commit(batch_id: str, units: list[Unit]) -> list[UnitOutcome]:
        monkeypatch.undo()
        seen.extend(units)
        born = [expect.execution_id for unit in units for expect in unit.expects if expect.next_version == 0]
        first = Refused(by, born[birth] if by is RefusedBy.EXISTS else units[0].expects[0].execution_id)
        return [first, *[Refused(RefusedBy.DEPENDENCY)] * (len(units) - 1)]

    monkeypatch.setattr(driver.store, "commit", commit)
    return seen


@pytest.mark.parametrize("by", [RefusedBy.EXISTS, RefusedBy.VERSION, RefusedBy.RESPONSES])
def test_a_step_that_is_refused_is_done_once_all_the_same(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, by: RefusedBy
) -> None:
    driver.submit(STEPS)
    (first,) = driver.starts()
    units = refuse(driver, monkeypatch, by=by)
    driver.finish(first)
    assert len(units) == 1 and units[0].delays
    starts = driver.starts()
    assert max(Counter(start.execution_id for start in starts).values()) == 1
    assert len(starts) == 3
    for start in starts[1:]:
        driver.finish(start)
    assert driver.outcome() is None
    driver.sleep(1_000_000)
    assert driver.outcome() == Ok()
    assert len(invariants.snapshot_of(driver.store, ROOT).responses) == 3
    sound(driver)


def test_a_client_whose_result_leads_to_more_is_told_of_the_result_only(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the parent then schedules is there already: that is nothing to tell whoever gave the result."""
    driver.submit(WAITS)
    units = refuse(driver, monkeypatch, by=RefusedBy.EXISTS)
    driver.run(Operate(7, ExecutionId(f"{ROOT}.g:1_1"), GiveResult(Ok())))
    assert len(units) == 1
    assert [answer for answer in of_kind(driver.effects, Answer) if answer.token == 7] == [Answer(7, AnswerKind.DONE)]
    assert driver.outcome() == Ok()
    assert len(driver.starts()) == 1
    driver.finish(driver.starts()[0])
    sound(driver)


@pytest.mark.parametrize("by", [RefusedBy.EXISTS, RefusedBy.VERSION])
def test_who_gives_a_result_and_who_waits_for_it_go_on_in_one_unit_and_are_both_decided_anew(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, by: RefusedBy
) -> None:
    driver.submit(WAITS, execution_id=OTHER)
    units = refuse(driver, monkeypatch, by=by, birth=1)
    driver.run(Submit(1, ROOT, GIVES, json_array()))
    _, both = units
    assert {state.execution_id for state in both.states} >= {ROOT, OTHER, ExecutionId(f"{OTHER}.g:1_1")}
    assert len(both.states) == 6  # and what the two schedule, and call
    assert driver.outcome(OTHER) == Ok()
    assert [answer.kind for answer in of_kind(driver.effects, Answer)] == [AnswerKind.CREATED] * 2
    for start in driver.starts():
        driver.finish(start)
    assert driver.outcome() == Ok()
    assert len({start.execution_id for start in driver.starts()}) == len(driver.starts()) == 3
    sound(driver)


def test_what_ends_in_the_tick_of_its_submission_is_one_unit(driver: Driver) -> None:
    units: list[Unit] = []
    driver.tick(Submit(1, ROOT, AT_ONCE, json_array()), refuse=lambda unit: bool(units.append(unit)))
    assert len(units) == 1
    assert driver.outcome() == Ok()
    assert invariants.snapshot_of(driver.store, ROOT).delays == []
    assert driver.engine.open_count == 0
    driver.sleep(2_000_000)
    sound(driver)
