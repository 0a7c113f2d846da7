"""Engines that share a store: responses that others posted, leases that were lost."""

from __future__ import annotations

import pytest

from obelisk.core import calls
from obelisk.core.batch import AdvanceRequest, NewResponse, Unit
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.policy import Limits
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.state import Status
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import Answer, AnswerKind, KillAttempt, WakeOthers
from obelisk.engine.inputs import Input, Loaded, News, Operate, Submit
from obelisk.store.memory import MemoryStore
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import Flow

ACT, TWO_SETS = FunctionName("t:acts/acts.act"), FunctionName("t:flows/flows.two-sets")
LEASE_US = 10_000_000


def two_sets(execution_id: ExecutionId, params: Json) -> Flow:
    """A child in each of two sets; the second set is awaited first."""
    for slot in (1, 2):
        join_set = yield calls.JoinSetCreate()
        yield calls.Submit(join_set, ACT, json_array(slot))
    yield calls.JoinNext("g:2")
    yield calls.JoinNext("g:1")
    return Ok()


def node(store: MemoryStore, seed: int, **limits: int) -> Driver:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    registry.add_workflow(TWO_SETS, two_sets)
    return Driver(registry, Limits(lease_us=LEASE_US, **limits), store=store, shared=True, seed=seed)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def post(store: MemoryStore, member: str) -> None:
    """Somebody else writes the response of a child; only the inbox of the parent is looked at here."""
    response = Response(0, 5, member.rpartition("_")[0], ChildFinished(member, 2, Ok()))
    store.commit(f"post {member}", [Unit([], responses=[NewResponse(ROOT, response)])])


@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_response_of_ones_own_does_not_hide_one_that_another_posted(store: MemoryStore, *, is_claimed: bool) -> None:
    driver = node(store, 1)
    driver.submit(TWO_SETS)
    first, _ = driver.starts()
    post(store, "g:2_1")  # what the workflow waits for
    if is_claimed:
        driver = node(store, 2)
        driver.now += 2 * LEASE_US
        late: list[Input] = []  # what it reads of the workflow is told later
        while not driver.starts():
            late += [item for item in driver._read if isinstance(item, Loaded) and item.execution_id == ROOT]
            driver._read = [item for item in driver._read if item not in late]
            driver.tick()
        assert late
        (first,) = [start for start in driver.starts() if start.execution_id == first.execution_id]
        driver.tick(driver.end_of(first))
        driver.run(*late)
    driver.finish(first)
    driver.run(News([ROOT]))
    row = invariants.snapshot_of(store, ROOT)
    assert row.state.status is Status.FINISHED
    assert driver.outcome() == Ok()


def test_a_hot_workflow_takes_in_what_another_posted(store: MemoryStore) -> None:
    driver = node(store, 1)
    driver.submit(TWO_SETS)
    assert driver.engine.hot_count == 1
    post(store, "g:2_1")
    driver.run(News([ROOT]))
    assert driver.tags()[-1] == "join_next"
    assert driver.tags().count("join_next") == 2
    driver.finish(driver.starts()[0])
    assert driver.outcome() == Ok()


def test_a_read_with_anothers_response_is_not_mixed_with_one_of_the_same_tick(store: MemoryStore) -> None:
    driver = node(store, 1, hot_max=1)
    driver.submit(TWO_SETS)
    first, second = driver.starts()
    driver.submit(TWO_SETS, execution_id=ExecutionId(ROOT[:-1] + "0"))  # evicts it
    post(store, "g:1_1")
    driver.tick(News([ROOT]))  # read with one response, which is the first
    read, driver._read = driver._read, []
    driver.run(driver.end_of(second), *read)  # decided as the first too
    bodies = [response.body.child for response in invariants.snapshot_of(store, ROOT).responses]
    assert bodies == ["g:1_1", "g:2_1"]
    assert driver.outcome() == Ok()
    assert driver.starts().count(second) == 1
    assert first.execution_id == f"{ROOT}.g:1_1"


