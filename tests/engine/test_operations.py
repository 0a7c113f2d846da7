"""What is wanted of executions from outside: cancel, fail, pause, advance, upgrade, resume, results for stubs."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.batch import (
    AdvanceRequest,
    CancelDelayRequest,
    CancelRequest,
    FailRequest,
    PauseRequest,
    RequestBody,
    ResumeRequest,
    Unit,
    UnitOutcome,
    UnpauseRequest,
    UpgradeRequest,
)
from obelisk.core.events import ComponentUpgraded, Locked, Parked
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import In
from obelisk.core.names import FunctionName
from obelisk.core.policy import Blocking, ExecutionPolicy, Limits, OnTrap
from obelisk.core.state import Lifecycle, Status
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind, EmitLog, KillAttempt
from obelisk.engine.inputs import GiveResult, Operate, Stepped, Submit
from obelisk.testing import invariants
from obelisk.testing.deployment import COMPONENT, SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import BURN, Flow, Trap

MS = 1_000
OTHER = Digest("sha256:" + "0f" * 32)
ACT, STUB = FunctionName("t:acts/acts.act"), FunctionName("t:stubs/stubs.stub")
SERIES, FAMILY, SLEEPER, WAITER, TRAPPER, BURNER = (
    FunctionName(f"t:flows/flows.{name}") for name in ("series", "family", "sleeper", "waiter", "trapper", "burner")
)
CANCELLED = Failure(FailureKind.CANCELLED, "cancelled")
DONE, ALREADY, FINISHED = AnswerKind.DONE, AnswerKind.ALREADY, AnswerKind.FINISHED


def series(execution_id: ExecutionId, params: Json) -> Flow:
    yield calls.Log(calls.LogLevel.INFO, "begins")
    for index in range(msgspec.json.decode(params)[0]):
        yield calls.CallChild(ACT, json_array(index))
    return Ok()


def family(execution_id: ExecutionId, params: Json) -> Flow:
    """Two join sets: an activity, a workflow, a stub and a delay in one, an activity in the other; then a direct call."""
    first = yield calls.JoinSetCreate()
    yield calls.Submit(first, ACT, json_array(1))
    yield calls.Submit(first, SERIES, json_array(1))
    yield calls.Submit(first, STUB, json_array())
    yield calls.SubmitDelay(first, In(3_600_000 * MS))
    second = yield calls.JoinSetCreate("second")
    yield calls.Submit(second, ACT, json_array(2))
    reply = yield calls.CallChild(SLEEPER, json_array(50))
    return Ok(json_array(type(reply).__name__))


def sleeper(execution_id: ExecutionId, params: Json) -> Flow:
    reply = yield calls.Sleep(In(msgspec.json.decode(params)[0] * MS))
    return Ok(json_array(type(reply).__name__))


def waiter(execution_id: ExecutionId, params: Json) -> Flow:
    join_set = yield calls.JoinSetCreate()
    yield calls.Submit(join_set, STUB, json_array())
    done = yield calls.AwaitNext(join_set, STUB)
    return Ok(json_array(type(done.outcome).__name__))


def trapper(execution_id: ExecutionId, params: Json) -> Flow:
    yield calls.CallChild(ACT, json_array())
    raise Trap("boom")


def burner(execution_id: ExecutionId, params: Json) -> Flow:
    yield BURN
    yield calls.CallChild(ACT, json_array())
    return Ok()


def deployed(policy: ExecutionPolicy | None = None) -> SimulatedRegistry:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    registry.add_stub(STUB)
    flows = {
        SERIES: series, FAMILY: family, SLEEPER: sleeper, WAITER: waiter, TRAPPER: trapper, BURNER: burner,
    }  # fmt: skip
    for ffqn, flow in flows.items():
        registry.add_workflow(ffqn, flow, policy)
    return registry


def child(name: str) -> ExecutionId:
    return ExecutionId(f"{ROOT}.{name}")


def end_what_is_killed(driver: Driver) -> None:
    done = 0
    while done < len(kills := of_kind(driver.effects, KillAttempt)):
        start = next(start for start in driver.starts() if start.run == kills[done].run)
        driver.run(driver.killed(start))
        done += 1


def settled(driver: Driver) -> None:
    """Everything ended, and the store is sound."""
    for execution_id in invariants.everything(driver.store):
        snapshot = invariants.snapshot_of(driver.store, execution_id)
        invariants.log_is_whole(snapshot)
        invariants.state_follows(snapshot)
        invariants.awaits_match(snapshot)
        invariants.family_agrees(driver.store, snapshot)
        invariants.end_is_the_end(driver.store, snapshot)
        assert invariants.outcome_of(snapshot) is not None, execution_id
        assert snapshot.requests == []
    assert driver.registry.guests == set()
    assert (driver.engine.open_count, driver.engine.hot_count) == (0, 0)


def lifecycle(driver: Driver, execution_id: ExecutionId = ROOT) -> tuple[Status, Lifecycle]:
    state = driver.store.state(execution_id)
    assert state is not None
    return state.status, state.lifecycle


# --- cancel ----------------------------------------------------------------------------------------------------------


def test_cancelling_a_workflow_ends_its_whole_tree_newest_first_and_itself_last() -> None:
    driver = Driver(deployed())
    driver.submit(FAMILY)
    assert driver.operate(CancelRequest()).kind is DONE
    assert lifecycle(driver) == (Status.BLOCKED, Lifecycle.CANCELLING)
    assert driver.outcome() is None  # attempts may still do something
    end_what_is_killed(driver)
    assert driver.outcome() == CANCELLED
    for name in ("g:1_1", "g:1_2", "g:1_3", "n:second_1", "o:1-sleeper_1", "g:1_2.o:1-act_1"):
        assert driver.outcome(child(name)) == CANCELLED, name
    settled(driver)
    assert driver.tags()[-7:] == ["cancellation_requested", *["join_next"] * 5, "finished"]


def test_all_members_are_asked_to_end_at_once_the_newest_set_and_the_last_member_first() -> None:
    driver = Driver(deployed())
    driver.submit(FAMILY)
    asked: list[ExecutionId] = []
    commit = driver.store.commit

    def noting(batch_id: str, units: list[Unit]) -> list[UnitOutcome]:
        asked.extend(request.execution_id for unit in units for request in unit.requests)
        return commit(batch_id, units)

    driver.store.commit = noting  # type: ignore[method-assign]
    driver.operate(CancelRequest())
    names = ["o:1-sleeper_1", "n:second_1", "g:1_3", "g:1_2", "g:1_1", "g:1_2.o:1-act_1"]
    assert asked == [child(name) for name in names]


@pytest.mark.parametrize("blocking", Blocking)
def test_it_comes_to_the_same_end_after_a_crash_at_every_step(blocking: Blocking) -> None:
    kills = 0
    for crash_after in range(12):
        driver = Driver(deployed(ExecutionPolicy(blocking=blocking)))
        driver.submit(FAMILY)
        driver.tick(Operate(1, ROOT, CancelRequest()))
        for _ in range(crash_after):
            driver.tick()
        running = [start.execution_id for start in driver.starts()]
        driver.crash(*running)
        end_what_is_killed(driver)
        assert driver.outcome() == CANCELLED, crash_after
        settled(driver)
        kills += len(of_kind(driver.effects, KillAttempt))
    assert kills > 0


def test_cancelling_twice_says_so() -> None:
    driver = Driver(deployed())
    driver.submit(SERIES, 1)
    answers = of_kind(driver.run(Operate(1, ROOT, CancelRequest()), Operate(2, ROOT, CancelRequest())), Answer)
    assert sorted((answer.token, answer.kind) for answer in answers) == [(1, DONE), (2, ALREADY)]
    end_what_is_killed(driver)
    assert driver.operate(CancelRequest()).kind is FINISHED


def test_a_running_activity_is_told_before_it_is_finished() -> None:
    driver = Driver(deployed())
    driver.submit(ACT)
    effects = driver.run(Operate(1, ROOT, CancelRequest()))
    assert of_kind(effects, KillAttempt) == [KillAttempt(ROOT, driver.starts()[0].run)]
    assert driver.tags() == ["created", "locked", "cancellation_requested"]
    driver.run(driver.killed(driver.starts()[0]))
    assert driver.tags() == ["created", "locked", "cancellation_requested", "finished"]
    assert driver.outcome() == CANCELLED
    settled(driver)


def test_an_activity_that_waits_for_a_retry_is_finished_at_once() -> None:
    driver = Driver(deployed())
    driver.submit(ACT)
    driver.finish(driver.starts()[0], Failure(FailureKind.UNCATEGORIZED, "boom"))
    assert driver.operate(CancelRequest()).kind is DONE
    assert driver.tags() == ["created", "locked", "temporarily_failed", "cancellation_requested", "finished"]
    driver.sleep(1_000 * MS)
    assert len(driver.starts()) == 1
    settled(driver)


def test_a_cancelled_activity_whose_process_died_is_finished_by_the_next_one() -> None:
    driver = Driver(deployed())
    driver.submit(ACT)
    driver.operate(CancelRequest())
    driver.crash(ROOT)
    assert driver.outcome() == CANCELLED
    assert len(driver.starts()) == 1


def test_the_parent_of_what_is_cancelled_goes_on_with_its_failure() -> None:
    driver = Driver(deployed())
    driver.submit(FAMILY)
    driver.operate(CancelRequest(), child("o:1-sleeper_1"))
    end_what_is_killed(driver)
    assert driver.tags(child("o:1-sleeper_1"))[-2:] == ["cancellation_requested", "finished"]
    driver.finish(next(start for start in driver.starts() if "g:1_2.o" in start.execution_id))
    assert driver.outcome() == Ok(json_array("Failure"))
    settled(driver)


def test_a_workflow_on_the_cpu_lane_is_cancelled_and_its_guest_closed() -> None:
    driver = Driver(deployed())
    effects = driver.submit(BURNER)
    (run,) = [effect for effect in effects if type(effect).__name__ == "RunGuest"]
    assert driver.operate(CancelRequest()).kind is DONE
    assert driver.outcome() == CANCELLED
    driver.run(Stepped(ROOT, run.generation, run.guest, run.guest.resume()))
    settled(driver)


def test_a_delay_is_cancelled() -> None:
    driver = Driver(deployed())
    driver.submit(SLEEPER, 60_000)
    assert driver.operate(CancelDelayRequest("o:1-sleep_1")).kind is DONE
    assert driver.outcome() == Ok(json_array("DelayCancelled"))
    assert driver.operate(CancelDelayRequest("o:1-sleep_1")).kind is FINISHED
    settled(driver)


def test_cancelling_a_delay_that_is_over_says_so() -> None:
    driver = Driver(deployed())
    driver.submit(FAMILY)
    assert driver.operate(CancelDelayRequest("g:1_1")).kind is DONE
    assert driver.operate(CancelDelayRequest("g:1_1")).kind is ALREADY
    assert driver.operate(CancelDelayRequest("g:9_1")).kind is ALREADY


# --- pause -----------------------------------------------------------------------------------------------------------


def test_a_paused_workflow_takes_responses_in_and_goes_on_when_unpaused() -> None:
    driver = Driver(deployed())
    driver.submit(SERIES, 2)
    assert driver.operate(PauseRequest()).kind is DONE
    assert lifecycle(driver) == (Status.BLOCKED, Lifecycle.PAUSED)
    assert driver.registry.guests == set()
    driver.finish(driver.starts()[0])
    assert lifecycle(driver) == (Status.PENDING, Lifecycle.PAUSED)
    assert len(driver.starts()) == 1
    assert driver.operate(UnpauseRequest()).kind is DONE
    driver.finish(driver.starts()[1])
    assert driver.outcome() == Ok()
    assert driver.tags()[5:8] == ["paused", "unpaused", "locked"]
    assert [told.line.message for told in of_kind(driver.effects, EmitLog)] == ["begins"]
    settled(driver)


def test_a_running_workflow_is_unlocked_first() -> None:
    driver = Driver(deployed())
    effects = driver.submit(BURNER)
    (run,) = [effect for effect in effects if type(effect).__name__ == "RunGuest"]
    driver.operate(PauseRequest())
    assert driver.tags() == ["created", "locked", "unlocked", "paused"]
    driver.run(Stepped(ROOT, run.generation, run.guest, run.guest.resume()))
    assert driver.registry.guests == set()
    driver.sleep(60_000 * MS)
    assert driver.tags() == ["created", "locked", "unlocked", "paused"]


def test_a_pause_survives_a_crash_and_so_do_its_timers() -> None:
    driver = Driver(deployed())
    driver.submit(SLEEPER, 100)
    driver.operate(PauseRequest())
    driver.crash()
    driver.sleep(200 * MS)
    assert lifecycle(driver) == (Status.PENDING, Lifecycle.PAUSED)
    driver.operate(UnpauseRequest())
    assert driver.outcome() == Ok(json_array("WokenAt"))
    settled(driver)


def test_an_activity_is_paused_unless_it_runs() -> None:
    driver = Driver(deployed(), Limits(start_window=1))
    driver.submit(ACT)
    other = ExecutionId(ROOT[:-1] + "0")
    driver.submit(ACT, execution_id=other)
    answer = driver.operate(PauseRequest())
    assert (answer.kind, answer.message) == (
        AnswerKind.REFUSED, "cannot pause, the activity is running; it can be cancelled",
    )  # fmt: skip
    assert driver.operate(PauseRequest(), other).kind is DONE
    driver.finish(driver.starts()[0])
    assert len(driver.starts()) == 1
    driver.operate(UnpauseRequest(), other)
    driver.finish(driver.starts()[1])
    assert driver.outcome(other) == Ok()
    settled(driver)


def test_a_retry_does_not_come_while_the_activity_is_paused() -> None:
    driver = Driver(deployed())
    driver.submit(ACT)
    driver.finish(driver.starts()[0], Failure(FailureKind.UNCATEGORIZED, "boom"))
    driver.operate(PauseRequest())
    driver.sleep(1_000 * MS)
    assert len(driver.starts()) == 1
    driver.operate(UnpauseRequest())
    driver.finish(driver.starts()[1])
    settled(driver)


def test_unpausing_before_the_retry_is_due_waits_for_it() -> None:
    driver = Driver(deployed())
    driver.submit(ACT)
    driver.finish(driver.starts()[0], Failure(FailureKind.UNCATEGORIZED, "boom"))
    driver.operate(PauseRequest())
    driver.operate(UnpauseRequest())
    assert len(driver.starts()) == 1
    driver.sleep(100 * MS)
    assert len(driver.starts()) == 2


def test_an_execution_is_born_paused() -> None:
    driver = Driver(deployed())
    driver.run(Submit(0, ROOT, SERIES, json_array(1), paused=True))
    assert driver.tags() == ["created", "paused"]
    driver.operate(UnpauseRequest())
    assert len(driver.starts()) == 1


@pytest.mark.parametrize(
    ("before", "body", "kind", "message"),
    [
        ([], UnpauseRequest(), AnswerKind.REFUSED, "cannot unpause, execution is not paused"),
        ([PauseRequest()], PauseRequest(), ALREADY, "cannot pause, execution is already paused"),
        ([CancelRequest()], PauseRequest(), AnswerKind.REFUSED, "cannot pause, execution is cancelling"),
        ([], ResumeRequest(), AnswerKind.REFUSED, "cannot resume, execution is blocked, not parked"),
        ([], FailRequest(CANCELLED), AnswerKind.REFUSED,
         "cannot fail, execution is blocked, not parked; it can be cancelled"),
        ([], AdvanceRequest(5), AnswerKind.REFUSED,
         "cannot advance, execution is blocked; a paused workflow can be advanced"),
        ([PauseRequest()], AdvanceRequest(3), AnswerKind.OUTDATED, "its log has grown to version 6"),
        ([PauseRequest()], AdvanceRequest(6), AnswerKind.REFUSED,
         "cannot advance, it waits for a response of o:1-act"),
        ([], UpgradeRequest(COMPONENT, None), ALREADY, "it is on that component"),
        ([], UpgradeRequest(OTHER, None), AnswerKind.REFUSED,
         f"cannot upgrade, {OTHER} is not loaded or has no {SERIES}"),
        ([CancelRequest()], UpgradeRequest(OTHER, None), AnswerKind.REFUSED,
         "cannot upgrade, execution is being cancelled"),
        ([], GiveResult(Ok()), AnswerKind.REFUSED, f"{SERIES} is no stub activity; only those are given a result"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    before: list[RequestBody], body: RequestBody | GiveResult, kind: AnswerKind, message: str
) -> None:
    driver = Driver(deployed())
    driver.submit(SERIES, 1)
    for other in before:
        assert driver.operate(other).kind is DONE
    commits = driver.store.commits
    answer = driver.operate(body)
    assert (answer.kind, answer.message) == (kind, message)
    assert driver.store.commits == commits


# --- advance ---------------------------------------------------------------------------------------------------------


def version(driver: Driver) -> int:
    state = driver.store.state(ROOT)
    assert state is not None
    return state.next_version


def test_a_paused_workflow_advances_a_host_call_at_a_time() -> None:
    driver = Driver(deployed())
    driver.run(Submit(0, ROOT, FAMILY, json_array(), paused=True))
    assert driver.operate(AdvanceRequest(version(driver))).kind is DONE
    assert driver.tags() == ["created", "paused", "join_set_create"]
    assert driver.operate(AdvanceRequest(version(driver), steps=2, pause_children=True)).kind is DONE
    assert driver.tags()[3:] == ["child_request", "child_request"]
    assert driver.tags(child("g:1_1")) == ["created", "paused"]
    assert driver.starts() == []
    assert driver.operate(AdvanceRequest(version(driver), steps=99)).kind is DONE
    assert lifecycle(driver) == (Status.BLOCKED, Lifecycle.PAUSED)
    assert driver.tags()[-3:] == ["join_set_create", "child_request", "join_next"]
    assert driver.registry.guests != set()  # of the child that was not born paused
    driver.operate(UnpauseRequest())
    driver.sleep(50 * MS)
    driver.operate(CancelRequest())
    end_what_is_killed(driver)
    settled(driver)


def test_an_advance_goes_to_the_end() -> None:
    driver = Driver(deployed())
    driver.run(Submit(0, ROOT, SERIES, json_array(1), paused=True))
    driver.operate(AdvanceRequest(2, steps=5))
    driver.finish(driver.starts()[0])
    assert driver.operate(AdvanceRequest(version(driver), steps=5)).kind is DONE
    assert driver.outcome() == Ok()
    assert [told.line.message for told in of_kind(driver.effects, EmitLog)] == ["begins"]
    settled(driver)


def test_an_advance_that_meets_a_refused_unit_is_told_and_nothing_is_half_done() -> None:
    driver = Driver(deployed())
    driver.run(Submit(0, ROOT, SERIES, json_array(1), paused=True))
    effects = driver.tick(Operate(7, ROOT, AdvanceRequest(2)))
    effects += driver.tick(refuse=lambda unit: True)
    effects += driver.run()
    assert [answer.kind for answer in of_kind(effects, Answer)] == [AnswerKind.OUTDATED]
    assert driver.tags() == ["created", "paused"]
    assert driver.operate(AdvanceRequest(2)).kind is DONE
    assert driver.tags()[2:] == ["join_set_create", "child_request", "join_next"]


def test_a_workflow_that_computes_is_advanced_on_the_cpu_lane() -> None:
    driver = Driver(deployed())
    driver.run(Submit(0, ROOT, BURNER, json_array(), paused=True))
    effects = driver.run(Operate(7, ROOT, AdvanceRequest(2)))
    (run,) = [effect for effect in effects if type(effect).__name__ == "RunGuest"]
    assert of_kind(effects, Answer) == []
    effects = driver.run(Stepped(ROOT, run.generation, run.guest, run.guest.resume()))
    assert [answer.kind for answer in of_kind(effects, Answer)] == [DONE]
    assert driver.tags() == ["created", "paused", "join_set_create", "child_request", "join_next"]


# --- parked, upgraded ------------------------------------------------------------------------------------------------


def changed(execution_id: ExecutionId, params: Json) -> Flow:
    """Not what `series` does."""
    yield calls.JoinSetCreate()
    return Ok()


def longer(execution_id: ExecutionId, params: Json) -> Flow:
    """What `series` does, and then more."""
    yield calls.Log(calls.LogLevel.INFO, "begins otherwise")
    for index in range(msgspec.json.decode(params)[0] + 1):
        yield calls.CallChild(ACT, json_array(index))
    return Ok(json_array("longer"))


def parked() -> Driver:
    registry = deployed()
    driver = Driver(registry)
    driver.submit(SERIES, 2)
    registry.add_workflow(SERIES, changed)
    driver.crash()
    driver.finish(driver.starts()[-1])
    assert lifecycle(driver) == (Status.PENDING, Lifecycle.PARKED)
    return driver


def test_a_divergence_is_parked_with_its_difference_and_goes_on_when_mended() -> None:
    driver = parked()
    event = invariants.snapshot_of(driver.store, ROOT).log[-1].event
    assert isinstance(event, Parked)
    assert event.reason == "nondeterminism detected at version 2"
    assert event.detail == 'join_set: recorded "o:1-act", now "g:1"'
    driver.registry.add_workflow(SERIES, series)
    assert driver.operate(ResumeRequest()).kind is DONE
    driver.finish(driver.starts()[-1])
    assert driver.outcome() == Ok()
    settled(driver)


def test_resuming_what_is_not_mended_parks_it_again() -> None:
    driver = parked()
    assert driver.operate(ResumeRequest()).kind is DONE
    assert lifecycle(driver) == (Status.PENDING, Lifecycle.PARKED)
    assert driver.tags()[-2:] == ["resumed", "parked"]


def test_a_parked_execution_is_failed_by_an_operator_although_it_does_not_replay() -> None:
    driver = parked()
    failure = Failure(FailureKind.NONDETERMINISM_DETECTED, "given up", "detail")
    assert driver.operate(FailRequest(failure)).kind is DONE
    assert driver.outcome() == failure
    assert driver.tags()[-2:] == ["cancellation_requested", "finished"]
    settled(driver)


def test_a_failure_of_a_parked_tree_survives_a_crash() -> None:
    registry = deployed()
    driver = Driver(registry)
    driver.submit(FAMILY)
    registry.add_workflow(FAMILY, changed)
    driver.crash()
    driver.sleep(60 * MS)
    assert lifecycle(driver) == (Status.PENDING, Lifecycle.PARKED)
    failure = Failure(FailureKind.UNCATEGORIZED, "given up")
    driver.tick(Operate(1, ROOT, FailRequest(failure)))
    driver.crash()
    end_what_is_killed(driver)
    assert driver.outcome() == failure
    settled(driver)


def test_the_parent_of_what_is_parked_keeps_waiting() -> None:
    registry = deployed()
    driver = Driver(registry)
    driver.submit(FAMILY)
    registry.add_workflow(SERIES, changed)
    driver.crash()
    for start in driver.starts()[-3:]:
        driver.finish(start)
    assert lifecycle(driver, child("g:1_2")) == (Status.PENDING, Lifecycle.PARKED)
    driver.sleep(60 * MS)
    assert driver.outcome() is None
    driver.operate(FailRequest(Failure(FailureKind.UNCATEGORIZED, "given up")), child("g:1_2"))
    assert driver.outcome() == Ok(json_array("Ok"))
    settled(driver)


def test_an_upgrade_goes_on_on_another_component() -> None:
    registry = deployed()
    driver = Driver(registry)
    driver.submit(SERIES, 1)
    registry.add_workflow(SERIES, longer, component=OTHER)
    answer = driver.operate(UpgradeRequest(OTHER, 3))
    assert (answer.kind, answer.message) == (AnswerKind.OUTDATED, "its log has grown to version 5")
    assert driver.operate(UpgradeRequest(OTHER, 5)).kind is DONE
    driver.finish(driver.starts()[0])
    driver.finish(driver.starts()[1])
    assert driver.outcome() == Ok(json_array("longer"))
    upgraded = invariants.snapshot_of(driver.store, ROOT).log[5].event
    assert isinstance(upgraded, ComponentUpgraded)
    assert (upgraded.component, upgraded.forced) == (OTHER, False)
    assert [told.line.message for told in of_kind(driver.effects, EmitLog)] == ["begins"]
    settled(driver)


def test_an_upgrade_resumes_what_is_parked() -> None:
    driver = parked()
    driver.registry.add_workflow(SERIES, series, component=OTHER)
    assert driver.operate(UpgradeRequest(OTHER, version(driver))).kind is DONE
    driver.finish(driver.starts()[-1])
    assert driver.outcome() == Ok()
    assert "component_upgrade_finished" in driver.tags()
    assert driver.tags()[driver.tags().index("component_upgrade_finished") + 1] == "resumed"
    settled(driver)


def test_a_forced_upgrade_is_marked_and_parks_when_it_does_not_fit() -> None:
    registry = deployed()
    driver = Driver(registry)
    driver.submit(SERIES, 2)
    registry.add_workflow(SERIES, changed, component=OTHER)
    assert driver.operate(UpgradeRequest(OTHER, None)).kind is DONE
    driver.finish(driver.starts()[0])
    upgraded = invariants.snapshot_of(driver.store, ROOT).log[5].event
    assert isinstance(upgraded, ComponentUpgraded)
    assert upgraded.forced
    assert lifecycle(driver) == (Status.PENDING, Lifecycle.PARKED)
    assert driver.operate(UpgradeRequest(COMPONENT, None)).kind is DONE
    driver.finish(driver.starts()[1])
    assert driver.outcome() == Ok()
    settled(driver)


def test_what_waits_for_its_component_can_be_cancelled() -> None:
    registry = deployed()
    driver = Driver(registry)
    driver.submit(SERIES, 1)
    registry.remove(SERIES)
    driver.crash()
    assert driver.tags()[-1] == "parked"
    answer = driver.operate(ResumeRequest())
    assert answer.kind is AnswerKind.REFUSED
    assert answer.message == f"cannot resume, its component {COMPONENT} is not loaded"
    driver.operate(CancelRequest())
    end_what_is_killed(driver)
    assert driver.outcome() == CANCELLED
    settled(driver)


def test_a_trap_parks_where_the_policy_says_so_and_fails_otherwise() -> None:
    driver = Driver(deployed(ExecutionPolicy(on_trap=OnTrap.PARK)))
    driver.submit(TRAPPER)
    driver.finish(driver.starts()[0])
    event = invariants.snapshot_of(driver.store, ROOT).log[-1].event
    assert event == Parked("workflow trap: boom")
    driver.registry.add_workflow(TRAPPER, sane_trapper, component=OTHER)
    driver.operate(UpgradeRequest(OTHER, version(driver)))
    assert driver.outcome() == Ok()
    settled(driver)
    failing = Driver(deployed())
    failing.submit(TRAPPER)
    failing.finish(failing.starts()[0])
    assert failing.outcome() == Failure(FailureKind.UNCATEGORIZED, "workflow trap: boom")


def sane_trapper(execution_id: ExecutionId, params: Json) -> Flow:
    yield calls.CallChild(ACT, json_array())
    return Ok()


# --- results of stubs ------------------------------------------------------------------------------------------------


def test_a_client_gives_the_result_of_a_stub() -> None:
    driver = Driver(deployed())
    driver.submit(WAITER)
    driver.sleep(3_600_000 * MS)
    assert driver.starts() == []
    assert driver.operate(GiveResult(Err(Json(b'"no"'))), child("g:1_1")).kind is DONE
    assert driver.outcome(child("g:1_1")) == Err(Json(b'"no"'))
    assert driver.tags(child("g:1_1")) == ["created", "finished"]
    assert driver.outcome() == Ok(json_array("Err"))
    assert driver.operate(GiveResult(Ok()), child("g:1_1")).kind is FINISHED
    settled(driver)


def test_a_stub_cannot_be_paused_and_can_be_cancelled() -> None:
    driver = Driver(deployed())
    driver.submit(WAITER)
    assert driver.operate(PauseRequest(), child("g:1_1")).kind is AnswerKind.REFUSED
    assert driver.operate(CancelRequest(), child("g:1_1")).kind is DONE
    assert driver.outcome() == Ok(json_array("Failure"))
    settled(driver)


def test_an_open_stub_survives_a_crash() -> None:
    driver = Driver(deployed())
    driver.submit(WAITER)
    driver.crash()
    driver.operate(GiveResult(Ok()), child("g:1_1"))
    assert driver.outcome() == Ok(json_array("Ok"))
    locks = [e for e in invariants.snapshot_of(driver.store, ROOT).log if isinstance(e.event, Locked)]
    assert len(locks) == 2
    settled(driver)


def test_what_an_advance_schedules_is_born_paused_too() -> None:
    def scheduler(execution_id: ExecutionId, params: Json) -> Flow:
        yield calls.Schedule(ACT, json_array(0), In(0))
        return Ok()

    registry = deployed()
    registry.add_workflow(SERIES, scheduler)
    driver = Driver(registry)
    driver.run(Submit(0, ROOT, SERIES, json_array(), paused=True))
    driver.operate(AdvanceRequest(version(driver), pause_children=True))
    (scheduled,) = set(invariants.everything(driver.store)) - {ROOT}
    assert driver.tags(scheduled) == ["created", "paused"]
