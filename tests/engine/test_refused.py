"""Refused units: everything that they touched is believed again only after a reload, and no input is lost."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.batch import Unit
from obelisk.core.events import Finished, Locked
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage
from obelisk.core.names import FunctionName
from obelisk.core.policy import ExecutionPolicy, Limits
from obelisk.core.values import Failure, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind, EmitLog, Load, RunGuest
from obelisk.engine.inputs import Loaded, Stepped, Submit
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import BURN, Flow

ACTIVITY = FunctionName("t:acts/acts.work")
WORKFLOW = FunctionName("t:flows/flows.flow")


def once(execution_id: ExecutionId, params: Json) -> Flow:
    """Calls the activity once and returns what it returned."""
    reply = yield calls.CallChild(ACTIVITY, json_array())
    assert isinstance(reply, Ok | Failure)
    return reply if isinstance(reply, Ok) else Ok(Json(b'"failed"'))


@pytest.fixture
def registry() -> SimulatedRegistry:
    registry = SimulatedRegistry()
    registry.add_activity(ACTIVITY, ExecutionPolicy())
    registry.add_workflow(WORKFLOW, once)
    return registry


def first_time(what: type[object]) -> object:
    """Refuses the first unit that appends such an event."""
    left: Iterator[bool] = iter([True])

    def refuse(unit: Unit) -> bool:
        return any(isinstance(new.event, what) for new in unit.events) and next(left, False)

    return refuse


def test_a_refused_submission_is_offered_again_and_then_answered(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.tick(Submit(7, ROOT, ACTIVITY, json_array()), refuse=lambda unit: True)
    assert driver.effects == []
    driver.run()
    assert of_kind(driver.effects, Answer) == [Answer(7, AnswerKind.CREATED)]
    assert driver.tags() == ["created", "locked"]


def test_who_waits_for_the_end_is_told_of_all_but_the_creation(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    submission = Submit(7, ROOT, ACTIVITY, json_array(), until_end=True)
    driver.tick(submission, refuse=lambda unit: True)
    driver.run()
    assert driver.tags() == ["created", "locked"]
    assert of_kind(driver.effects, Answer) == []
    driver.run(msgspec.structs.replace(submission, token=8))
    driver.run(
        msgspec.structs.replace(
            submission, token=9, execution_id=ExecutionId("E_2"), ffqn=FunctionName("a:b/c.unknown")
        )
    )
    assert of_kind(driver.effects, Answer) == [Answer(8, AnswerKind.EXISTS), Answer(9, AnswerKind.FUNCTION_NOT_FOUND)]


def test_a_refused_submission_of_a_workflow_takes_its_children_with_it(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.tick(Submit(7, ROOT, WORKFLOW, json_array()), refuse=lambda unit: True)
    driver.run()
    assert of_kind(driver.effects, Answer) == [Answer(7, AnswerKind.CREATED)]
    (start,) = driver.starts()
    driver.finish(start)
    assert driver.outcome() == Ok()


def test_the_second_client_of_a_refused_submission_is_answered_too(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    both = (Submit(1, ROOT, ACTIVITY, json_array()), Submit(2, ROOT, ACTIVITY, json_array()))
    driver.tick(*both, refuse=lambda unit: True)
    driver.run()
    assert of_kind(driver.effects, Answer) == [Answer(1, AnswerKind.CREATED), Answer(2, AnswerKind.EXISTS)]


def test_two_clients_of_what_exists_already_are_both_told(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.submit(ACTIVITY)
    driver.finish(driver.starts()[0])
    driver.effects.clear()
    driver.run(Submit(1, ROOT, ACTIVITY, json_array()), Submit(2, ROOT, ACTIVITY, json_array()))
    assert of_kind(driver.effects, Answer) == [Answer(1, AnswerKind.EXISTS), Answer(2, AnswerKind.EXISTS)]
    assert driver.tags() == ["created", "locked", "finished"]


def test_a_completion_that_was_refused_is_kept_and_the_activity_does_not_run_again(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.submit(WORKFLOW)
    (start,) = driver.starts()
    driver.tick(driver.end_of(start), refuse=first_time(Finished))
    assert driver.outcome() is None
    driver.run()
    assert driver.outcome() == Ok()
    assert driver.starts() == [start]
    assert driver.tags(start.execution_id) == ["created", "locked", "finished"]


def test_giving_up_is_not_forgotten_when_it_is_refused(registry: SimulatedRegistry) -> None:
    driver = Driver(registry, Limits(crash_max=1))
    driver.submit(WORKFLOW)
    (start,) = driver.starts()
    driver.engine = driver._boot(frozenset({start.execution_id}))
    driver.tick(refuse=first_time(Finished))
    driver.run()
    assert driver.outcome() == Ok(Json(b'"failed"'))


def test_an_attempt_whose_lock_was_refused_is_not_started_until_it_is_locked(registry: SimulatedRegistry) -> None:
    driver = Driver(registry, Limits(start_window=1))
    other = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFY0")
    driver.submit(ACTIVITY)
    driver.submit(ACTIVITY, execution_id=other)
    (first,) = driver.starts()
    driver.tick(driver.end_of(first), refuse=first_time(Locked))
    assert driver.starts() == [first]
    driver.run()
    assert [start.execution_id for start in driver.starts()] == [ROOT, other]
    assert driver.tags(other) == ["created", "locked"]


# --- guests that are away --------------------------------------------------------------------------------------------

BURNER, NESTING = FunctionName("t:flows/flows.burner"), FunctionName("t:flows/flows.nesting")


def burner(execution_id: ExecutionId, params: Json) -> Flow:
    """Computes, in a join set's company: there is something to write when it leaves."""
    yield calls.JoinSetCreate()
    yield calls.Log(calls.LogLevel.INFO, "before")
    yield BURN
    yield calls.Log(calls.LogLevel.INFO, "after")
    yield calls.JoinSetCreate()
    return Ok()