def test_an_end_of_a_child_that_another_has_finished_meanwhile_is_refused(store: MemoryStore) -> None:
    one, two = node(store, 1), node(store, 2)
    one.run()
    one.submit(TWO_SETS)
    start = next(start for start in one.starts() if start.execution_id.endswith("g:2_1"))
    two.now += 2 * LEASE_US
    two.run()
    again = next(other for other in two.starts() if other.execution_id == start.execution_id)
    two.finish(again)
    one.run(News([ROOT]))
    one.run(News([ROOT]), one.end_of(start))
    for driver in (one, two):
        for left in driver.starts():
            driver.finish(left)
    two.run(News([ROOT]))
    assert two.outcome() == Ok()
    assert two.tags(start.execution_id)[-1] == "finished"


def test_the_response_count_is_fenced(store: MemoryStore) -> None:
    driver = node(store, 1)
    driver.submit(TWO_SETS)
    first = driver.starts()[0]
    post(store, "g:2_1")
    driver.tick(driver.end_of(first))  # refused: it was decided without knowing the other
    assert driver.outcome(first.execution_id) is None
    driver.run()
    assert driver.outcome() == Ok()
    bodies = [response.body.child for response in invariants.snapshot_of(store, ROOT).responses]
    assert bodies == ["g:2_1", "g:1_1"]
    assert driver.starts().count(first) == 1


def test_a_node_that_lost_its_lease_stops_what_it_runs_and_writes_nothing(store: MemoryStore) -> None:
    one, two = node(store, 1), node(store, 2)
    one.submit(ACT)
    (start,) = one.starts()
    two.now += 2 * LEASE_US
    two.run()
    (again,) = two.starts()
    assert again.run != start.run
    events = one.tags()
    one.finish(start)
    assert one.tags() == events
    assert one.engine.held(ROOT) is None
    assert of_kind(one.effects, KillAttempt) == [KillAttempt(ROOT, start.run)]
    two.finish(again)
    assert two.tags() == ["created", "locked", "locked", "finished"]


def test_what_finds_no_room_in_the_window_is_left_to_others(store: MemoryStore) -> None:
    one, two = node(store, 1, start_window_shared=1), node(store, 2, start_window_shared=1)
    one.run()
    one.submit(TWO_SETS)
    (first,) = one.starts()
    assert one.engine.held(ExecutionId(f"{ROOT}.g:2_1")) is None
    two.run()
    (second,) = two.starts()
    assert second.execution_id == f"{ROOT}.g:2_1"
    two.finish(second)
    assert of_kind(two.effects, WakeOthers) == [WakeOthers(ROOT)]
    one.run(News([ROOT]))
    one.finish(first)
    assert one.outcome() == Ok()


@pytest.mark.parametrize("is_claimed_back", [False, True])
def test_whoever_asked_for_an_advance_hears_that_the_lease_was_lost(
    store: MemoryStore, *, is_claimed_back: bool
) -> None:
    one, two = node(store, 1), node(store, 2)
    one.run(Submit(1, ROOT, TWO_SETS, json_array(), paused=True))
    one.tick(Operate(7, ROOT, AdvanceRequest(checked=2, steps=1)))
    one.effects.clear()
    one._read = []  # the answer to its read is late
    two.now += 2 * LEASE_US
    two.run()
    if is_claimed_back:
        two.now += 2 * LEASE_US
        store.claim(one.executor, two.now, Instant(two.now + LEASE_US), 10)
    one.run(Loaded(ROOT, store.load(ROOT)))
    assert [(answer.token, answer.kind) for answer in of_kind(one.effects, Answer)] == [(7, AnswerKind.OUTDATED)]
    assert one.engine.open_count == is_claimed_back
    if is_claimed_back:
        assert one.operate(AdvanceRequest(checked=2, steps=1)) == Answer(1001, AnswerKind.DONE)
        assert one.tags() == ["created", "paused", "join_set_create"]
