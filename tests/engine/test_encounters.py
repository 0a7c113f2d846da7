"""Calls that concern other executions: schedules, and results that a workflow has for stubs."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.batch import CancelRequest, ResumeRequest, Unit
from obelisk.core.events import Created, Scheduled, Stubbed, StubResult
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import In, Now
from obelisk.core.names import FunctionName
from obelisk.core.values import Err, Json, Ok
from obelisk.engine.effects import AnswerKind, Look
from obelisk.engine.inputs import GiveResult, Submit
from obelisk.store.memory import MemoryStore
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import Flow

MS = 1_000
ACT, STUB, MAIN = (
    FunctionName("t:acts/acts.act"),
    FunctionName("t:stubs/stubs.stub"),
    FunctionName("t:flows/flows.main"),
)
WAITER = FunctionName("t:flows/flows.waiter")
FREE = ExecutionId("E_01K42AJA8QHD7D3GTJAYFREE00")
Body = Callable[[ExecutionId, Json], Flow]


def waiter(execution_id: ExecutionId, params: Json) -> Flow:
    """Waits for somebody to give the result of its stub."""
    join_set = yield calls.JoinSetCreate()
    yield calls.Submit(join_set, STUB, json_array())
    done = yield calls.AwaitNext(join_set, STUB)
    return Ok(json_array(type(done.outcome).__name__))


def deployed(main: Body) -> SimulatedRegistry:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    registry.add_stub(STUB)
    registry.add_workflow(MAIN, main)
    registry.add_workflow(WAITER, waiter)
    return registry


def said(replies: list[object]) -> Ok:
    return Ok(json_array(*[reply if isinstance(reply, str) else type(reply).__name__ for reply in replies]))


def sound(driver: Driver) -> None:
    for execution_id in invariants.everything(driver.store):
        snapshot = invariants.snapshot_of(driver.store, execution_id)
        invariants.log_is_whole(snapshot)
        invariants.state_follows(snapshot)
        invariants.family_agrees(driver.store, snapshot)
        if snapshot.state.ffqn in {MAIN, WAITER}:
            guest = driver.registry.guest(snapshot.state.component, snapshot.state.ffqn, execution_id)
            invariants.replays(snapshot, guest)
    assert driver.registry.guests == set()


# --- schedules -------------------------------------------------------------------------------------------------------


def schedules(execution_id: ExecutionId, params: Json) -> Flow:
    at = In(msgspec.json.decode(params)[0] * MS)
    one = yield calls.Schedule(ACT, json_array("scheduled"), at)
    generated = yield calls.GenerateExecutionId()
    done = yield calls.ScheduleJson(generated, ACT, json_array("by id"), at)
    return said([one, generated, done])


def test_what_is_scheduled_is_top_level_and_starts_when_it_is_due() -> None:
    driver = Driver(deployed(schedules))
    driver.submit(MAIN, 100)
    outcome = driver.outcome()
    assert isinstance(outcome, Ok)  # it has finished before anything starts
    one, generated, done = msgspec.json.decode(outcome.value)
    assert done == "Done"
    assert driver.starts() == []
    for scheduled in (one, generated):
        created = driver.store.created(scheduled)
        assert isinstance(created, Created)
        assert (created.scheduled_by, created.join_set) == (ROOT, None)
        assert created.scheduled_at == driver.now + 100 * MS
    driver.sleep(100 * MS)
    assert [start.execution_id for start in driver.starts()] == [one, generated]
    assert [event.event.ffqn for event in invariants.snapshot_of(driver.store, ROOT).log if
            isinstance(event.event, Scheduled)] == [ACT, ACT]  # fmt: skip
    sound(driver)


def test_a_schedule_survives_a_crash_and_its_failure_concerns_nobody() -> None:
    driver = Driver(deployed(schedules))
    driver.submit(MAIN, 100)
    driver.crash()
    driver.sleep(100 * MS)
    for start in list(driver.starts()):
        driver.finish(start, Err(Json(b'"no"'), permanent=True))
    assert isinstance(driver.outcome(), Ok)
    assert driver.engine.open_count == 0


def test_an_id_that_is_taken_is_the_same_execution_or_a_conflict() -> None:
    def main(execution_id: ExecutionId, params: Json) -> Flow:
        replies = [
            (yield calls.ScheduleJson(FREE, ACT, json_array(1), Now())),
            (yield calls.ScheduleJson(FREE, ACT, Json(b"[1]"), Now())),
            (yield calls.ScheduleJson(FREE, ACT, json_array(2), Now())),
            (yield calls.ScheduleJson(FREE, MAIN, json_array(1), Now())),
            (yield calls.ScheduleJson(execution_id, MAIN, json_array(), Now())),
            (yield calls.ScheduleJson(FREE, FunctionName("t:no/no.no"), json_array(), Now())),
            (yield calls.ScheduleJson(FREE, STUB, json_array(), Now())),
        ]
        return said(replies)

    driver = Driver(deployed(main))
    driver.submit(MAIN)
    kinds = ["Done", "Done", "TypeCheckError", "TypeCheckError", "Done", "FunctionNotFound", "FunctionNotFound"]
    assert driver.outcome() == Ok(json_array(*kinds))
    assert len(driver.starts()) == 1
    sound(driver)


def test_an_id_that_was_taken_long_ago_is_looked_up() -> None:
    def main(execution_id: ExecutionId, params: Json) -> Flow:
        replies = [
            (yield calls.ScheduleJson(FREE, ACT, json_array(1), Now())),
            (yield calls.ScheduleJson(FREE, ACT, json_array(2), Now())),
        ]
        return said(replies)

    driver = Driver(deployed(main))
    driver.submit(ACT, 1, execution_id=FREE)
    driver.finish(driver.starts()[0])
    driver.submit(MAIN)
    assert driver.outcome() == Ok(json_array("Done", "TypeCheckError"))
    assert of_kind(driver.effects, Look) == []  # reads are performed by the driver
    assert len(driver.starts()) == 1
    sound(driver)


# --- results for stubs -----------------------------------------------------------------------------------------------


def own_stub(execution_id: ExecutionId, params: Json) -> Flow:
    """Gives the result of a stub that it has just submitted, twice the same and once another, then awaits it."""
    join_set = yield calls.JoinSetCreate()
    stub = yield calls.Submit(join_set, STUB, json_array())
    replies = [
        (yield calls.Stub(stub, STUB, Ok(Json(b'"r"')))),
        (yield calls.Stub(stub, STUB, Ok(Json(b'"r"')))),
        (yield calls.StubJson(stub, Json(b'{"ok":"r"}'))),
        (yield calls.Stub(stub, STUB, Ok(Json(b'"other"')))),
    ]
    done = yield calls.AwaitNext(join_set, STUB)
    assert isinstance(done, calls.ChildDone)
    assert done.outcome == Ok(Json(b'"r"'))
    replies.append((yield calls.Stub(stub, STUB, Ok(Json(b'"r"')))))
    return said(replies)


def test_a_workflow_gives_the_result_of_its_own_stub() -> None:
    driver = Driver(deployed(own_stub))
    driver.submit(MAIN)
    assert driver.outcome() == Ok(json_array("Done", "Done", "Done", "Conflict", "Done"))
    assert driver.tags(ExecutionId(f"{ROOT}.g:1_1")) == ["created", "finished"]
    stubs = [e.event for e in invariants.snapshot_of(driver.store, ROOT).log if isinstance(e.event, Stubbed)]
    assert [(stub.target, stub.result) for stub in stubs] == [
        ("g:1_1", result)
        for result in (StubResult.OK, StubResult.OK, StubResult.OK, StubResult.CONFLICT, StubResult.OK)
    ]
    sound(driver)


def test_a_crash_after_every_tick_changes_nothing() -> None:
    for crash_after in range(1, 9):
        driver = Driver(deployed(own_stub))
        driver.tick(Submit(0, ROOT, MAIN, json_array()))
        for _ in range(crash_after):
            driver.tick()
        driver.crash()
        assert driver.outcome() == Ok(json_array("Done", "Done", "Done", "Conflict", "Done")), crash_after
        sound(driver)


def test_a_refused_unit_at_every_tick_changes_nothing() -> None:
    for refuse_at in range(8):
        driver = Driver(deployed(own_stub))
        inputs = [Submit(0, ROOT, MAIN, json_array())]
        for tick in range(9):
            refuse: Callable[[Unit], bool] | None = (lambda unit: True) if tick == refuse_at else None
            driver.tick(*inputs, refuse=refuse)
            inputs = []
        driver.run()
        assert driver.outcome() == Ok(json_array("Done", "Done", "Done", "Conflict", "Done")), refuse_at
        sound(driver)


def test_a_workflow_gives_the_result_of_another_ones_stub() -> None:
    def main(execution_id: ExecutionId, params: Json) -> Flow:
        (target,) = msgspec.json.decode(params)
        replies = [
            (yield calls.Stub(ExecutionId(target), FunctionName("t:other/other.f"), Ok())),
            (yield calls.StubJson(ExecutionId(target), Json(b'{"never":1}'))),
            (yield calls.StubJson(ExecutionId(target), Json(b'{"err":"no"}'))),
            (yield calls.StubJson(ExecutionId(target), Json(b'{"err":"no"}'))),
            (yield calls.Stub(ExecutionId(target + "9"), STUB, Ok())),
            (yield calls.Stub(FREE, STUB, Ok())),
            (yield calls.Stub(execution_id, STUB, Ok())),
        ]
        return said(replies)

    driver = Driver(deployed(main))
    driver.submit(WAITER, execution_id=FREE)
    driver.submit(MAIN, f"{FREE}.g:1_1")
    kinds = ["TypeCheckError", "TypeCheckError", "Done", "Done", *["ExecutionNotFound"] * 3]
    assert driver.outcome() == Ok(json_array(*kinds))
    assert driver.outcome(FREE) == Ok(json_array("Err"))
    sound(driver)


def test_a_child_that_is_no_stub_is_refused() -> None:
    def main(execution_id: ExecutionId, params: Json) -> Flow:
        join_set = yield calls.JoinSetCreate()
        child = yield calls.Submit(join_set, ACT, json_array())
        return said([(yield calls.Stub(child, ACT, Ok()))])

    driver = Driver(deployed(main))
    driver.submit(MAIN)
    driver.run(driver.killed(driver.starts()[0]))
    assert driver.outcome() == Ok(json_array("TypeCheckError"))
    sound(driver)


@pytest.mark.parametrize("is_back", [False, True])
def test_a_stub_that_was_parked_without_its_component_takes_its_result_all_the_same(is_back: bool) -> None:
    def main(execution_id: ExecutionId, params: Json) -> Flow:
        target = ExecutionId(f"{FREE}.g:1_{msgspec.json.decode(params)[0]}")
        return said([(yield calls.Stub(target, STUB, Ok())), (yield calls.StubJson(target, Json(b'{"ok":null}')))])

    def two_stubs(execution_id: ExecutionId, params: Json) -> Flow:
        join_set = yield calls.JoinSetCreate()
        for _ in range(2):
            yield calls.Submit(join_set, STUB, json_array())
        for _ in range(2):
            yield calls.AwaitNext(join_set, STUB)
        return Ok()

    registry = deployed(main)
    registry.add_workflow(WAITER, two_stubs)
    driver = Driver(registry)
    driver.submit(WAITER, execution_id=FREE)
    registry.remove(STUB)
    driver.crash()
    stubs = [ExecutionId(f"{FREE}.g:1_{index}") for index in (1, 2)]
    assert [driver.tags(stub) for stub in stubs] == [["created", "parked"]] * 2
    driver.submit(MAIN, 1)
    assert driver.tags() == ["created", "locked", "parked"]  # nobody can tell whether that result fits
    answer = driver.operate(GiveResult(Ok()), stubs[1])
    assert answer is not None
    assert (answer.kind, STUB in answer.message) == (AnswerKind.REFUSED, True)
    registry.add_stub(STUB)
    if is_back:
        driver.crash()
    driver.operate(ResumeRequest())
    assert driver.outcome() == Ok(json_array("Done", "Conflict"))
    assert driver.operate(GiveResult(Ok()), stubs[1]).kind is AnswerKind.DONE
    assert [driver.tags(stub) for stub in stubs] == [["created", "parked", "resumed", "finished"]] * 2
    assert driver.outcome(FREE) == Ok()
    sound(driver)


def test_what_was_scheduled_in_the_same_tick_counts_only_once_it_is_durable() -> None:
    def main(execution_id: ExecutionId, params: Json) -> Flow:
        return said([(yield calls.ScheduleJson(FREE, ACT, json_array(), Now()))])

    driver = Driver(deployed(main))
    one, other = ROOT, ExecutionId("E_01K42AJA8QHD7D3GTJAY0THER0")
    driver.tick(Submit(1, one, MAIN, json_array()), Submit(2, other, MAIN, json_array()))
    for _ in range(3):
        driver.tick(refuse=lambda unit: any(isinstance(new.event, Created) for new in unit.events))
        assert driver.store.load(FREE) is None
        assert [driver.outcome(each) for each in (one, other)] == [None, None]
    driver.run()
    assert [driver.outcome(each) for each in (one, other)] == [Ok(json_array("Done"))] * 2
    assert driver.tags(FREE) == ["created", "locked"]


# --- two engines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_client", [False, True])
def test_a_stub_of_another_engine_is_ended_by_whoever_has_its_result(by_client: bool) -> None:
    def main(execution_id: ExecutionId, params: Json) -> Flow:
        target = ExecutionId(f"{FREE}.g:1_1")
        return said(
            [(yield calls.StubJson(target, Json(b'{"ok":1}'))), (yield calls.Stub(target, STUB, Ok(Json(b"1"))))]
        )

    store, registry = MemoryStore(), deployed(main)
    one, two = Driver(registry, store=store, shared=True, seed=1), Driver(registry, store=store, shared=True, seed=2)
    one.submit(WAITER, execution_id=FREE)
    if by_client:
        assert two.operate(GiveResult(Ok(Json(b"1"))), ExecutionId(f"{FREE}.g:1_1")) is not None
        assert two.operate(GiveResult(Ok(Json(b"1"))), ExecutionId(f"{FREE}.g:1_1")).kind is AnswerKind.ALREADY
        assert two.operate(GiveResult(Ok(Json(b"2"))), ExecutionId(f"{FREE}.g:1_1")).kind is AnswerKind.CONFLICT
        assert two.operate(GiveResult(Ok(Json(b"2"))), ExecutionId(f"{FREE}.g:1_2")).kind is AnswerKind.NOT_FOUND
        assert two.operate(GiveResult(Ok(Json(b"2"))), FREE).kind is AnswerKind.REFUSED
    else:
        two.submit(MAIN)
        assert two.outcome() == Ok(json_array("Done", "Done"))
    assert one.outcome(ExecutionId(f"{FREE}.g:1_1")) == Ok(Json(b"1"))
    one.now += 10_000 * MS
    one.run()  # the slow poll
    one.run()
    assert one.outcome(FREE) == Ok(json_array("Ok"))
    assert one.engine.open_count == 0  # nor is the stub, which the other engine has ended


def test_an_operation_on_what_another_engine_holds_lies_in_its_inbox() -> None:
    store, registry = MemoryStore(), deployed(waiter)
    one, two = Driver(registry, store=store, shared=True, seed=1), Driver(registry, store=store, shared=True, seed=2)
    one.submit(WAITER, execution_id=FREE)
    assert two.operate(CancelRequest(), FREE).kind is AnswerKind.REQUESTED
    assert two.operate(CancelRequest(), ExecutionId(f"{FREE}.g:7_1")).kind is AnswerKind.NOT_FOUND
    one.now += 10_000 * MS
    one.run()
    one.run()
    assert "cancellation_requested" in one.tags(FREE)
    assert one.tags(FREE)[-1] == "finished"