def nesting(execution_id: ExecutionId, params: Json) -> Flow:
    """A workflow and an activity in one join set."""
    join_set = yield calls.JoinSetCreate()
    yield calls.Submit(join_set, BURNER, json_array())
    yield calls.Submit(join_set, ACTIVITY, json_array())
    yield calls.JoinNext(join_set)
    yield calls.JoinNext(join_set)
    return Ok()


def nested(registry: SimulatedRegistry) -> Driver:
    registry.add_workflow(BURNER, burner)
    registry.add_workflow(NESTING, nesting)
    return Driver(registry)


def came_back(away: RunGuest) -> Stepped:
    return Stepped(away.execution_id, away.generation, away.guest, away.guest.resume())


def test_a_guest_that_was_to_leave_with_a_refused_unit_is_closed(registry: SimulatedRegistry) -> None:
    driver = nested(registry)
    driver.tick(Submit(0, ROOT, BURNER, json_array()), refuse=lambda unit: True)
    assert registry.guests == set()
    assert of_kind(driver.effects, RunGuest) == []
    driver.run()
    (away,) = of_kind(driver.effects, RunGuest)
    driver.run(came_back(away))
    assert driver.outcome() == Ok()
    assert registry.guests == set()


def test_a_guest_that_comes_back_to_another_life_is_dropped(registry: SimulatedRegistry) -> None:
    driver = nested(registry)
    driver.submit(NESTING)
    (old,) = of_kind(driver.effects, RunGuest)
    (start,) = driver.starts()
    held = driver.engine._books.held[old.execution_id]
    driver.engine._recovery.tear_down(held, effects := [])
    driver._read += [Loaded(old.execution_id, driver.store.load(old.execution_id))]
    assert effects == [Load(old.execution_id)]
    assert old.guest in registry.guests  # it is not ours while it is away
    driver.run()
    new = of_kind(driver.effects, RunGuest)[-1]
    assert new.generation != old.generation
    driver.run(came_back(old))
    assert old.guest not in registry.guests
    assert driver.outcome(old.execution_id) is None
    driver.run(came_back(new), driver.end_of(start))
    assert driver.outcome() == Ok()


def test_a_child_that_ends_while_its_parent_is_read_waits_for_it(registry: SimulatedRegistry) -> None:
    driver = nested(registry)
    driver.submit(NESTING)
    (away,) = of_kind(driver.effects, RunGuest)
    (start,) = driver.starts()
    driver.tick(driver.end_of(start), refuse=first_time(Finished))
    read, driver._read = driver._read, []
    driver.tick(came_back(away))
    assert driver.outcome(away.execution_id) is None
    driver.run(*read)
    assert driver.outcome(away.execution_id) == Ok()
    assert driver.outcome() == Ok()


def test_log_lines_leave_once_with_the_event_that_follows_them_or_when_the_guest_goes_away(
    registry: SimulatedRegistry,
) -> None:
    driver = nested(registry)
    driver.tick(Submit(0, ROOT, BURNER, json_array()), refuse=lambda unit: True)
    driver.run()
    (before,) = of_kind(driver.effects, EmitLog)
    driver.run(came_back(of_kind(driver.effects, RunGuest)[-1]))
    lines = [(told.line.message, told.version, told.ordinal) for told in of_kind(driver.effects, EmitLog)]
    assert lines == [("before", 3, 0), ("after", 3, 1)]
    stored = driver.store.lines(LineFilter(ROOT), LinePage())
    assert [(line.line.message, line.run == before.run) for line in stored] == [("before", True), ("after", True)]
    assert driver.tags() == ["created", "locked", "join_set_create", "join_set_create", "finished"]


def test_an_end_that_is_refused_twice_still_counts(registry: SimulatedRegistry) -> None:
    """Seed 521 of worlds that are meddled with: the second time the run was thought to be lost."""
    driver = Driver(registry)
    driver.submit(ACTIVITY)
    (start,) = driver.starts()
    driver.tick(driver.end_of(start), refuse=lambda unit: True)
    driver.tick(refuse=lambda unit: True)
    driver.run()
    assert driver.outcome() == Ok()
    assert driver.starts() == [start]
