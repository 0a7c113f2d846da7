"""Reads are answered later than they were asked: what was read before what is known by then does no harm."""

from __future__ import annotations

import pytest

from obelisk.core import calls
from obelisk.core.batch import Unit
from obelisk.core.events import Created, Finished
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import In
from obelisk.core.names import FunctionName
from obelisk.core.policy import Blocking, ExecutionPolicy, Limits
from obelisk.core.values import Json, Ok
from obelisk.engine.inputs import AttemptFinished, Loaded, News, Submit
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver
from obelisk.testing.guests import Flow

ACT, PAIR = FunctionName("t:acts/acts.act"), FunctionName("t:flows/flows.pair")
CHILD = ExecutionId(f"{ROOT}.g:1_1")


def pair(execution_id: ExecutionId, params: Json) -> Flow:
    """Two children, awaited; then a third."""
    join_set = yield calls.JoinSetCreate()
    yield calls.Submit(join_set, ACT, json_array(1))
    yield calls.Submit(join_set, ACT, json_array(2))
    yield calls.SubmitDelay(join_set, In(3_600_000_000))
    one = yield calls.JoinNext(join_set)
    two = yield calls.JoinNext(join_set)
    yield calls.CallChild(ACT, json_array(3))
    return Ok(json_array(one.member[-3:], two.member[-3:]))


@pytest.fixture
def registry() -> SimulatedRegistry:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    registry.add_workflow(PAIR, pair, ExecutionPolicy(blocking=Blocking.INTERRUPT))
    return registry


def held_back(driver: Driver) -> list[Loaded]:
    """Answers to reads that were not given yet; the test gives them when it likes."""
    read, driver._read = driver._read, []
    return [answer for answer in read if isinstance(answer, Loaded)]


def test_a_read_from_before_an_execution_was_created_again_is_ignored(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.tick(Submit(0, ROOT, PAIR, json_array()), refuse=lambda unit: True)
    nothing = {answer.execution_id: answer for answer in held_back(driver)}
    assert {answer.snapshot for answer in nothing.values()} == {None}
    driver.tick(nothing.pop(ROOT))  # the submission is offered again, and the workflow creates its children again
    assert CHILD in {start.execution_id for start in driver.starts()}
    driver.tick(*nothing.values())
    assert driver.engine.held(CHILD) is not None
    for start in driver.starts():
        driver.finish(start)
    driver.finish(driver.starts()[-1])
    assert driver.outcome() == Ok(json_array("1_1", "1_2"))


def test_a_read_that_was_asked_for_again_is_ignored(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)

    def creates(unit: Unit) -> bool:
        return any(isinstance(new.event, Created) for new in unit.events)

    def finishes(unit: Unit) -> bool:
        return any(isinstance(new.event, Finished) for new in unit.events)

    driver.tick(Submit(0, ROOT, PAIR, json_array()), refuse=creates)
    nothing = {answer.execution_id: answer for answer in held_back(driver)}
    driver.tick(nothing.pop(ROOT))
    held_back(driver)
    first, second = driver.starts()
    driver.tick(driver.end_of(first), refuse=finishes)
    again = held_back(driver)
    driver.tick(nothing[CHILD])  # from before it was created; it is believed in no more, and yet it exists
    assert driver.engine.held(CHILD) is not None
    driver.run(*again)
    driver.finish(second)
    driver.finish(driver.starts()[-1])
    assert driver.outcome() == Ok(json_array("1_1", "1_2"))
    assert [start.execution_id for start in driver.starts()].count(CHILD) == 1


def test_a_response_that_comes_while_its_execution_is_read_is_delivered_once(registry: SimulatedRegistry) -> None:
    for snapshot_is_late in (False, True):
        driver = Driver(registry)
        driver.submit(PAIR)
        first, second = driver.starts()
        driver.tick(driver.end_of(first))
        (answer,) = held_back(driver)
        driver.tick(driver.end_of(second))
        assert held_back(driver) == []
        if snapshot_is_late:  # read after the second response was written
            answer = Loaded(ROOT, driver.store.load(ROOT))
        driver.run(answer)
        driver.finish(driver.starts()[-1])
        assert driver.outcome() == Ok(json_array("1_1", "1_2"))


def test_a_response_that_comes_between_reading_and_running_is_delivered(registry: SimulatedRegistry) -> None:
    driver = Driver(registry, Limits(hot_max=1), budget=1)
    driver.submit(PAIR)
    driver.submit(PAIR, execution_id=ExecutionId(ROOT[:-1] + "0"))
    starts = driver.starts()[:4]
    driver.tick(driver.end_of(starts[0]), driver.end_of(starts[2]))
    answers = held_back(driver)
    assert len(answers) == 2
    driver.tick(*answers)  # one is run, the other has its snapshot and waits for its turn
    driver.tick(driver.end_of(starts[1]), driver.end_of(starts[3]))
    driver.run()
    for start in driver.starts()[4:]:
        driver.finish(start)
    assert driver.outcome() == Ok(json_array("1_1", "1_2"))
    assert driver.outcome(ExecutionId(ROOT[:-1] + "0")) == Ok(json_array("1_1", "1_2"))


def test_a_response_that_is_told_before_an_older_read_in_the_same_tick_is_not_lost(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.submit(PAIR)
    first, second = driver.starts()
    driver.tick(News([ROOT]))
    (answer,) = held_back(driver)
    driver.tick(driver.end_of(first), answer)  # wakes, and asks for a read of its own in this tick
    driver.run()
    driver.finish(second)
    driver.finish(driver.starts()[-1])
    assert driver.outcome() == Ok(json_array("1_1", "1_2"))


def test_news_without_news_changes_nothing(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.submit(PAIR)
    commits = driver.store.commits
    driver.run(News([ROOT, CHILD, ExecutionId(ROOT[:-1] + "9")]))
    assert driver.store.commits == commits
    assert driver.engine.held(ROOT) is not None


def test_an_answer_that_nobody_holds_any_more_is_dropped(registry: SimulatedRegistry) -> None:
    driver = Driver(registry)
    driver.submit(ACT)
    (start,) = driver.starts()
    driver.tick(News([ROOT]))
    driver.tick()
    late = held_back(driver) or [Loaded(ROOT, driver.store.load(ROOT))]
    driver.tick(AttemptFinished(ROOT, start.run, Ok()))
    driver.tick(*late)
    assert driver.outcome() == Ok()
    assert driver.engine.open_count == 0
