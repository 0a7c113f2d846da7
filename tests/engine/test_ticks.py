"""What one engine does, tick by tick: transactions, windows, caps, locks, crashes, cancellations."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.batch import CancelRequest, Request, Unit
from obelisk.core.events import Locked
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import In, Instant, Now
from obelisk.core.names import FunctionName
from obelisk.core.policy import Blocking, ExecutionPolicy, Limits, RetryPolicy
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind, Changed, KillAttempt, RunGuest, StartAttempt
from obelisk.engine.inbox import Inbox, InboxFull
from obelisk.engine.inputs import AttemptFinished, AttemptSliced, DelayDue, PendingDue, Stepped, Submit
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import BURN, Flow, FlowFunction

ACT = FunctionName("t:acts/acts.act")
MS = 1_000


def flow_name(name: str) -> FunctionName:
    return FunctionName(f"t:flows/flows.{name}")


SERIES, FAN, SLEEPER, ABANDON, COUNT, BURNER, NAP = map(
    flow_name, ("series", "fan", "sleeper", "abandon", "count", "burner", "nap")
)


def number(params: Json) -> int:
    return int(msgspec.json.decode(params)[0])


def series(execution_id: ExecutionId, params: Json) -> Flow:
    for index in range(number(params)):
        reply = yield calls.CallChild(ACT, json_array(index))
        assert isinstance(reply, Ok | Failure)
    return Ok()


def fan(execution_id: ExecutionId, params: Json) -> Flow:
    join_set = yield calls.JoinSetCreate()
    for index in range(number(params)):
        yield calls.Submit(join_set, ACT, json_array(index))
    for _ in range(number(params)):
        yield calls.AwaitNext(join_set, ACT)
    return Ok()


def sleeper(execution_id: ExecutionId, params: Json) -> Flow:
    yield calls.Sleep(In(number(params) * MS))
    return Ok()


def abandon(execution_id: ExecutionId, params: Json) -> Flow:
    """Ends with children that nobody awaited."""
    join_set = yield calls.JoinSetCreate()
    children = []
    for index in range(number(params)):
        children += [(yield calls.Submit(join_set, ACT, json_array(index)))]
    yield calls.SubmitDelay(join_set, In(3_600_000 * MS))
    yield calls.JoinSetClose(join_set)
    failed = []
    for child in children:
        outcome = yield calls.Get(child, ACT)
        failed.append(isinstance(outcome, Failure) and outcome.kind is FailureKind.CANCELLED)
    return Ok(json_array(*failed))


def count(execution_id: ExecutionId, params: Json) -> Flow:
    """Three direct calls; says what came of each."""
    kinds: list[str] = []
    for _ in range(number(params)):
        kinds += [type((yield calls.CallChild(ACT, json_array()))).__name__]
    return Ok(json_array(*kinds))


def burner(execution_id: ExecutionId, params: Json) -> Flow:
    yield BURN
    reply = yield calls.CallChild(ACT, json_array())
    yield BURN
    assert isinstance(reply, Ok)
    return reply


def nap(execution_id: ExecutionId, params: Json) -> Flow:
    """Sleeps that are over at once."""
    for _ in range(number(params)):
        yield calls.Sleep(Now())
    yield calls.CallChild(ACT, json_array())
    return Ok()


def deployed(workflow: ExecutionPolicy | None = None, activity: ExecutionPolicy | None = None) -> SimulatedRegistry:
    registry = SimulatedRegistry()
    registry.add_activity(ACT, activity)
    flows = {SERIES: series, FAN: fan, SLEEPER: sleeper, ABANDON: abandon, COUNT: count, BURNER: burner, NAP: nap}
    for ffqn, flow in flows.items():
        registry.add_workflow(ffqn, flow, workflow)
    return registry


INTERRUPT = ExecutionPolicy(blocking=Blocking.INTERRUPT)
D1 = ["created", "locked", "join_set_create", "child_request", "join_next"]


def execution(number: int) -> ExecutionId:
    return ExecutionId(f"E_01K42AJA8QHD7D3GTJAY{number:06}")


def finish_all(driver: Driver) -> None:
    """Every attempt ends well, one tick each, until none is left."""
    done = 0
    while done < len(driver.starts()):
        driver.finish(driver.starts()[done])
        done += 1


# --- transactions ----------------------------------------------------------------------------------------------------


def test_500_children_in_series_cost_one_transaction_each() -> None:
    driver = Driver(deployed())
    driver.submit(SERIES, 500)
    finish_all(driver)
    assert driver.outcome() == Ok()
    assert driver.store.commits <= 500 + 4
    assert driver.tags() == [*D1, *D1[2:] * 499, "finished"]
    assert [start.execution_id for start in driver.starts()] == [f"{ROOT}.o:{index}-act_1" for index in range(1, 501)]


def test_a_fan_out_of_500_costs_few_transactions() -> None:
    driver = Driver(deployed(), Limits(start_window=500))
    driver.submit(FAN, 500)
    assert driver.store.commits <= 2
    driver.run(*[driver.end_of(start) for start in driver.starts()])
    assert driver.outcome() == Ok()
    assert driver.store.commits <= 5


def test_d1_one_child_at_a_time() -> None:
    driver = Driver(deployed())
    driver.submit(SERIES, 2)
    finish_all(driver)
    assert driver.tags() == [*D1, *D1[2:], "finished"]
    child = ExecutionId(f"{ROOT}.o:1-act_1")
    assert driver.tags(child) == ["created", "locked", "finished"]
    (response, second) = invariants.snapshot_of(driver.store, ROOT).responses
    assert (response.seq, response.join_set, response.body.version) == (1, "o:1-act", 2)
    assert (second.seq, second.join_set) == (2, "o:2-act")


def test_who_watches_is_told_each_row_once_and_how_it_ended() -> None:
    """Of the ends in one tick, each its own."""
    driver = Driver(deployed(), Limits(start_window=2))
    driver.submit(FAN, 2)
    one, other = driver.starts()
    driver.effects.clear()
    effects = driver.run(driver.end_of(one, Ok(Json(b"1"))), driver.end_of(other, Ok(Json(b"2"))))
    changes = [change for changed in of_kind(effects, Changed) for change in changed.rows()]
    ends = [change for change in changes if change.state.finish_kind is not None]
    assert [(end.state.execution_id, end.outcome) for end in ends] == [
        (execution_id, driver.outcome(execution_id)) for execution_id in (one.execution_id, other.execution_id, ROOT)
    ]
    assert [end.outcome for end in ends[:2]] == [Ok(Json(b"1")), Ok(Json(b"2"))]


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_the_start_window_is_kept_and_refilled_in_order() -> None:
    driver = Driver(deployed(), Limits(start_window=3))
    driver.submit(FAN, 7)
    assert [start.execution_id[-1] for start in driver.starts()] == ["1", "2", "3"]
    first = driver.starts()[0]
    driver.run(AttemptSliced(first.execution_id, first.run))
    assert [start.execution_id[-1] for start in driver.starts()] == ["1", "2", "3", "4"]
    finish_all(driver)
    assert driver.outcome() == Ok()
    assert [start.execution_id[-1] for start in driver.starts()] == list("1234567")


def test_the_hot_cap_is_kept_by_300_sleepers() -> None:
    driver = Driver(deployed(), Limits(hot_max=50))
    for index in range(300):
        driver.run(Submit(index, execution(index), SLEEPER, json_array(10 + index)))
        assert driver.engine.hot_count <= 50
        assert len(driver.registry.guests) <= 50
    assert driver.engine.hot_count == 50
    for _ in range(310):
        driver.sleep(MS)
        assert driver.engine.hot_count <= 50
    assert [driver.outcome(execution(index)) for index in range(300)] == [Ok()] * 300
    assert driver.engine.open_count == driver.engine.hot_count == len(driver.registry.guests) == 0


def test_workflows_wait_for_room_without_spinning_while_all_others_compute() -> None:
    driver = Driver(deployed(), Limits(hot_max=1))
    driver.submit(BURNER)
    driver.submit(SERIES, 0, execution_id=execution(1))
    (away,) = of_kind(driver.effects, RunGuest)
    assert not driver.engine.has_work
    assert driver.tags(execution(1)) == ["created"]
    driver.run(Stepped(ROOT, away.generation, away.guest, away.guest.resume()))  # calls its child, and blocks
    assert driver.outcome(execution(1)) == Ok()
    finish_all(driver)
    away = of_kind(driver.effects, RunGuest)[-1]
    while driver.outcome() is None:
        step = away.guest.resume()
        driver.run(Stepped(ROOT, away.generation, away.guest, step))
        away = of_kind(driver.effects, RunGuest)[-1]
    assert driver.outcome() == Ok()


def test_a_workflow_that_submits_5000_children_lets_others_go_on_between() -> None:
    driver = Driver(deployed(), Limits(tick_events_per_execution_max=1_000))
    driver.tick(Submit(0, ROOT, FAN, json_array(5_000)))
    driver.tick(Submit(1, execution(1), SERIES, json_array(0)))
    assert driver.outcome(execution(1)) == Ok()
    asked = driver.tags().count("child_request")
    assert 0 < asked <= 2_000
    ticks = driver.ticks
    driver.run()
    assert driver.ticks - ticks >= 3
    assert driver.tags().count("child_request") == 5_000


def test_a_tick_ends_when_its_budget_is_spent() -> None:
    driver = Driver(deployed(), budget=1)
    driver.tick(*[Submit(index, execution(index), SERIES, json_array(0)) for index in range(5)])
    assert [driver.outcome(execution(index)) for index in range(5)] == [Ok(), None, None, None, None]
    driver.tick()
    assert [driver.outcome(execution(index)) for index in range(5)] == [Ok(), Ok(), None, None, None]


def test_inputs_beyond_the_units_of_a_tick_are_kept_in_order() -> None:
    driver = Driver(deployed(), Limits(tick_units_max=2))
    driver.tick(*[Submit(index, execution(index), ACT, json_array()) for index in range(5)])
    assert [answer.token for answer in of_kind(driver.effects, Answer)] == [0, 1]
    driver.run()
    assert [answer.token for answer in of_kind(driver.effects, Answer)] == [0, 1, 2, 3, 4]


def test_the_inbox_refuses_submissions_beyond_its_limit_and_never_completions() -> None:
    inbox = Inbox(calls_max=1)
    submit = Submit(0, ROOT, ACT, json_array())
    end = AttemptFinished(ROOT, "Run_1", Ok())
    inbox.offer(submit)
    with pytest.raises(InboxFull, match="1 requests of clients are waiting"):
        inbox.offer(submit)
    inbox.offer(end)
    assert inbox.admit(5) == [end, submit]
    assert not inbox


def test_a_completion_is_admitted_before_the_timeout_of_the_same_attempt() -> None:
    inbox = Inbox(calls_max=1)
    timeout = AttemptFinished(ROOT, "Run_1", Failure(FailureKind.TIMED_OUT))
    end = AttemptFinished(ROOT, "Run_1", Ok())
    inbox.offer(timeout)
    inbox.offer(end)
    assert inbox.admit(5) == [end, timeout]
    inbox.offer(timeout)
    inbox.offer(end)
    assert inbox.admit(1) == [timeout]
    assert inbox.admit(1) == [end]


# --- submissions -----------------------------------------------------------------------------------------------------


def test_a_submission_is_answered_once_created_and_exists_after_that() -> None:
    driver = Driver(deployed())
    driver.submit(ACT)
    driver.submit(ACT)
    finish_all(driver)
    driver.submit(ACT)  # it has ended, and is in the store only
    assert [answer.kind for answer in of_kind(driver.effects, Answer)] == [
        AnswerKind.CREATED,
        AnswerKind.EXISTS,
        AnswerKind.EXISTS,
    ]
    assert driver.tags() == ["created", "locked", "finished"]
    assert len(driver.starts()) == 1


def test_a_function_that_nobody_exports_is_refused_and_nothing_is_written() -> None:
    driver = Driver(deployed())
    driver.submit(FunctionName("t:acts/acts.other"))
    assert of_kind(driver.effects, Answer) == [Answer(0, AnswerKind.FUNCTION_NOT_FOUND)]
    assert driver.store.commits == 0


def test_what_is_scheduled_for_later_starts_then() -> None:
    driver = Driver(deployed())
    driver.run(Submit(0, ROOT, ACT, json_array(), scheduled_at=Instant(driver.now + 10 * MS)))
    assert driver.starts() == []
    driver.sleep(9 * MS)
    assert driver.starts() == []
    driver.sleep(1 * MS)
    assert [start.execution_id for start in driver.starts()] == [ROOT]


# --- attempts --------------------------------------------------------------------------------------------------------

RETRIES = ExecutionPolicy(retry=RetryPolicy(max_retries=2, exp_backoff_us=100 * MS))
BOOM = Failure(FailureKind.UNCATEGORIZED, "activity trap: boom")


def test_d8_a_trapping_activity_is_retried_with_doubled_waits() -> None:
    driver = Driver(deployed(activity=RETRIES))
    driver.submit(ACT)
    for wait in (100, 200):
        driver.finish(driver.starts()[-1], BOOM)
        started = len(driver.starts())
        driver.sleep(wait * MS - 1)
        assert len(driver.starts()) == started
        driver.sleep(1)
        assert len(driver.starts()) == started + 1
    driver.finish(driver.starts()[-1], BOOM)
    assert driver.outcome() == BOOM
    assert driver.tags() == ["created", *["locked", "temporarily_failed"] * 2, "locked", "finished"]


def test_a_permanent_error_and_a_final_failure_are_not_retried() -> None:
    for result, final in ((Err(Json(b'"never"'), permanent=True), False), (BOOM, True)):
        driver = Driver(deployed(activity=RETRIES))
        driver.submit(ACT)
        (start,) = driver.starts()
        driver.run(AttemptFinished(ROOT, start.run, result, final))
        assert driver.outcome() == result
        assert driver.tags() == ["created", "locked", "finished"]


def test_late_and_repeated_completions_are_dropped() -> None:
    driver = Driver(deployed(activity=RETRIES))
    driver.submit(ACT)
    (first,) = driver.starts()
    timeout = driver.end_of(first, Failure(FailureKind.TIMED_OUT))
    driver.run(timeout, driver.end_of(first))
    assert driver.tags() == ["created", "locked", "temporarily_timed_out"]
    driver.sleep(100 * MS)
    second = driver.starts()[-1]
    commits = driver.store.commits
    driver.run(driver.end_of(first))
    assert driver.store.commits == commits
    driver.run(driver.end_of(second), driver.end_of(second), timeout)
    assert driver.outcome() == Ok()
    driver.run(driver.end_of(second))
    assert driver.tags() == ["created", "locked", "temporarily_timed_out", "locked", "finished"]


def test_a_timer_of_an_earlier_wait_does_not_start_what_runs() -> None:
    driver = Driver(deployed(activity=RETRIES))
    driver.submit(ACT)
    driver.run(PendingDue(ROOT))
    assert len(driver.starts()) == 1
    driver.finish(driver.starts()[0], BOOM)
    driver.run(PendingDue(ROOT))
    assert len(driver.starts()) == 1
    driver.sleep(100 * MS)
    driver.run(PendingDue(ROOT))
    assert len(driver.starts()) == 2


def test_an_activity_that_takes_the_process_down_starts_three_times() -> None:
    driver = Driver(deployed())
    driver.submit(COUNT, 1)
    child = driver.starts()[0].execution_id
    for _ in range(3):
        driver.crash(child)
    assert len(driver.starts()) == 3
    assert driver.outcome() == Ok(json_array("Failure"))
    failure = driver.outcome(child)
    assert isinstance(failure, Failure)
    assert failure.reason == "the process died 3 times while this ran"
    assert driver.tags(child) == ["created", "locked", "locked", "locked", "finished"]
    assert driver.tags() == [*D1, "locked", "finished"]


def test_crashes_of_what_had_not_started_are_not_counted() -> None:
    driver = Driver(deployed())
    driver.submit(COUNT, 1)
    for _ in range(5):
        driver.crash()
    driver.finish(driver.starts()[-1])
    assert driver.outcome() == Ok(json_array("Ok"))


class Died(BaseException):
    """The process is gone."""


def deadly(execution_id: ExecutionId, params: Json) -> Flow:
    raise Died
    yield


def naps_then_calls(ffqn: FunctionName) -> FlowFunction:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield calls.Sleep(In(MS))
        yield calls.CallChild(ffqn, json_array())
        return Ok()

    return flow


@pytest.mark.parametrize("is_child", [False, True])
@pytest.mark.parametrize("blocking", Blocking)
def test_a_workflow_that_takes_the_process_down_in_the_tick_that_locks_it_is_parked(
    blocking: Blocking, is_child: bool
) -> None:
    """Nothing of that tick is left but its mark; so the next time it is locked in a tick of its own."""
    policy = ExecutionPolicy(blocking=blocking)
    registry = deployed()
    ffqn = registry.add_workflow("t:flows/flows.deadly", deadly, policy)
    parent = registry.add_workflow("t:flows/flows.parent", naps_then_calls(ffqn), policy)
    driver = Driver(registry)
    if is_child:
        driver.submit(parent)
        culprit = ExecutionId(f"{ROOT}.o:2-deadly_1")
    else:
        driver.run(Submit(0, ROOT, ffqn, json_array(), Instant(driver.now + MS)))
        culprit = ROOT
    deaths = 0
    driver.now = Instant(driver.now + MS)
    while True:
        with pytest.raises(Died):
            driver.run()
        deaths += 1
        driver.die(frozenset({culprit}))
        if deaths == 4:  # the first time it left nothing but its mark
            driver.run()
            break
    assert driver.tags(culprit) == ["created", "locked", "parked"]


def test_a_workflow_that_takes_the_process_down_is_parked() -> None:
    driver = Driver(deployed())
    driver.submit(BURNER)
    for _ in range(3):
        driver.crash(ROOT)
    assert driver.tags()[-1] == "parked"
    assert driver.outcome() is None
    driver.crash()
    assert driver.tags()[-1] == "parked"


# --- locks -----------------------------------------------------------------------------------------------------------


def test_a_wake_up_past_the_locks_expiry_locks_once_more() -> None:
    driver = Driver(deployed())
    driver.submit(SERIES, 3)
    driver.finish(driver.starts()[-1])
    driver.now = Instant(driver.now + 2_000 * MS)
    driver.finish(driver.starts()[-1])
    driver.finish(driver.starts()[-1])
    triple = D1[2:]
    assert driver.tags() == [*D1, *triple, "locked", *triple, "finished"]
    locks = [e for e in invariants.snapshot_of(driver.store, ROOT).log if isinstance(e.event, Locked)]
    assert [lock.event.lock_expires_at - lock.created_at for lock in locks] == [1_000 * MS] * 2


def test_interrupt_unloads_at_every_block_and_locks_at_every_wake_up() -> None:
    driver = Driver(deployed(INTERRUPT))
    driver.submit(SERIES, 3)
    assert driver.engine.hot_count == len(driver.registry.guests) == 0
    finish_all(driver)
    triple = D1[2:]
    assert driver.tags() == [*D1, "locked", *triple, "locked", *triple, "locked", "finished"]


@pytest.mark.parametrize("policy", [INTERRUPT, ExecutionPolicy(), ExecutionPolicy(lock_expiry_us=0)])
def test_a_delay_that_is_due_at_once_does_not_leave_the_tick(policy: ExecutionPolicy) -> None:
    driver = Driver(deployed(policy))
    driver.submit(NAP, 2)
    assert driver.store.commits <= 2
    finish_all(driver)
    assert driver.outcome() == Ok()
    assert [tag for tag in driver.tags() if tag != "locked"] == [
        "created",
        *["join_set_create", "delay_request", "join_next"] * 2,
        *["join_set_create", "child_request", "join_next"],
        "finished",
    ]


# --- crashes ---------------------------------------------------------------------------------------------------------


def test_d5_a_crash_while_a_child_runs_locks_both_again() -> None:
    driver = Driver(deployed())
    driver.submit(SERIES, 2)
    driver.crash(driver.starts()[0].execution_id)
    assert len(driver.starts()) == 2
    finish_all(driver)  # the completion of the first run came too late
    assert driver.outcome() == Ok()
    assert driver.tags() == [*D1, "locked", *D1[2:], "finished"]
    assert driver.tags(driver.starts()[0].execution_id) == ["created", "locked", "locked", "finished"]


def test_delays_are_armed_again_after_a_crash() -> None:
    driver = Driver(deployed())
    driver.submit(SLEEPER, 50)
    driver.crash()
    driver.sleep(49 * MS)
    assert driver.outcome() is None
    driver.sleep(1 * MS)
    assert driver.outcome() == Ok()


def test_a_request_that_nobody_saw_before_the_crash_is_found_after_it() -> None:
    driver = Driver(deployed())
    driver.submit(FAN, 0, execution_id=execution(1))
    driver.tick(Submit(0, ROOT, ABANDON, json_array(1)))
    (start,) = driver.starts()
    assert len(invariants.snapshot_of(driver.store, start.execution_id).requests) == 1
    driver.crash(start.execution_id)
    assert driver.outcome() == Ok(json_array(True))
    assert invariants.snapshot_of(driver.store, start.execution_id).requests == []


def test_a_request_for_what_waits_to_be_retried_is_found_after_a_crash() -> None:
    driver = Driver(deployed(activity=RETRIES))
    driver.tick(Submit(0, ROOT, SERIES, json_array(1)))
    (start,) = driver.starts()
    driver.finish(start, BOOM)
    request = Request(start.execution_id, driver.now, CancelRequest())
    driver.store.commit("ask", [Unit([], requests=[request])])
    driver.crash()
    assert driver.outcome(start.execution_id) == Failure(FailureKind.CANCELLED, "cancelled")
    assert invariants.snapshot_of(driver.store, start.execution_id).requests == []


# --- closing ---------------------------------------------------------------------------------------------------------


def test_closing_cancels_activities_and_delays_newest_first_and_awaits_each() -> None:
    driver = Driver(deployed())
    driver.submit(ABANDON, 2)
    first, second = driver.starts()
    assert of_kind(driver.effects, KillAttempt) == [
        KillAttempt(second.execution_id, second.run),
        KillAttempt(first.execution_id, first.run),
    ]
    for start in (second, first):
        assert driver.outcome() is None
        assert driver.tags(start.execution_id) == ["created", "locked", "cancellation_requested"]
        driver.run(driver.killed(start))
        assert driver.outcome(start.execution_id) == Failure(FailureKind.CANCELLED, "cancelled")
    assert driver.outcome() == Ok(json_array(True, True))
    assert [tag for tag in driver.tags() if tag != "locked"] == [
        "created", "join_set_create", "child_request", "child_request", "delay_request", "join_next", "join_next",
        "join_next", "finished",
    ]  # fmt: skip
    bodies = [response.body for response in invariants.snapshot_of(driver.store, ROOT).responses]
    assert [getattr(body, "delay", None) or body.child for body in bodies] == ["g:1_1", "g:1_2", "g:1_1"]
    assert bodies[0].ok is False


def test_what_is_cancelled_while_it_waits_for_the_window_never_starts() -> None:
    driver = Driver(deployed(), Limits(start_window=1))
    driver.tick(Submit(0, execution(1), ACT, json_array()))
    (blocker,) = driver.starts()
    driver.tick(Submit(0, ROOT, ABANDON, json_array(2)))
    driver.run(driver.end_of(blocker))  # frees the window in the tick of the cancellations
    assert driver.outcome() == Ok(json_array(True, True))
    assert driver.starts() == [blocker]


def test_a_cancelled_attempt_that_ends_all_the_same_is_dropped() -> None:
    driver = Driver(deployed())
    driver.tick(Submit(0, ROOT, ABANDON, json_array(1)))
    (start,) = driver.starts()
    driver.run(DelayDue(ROOT, "g:1_9"))
    assert driver.outcome(start.execution_id) is None
    driver.run(driver.end_of(start))  # the cancellation came first
    assert driver.outcome(start.execution_id) == Failure(FailureKind.CANCELLED, "cancelled")
    commits = driver.store.commits
    driver.run(driver.killed(start), driver.end_of(start))
    assert driver.store.commits == commits


# --- determinism -----------------------------------------------------------------------------------------------------


def test_a_workflow_whose_code_changed_is_parked_with_the_difference() -> None:
    registry = deployed()
    driver = Driver(registry)
    driver.submit(SERIES, 2)
    registry.add_workflow(SERIES, fan)
    driver.crash()
    driver.finish(driver.starts()[-1])
    (*_, last) = invariants.snapshot_of(driver.store, ROOT).log
    assert driver.tags()[-1] == "parked"
    assert last.event.reason == "nondeterminism detected at version 2"
    assert 'join_set: recorded "o:1-act", now "g:1"' in last.event.detail
    assert driver.registry.guests == set()
    assert driver.engine.hot_count == 0


def test_a_workflow_that_calls_what_is_not_deployed_is_parked() -> None:
    registry = deployed()
    registry.remove(ACT)
    driver = Driver(registry)
    driver.submit(SERIES, 1)
    (*_, last) = invariants.snapshot_of(driver.store, ROOT).log
    assert last.event.reason == f"no active component exports {ACT}, which it calls"
    assert driver.tags() == ["created", "parked"]


def test_every_start_names_a_locked_event() -> None:
    driver = Driver(deployed(), Limits(start_window=5))
    driver.submit(FAN, 20)
    finish_all(driver)
    assert len(driver.starts()) == 20
    for start in driver.starts():
        assert isinstance(start, StartAttempt)
        assert driver.runs(start.execution_id) == [start.run]


def test_a_tick_says_how_many_attempts_it_starts() -> None:
    driver = Driver(deployed())
    for submits in (3, 0):
        tick = driver.engine.decide(
            [Submit(0, execution(each), ACT, json_array()) for each in range(submits)], driver.now
        )
        assert tick.starts == submits
        driver.engine.settle(tick, driver.store.commit(tick.batch_id, tick.units))
