"""The replay machine: random values, log lines, closing, misuse, examples and cost. Each host call: `test_calls.py`."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.calls import Call
from obelisk.core.decisions import Answered, Blocked, Cancel, Ended, Mode, Unsettled, Write
from obelisk.core.events import (
    Created,
    JoinNext,
    JoinSetCreated,
    LogEntry,
    Origin,
    Persist,
    PersistExecutionId,
    PersistRandomString,
    PersistRandomU64,
    Scheduled,
    StubResult,
)
from obelisk.core.ids import DeploymentId, Digest, ExecutionId
from obelisk.core.instants import INSTANT_MAX, At, In, Instant, Now
from obelisk.core.machine import Machine, no_typing
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Typed
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json
from obelisk.testing.machines import LATER, NOTHING, NOW, OK, ROOT, RUN, DrivenMachine, child, delay, entries

DELAY = "Delay_01K42AJA8QHD7D3GTJAYMASFYZ"
OTHER_ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYA")
F, G = FunctionName("t:acts/acts.work"), FunctionName("t:acts/acts.rest")
ONE = Json(b"[1]")
ERR, FAILED = Err(Json(b'"no"')), Failure(FailureKind.TIMED_OUT)
SET, SUBMIT, SUBMIT_G = calls.JoinSetCreate(), calls.Submit("g:1", F, ONE), calls.Submit("g:1", G, ONE)
HOUR = calls.SubmitDelay("g:1", In(3_600))


def fits(ffqn: FunctionName, params: Json) -> Typed:
    """Whatever is called exists."""
    return Typed(params, FunctionInfo(ffqn, FunctionKind.ACTIVITY, Digest("sha256:0"), ErrForm.NONE))


# --- random values ---------------------------------------------------------------------------------------------------


def test_random_numbers_reach_both_bounds() -> None:
    live = DrivenMachine(typing=fits)
    drawn = [live.step(calls.RandomU64(1, 6)).reply for _ in range(200)]
    assert set(drawn) == {1, 2, 3, 4, 5, 6}
    events, _, _ = live.take()
    assert [event.value for event in events] == [Json(str(value).encode()) for value in drawn]


def test_random_values_are_returned_from_the_record_and_not_drawn_again() -> None:
    log = entries(
        [
            Persist(PersistRandomU64(0, 1 << 63), Json(b"42")),
            Persist(PersistRandomString(1, 9), Json(b'"recorded"')),
            Persist(PersistExecutionId(), Json(b'"%s"' % OTHER_ROOT.encode())),
            Scheduled(OTHER_ROOT, F, ONE, Now(), NOW),
        ]
    )
    replay = DrivenMachine(Mode.LIVE, log)
    assert replay.step(calls.RandomU64(0, 1 << 63)) == Answered(42)
    assert replay.step(calls.RandomString(1, 9)) == Answered("recorded")
    assert replay.step(calls.GenerateExecutionId()) == Answered(OTHER_ROOT)
    assert replay.step(calls.Schedule(F, ONE, Now())) == Answered(OTHER_ROOT)
    assert replay.take() == NOTHING


def test_what_is_drawn_after_a_replay_is_what_would_have_been_drawn() -> None:
    u64 = calls.RandomU64(0, 1 << 63)
    some = [u64, calls.RandomString(5, 9), calls.Schedule(F, ONE, Now()), calls.GenerateExecutionId(), u64]
    live = DrivenMachine(typing=fits)
    drawn = [live.step(call) for call in some]
    live.take()
    for known in range(len(some) + 1):
        replay = DrivenMachine(Mode.LIVE, live.log[:known])
        assert [replay.step(call) for call in some] == drawn
    assert len({repr(value) for value in drawn}) == len(some)


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_log_line_is_no_event_and_is_silent_during_replay() -> None:
    line = calls.Log(calls.LogLevel.INFO, "hello")
    live = DrivenMachine(typing=fits)
    assert live.step(line, SET, line) == Answered(calls.DONE)
    assert live.machine.take_writes().items == [line, Write(JoinSetCreated("g:1")), line]
    replay = DrivenMachine(Mode.LIVE, entries([JoinSetCreated("g:1")]))
    replay.step(line, SET)
    assert replay.machine.take_writes().items == []
    assert replay.step(line) == Answered(calls.DONE)
    assert replay.machine.take_writes().items == [line]


def test_a_log_line_does_not_stop_a_verification() -> None:
    verify = DrivenMachine(Mode.VERIFY)
    assert verify.step(calls.Log(calls.LogLevel.INFO, "hello")) == Answered(calls.DONE)


def test_output_is_a_line_of_the_log_too() -> None:
    written = calls.Output(calls.StdStream.STDERR, b"oh\n")
    live = DrivenMachine()
    assert live.step(written, SET) == Answered("g:1")
    assert live.machine.take_writes().items == [written, Write(JoinSetCreated("g:1"))]
    replay = DrivenMachine(Mode.LIVE, entries([JoinSetCreated("g:1")]))
    replay.step(written, SET)
    assert replay.machine.take_writes().items == []


# --- clock and seed --------------------------------------------------------------------------------------------------


def _created(**fields: Any) -> Created:
    ffqn = FunctionName("a:b/c.d")
    return Created(ffqn, Json(b"[]"), Digest("sha256:00"), DeploymentId("Dep_1"), Instant(1), **fields)


def test_a_workflows_clock_begins_with_its_creation_and_goes_on_with_its_events() -> None:
    new = Machine(ROOT, began_at=Instant(7))
    assert new.step(calls.CurrentTime(), NOW) == Answered(7)
    new.step(SET, NOW)
    assert new.step(calls.CurrentTime(), LATER) == Answered(NOW)
    log = [LogEntry(0, Instant(7), _created()), LogEntry(1, NOW, JoinSetCreated("g:1"))]
    replay = DrivenMachine(log=log)
    assert replay.step(calls.CurrentTime()) == Answered(7)
    assert replay.step(SET, calls.CurrentTime()) == Answered(NOW)
    assert new.step(calls.RandomSeed(), NOW) == replay.step(calls.RandomSeed()) == Answered(ROOT)


@pytest.mark.parametrize("first", [None, OTHER_ROOT])
def test_a_fork_has_the_clock_and_the_seed_of_what_it_was_forked_from(first: ExecutionId | None) -> None:
    middle = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYB")
    log = [LogEntry(0, Instant(70), _created(forked_from=Origin(middle, 3, Instant(7), first)))]
    fork = DrivenMachine(log=log)
    assert fork.step(calls.CurrentTime()) == Answered(7)
    assert fork.step(calls.RandomSeed()) == Answered(first or middle)


# --- closing ---------------------------------------------------------------------------------------------------------


def test_closing_cancels_in_reverse_order_and_awaits_each_member() -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET, SUBMIT, HOUR, SUBMIT_G, SUBMIT)
    live.take()
    live.deliver(child("g:1_2"))
    assert live.step(calls.JoinSetClose("g:1")) == Blocked("g:1", closing=True)
    closing = JoinNext("g:1", RUN, None, closing=True)
    assert live.take() == (
        [closing, closing],
        [True, False],
        [Cancel("g:1_3", F), Cancel("g:1_1", None), Cancel("g:1_1", F)],
    )
    live.deliver(delay("g:1_1", ok=False), child("g:1_3", FAILED))
    assert live.poll() == Blocked("g:1", closing=True)
    assert live.take() == ([closing, closing], [True, False], [])
    live.deliver(child("g:1_1"))
    assert live.poll() == Answered(calls.DONE)
    assert live.take() == NOTHING
    assert live.step(calls.Get(f"{ROOT}.g:1_3", F)) == Answered(FAILED)


def test_the_end_closes_what_is_open_newest_first() -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET, calls.JoinSetCreate("x"), SET, SUBMIT, calls.Submit("n:x", F, ONE), calls.Submit("g:2", G, ONE))
    live.take()
    for join_set, ffqn in (("g:2", G), ("n:x", F)):
        decision = live.machine.end(OK, NOW) if join_set == "g:2" else live.poll()
        assert decision == Blocked(join_set, closing=True)
        events = [JoinNext(join_set, RUN, None, closing=True)]
        assert live.take() == (events, [False], [Cancel(f"{join_set}_1", ffqn)])
        live.deliver(child(f"{join_set}_1"))
    assert live.poll() == Blocked("g:1", closing=True)
    live.take()
    live.deliver(child("g:1_1"))
    assert live.poll() == Ended(OK)
    assert live.take() == NOTHING
    assert live.poll() == Ended(OK)
    for mode in Mode:
        replay = live.reloaded(mode)
        replay.step(
            SET, calls.JoinSetCreate("x"), SET, SUBMIT, calls.Submit("n:x", F, ONE), calls.Submit("g:2", G, ONE)
        )
        assert replay.machine.end(OK, NOW) == Ended(OK)
        assert replay.take() == NOTHING


def test_the_end_of_a_workflow_without_open_sets_writes_nothing() -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET)
    live.take()
    assert live.machine.end(ERR, NOW) == Ended(ERR)
    assert live.take() == NOTHING


# --- misuse ----------------------------------------------------------------------------------------------------------

CLOSE, CLOSED = calls.JoinSetClose("g:1"), "the join set g:1 is closed"
OUT_OF_RANGE = "the schedule lies beyond the year 9999"
TOO_LATE = In(INSTANT_MAX)
LATE = In(INSTANT_MAX - NOW + 1)
"""Just too late when it is asked for."""
USES = [
    SUBMIT,
    calls.SubmitJson("g:1", F, ONE),
    HOUR,
    calls.SubmitDelay("g:1", TOO_LATE),
    calls.AwaitNext("g:1", F),
    calls.JoinNext("g:1"),
    calls.JoinNextTry("g:1"),
    CLOSE,
]
"""Every call that needs an open join set; `last-id` of a closed one has nothing to say, and says so."""


@pytest.mark.parametrize(
    ("before", "call", "reason"),
    [
        *[((), call, CLOSED) for call in USES],
        *[((SET, CLOSE), call, CLOSED) for call in USES],
        *[((SET, calls.SubmitJson("g:1", F, ONE), calls.JoinNext("g:1"), CLOSE), call, CLOSED) for call in USES],
        ((calls.CallJson(F, ONE),), calls.JoinNext("o:1-work"), "the join set o:1-work is closed"),
        ((calls.Sleep(Now()),), calls.SubmitDelay("o:1-sleep", Now()), "the join set o:1-sleep is closed"),
        ((), calls.JoinNext("nonsense"), "the join set nonsense is closed"),
        ((), calls.RandomU64(2, 1), "a random number between 2 and 1: the range is empty"),
        ((), calls.RandomString(1, 1), "a random string of 1 to below 1 characters: the range is empty"),
        *[
            ((SET,), call, OUT_OF_RANGE)
            for at in (TOO_LATE, In(1 << 80), At(Instant(-1)), At(Instant(INSTANT_MAX + 1)))
            for call in (
                calls.Sleep(at),
                calls.SubmitDelay("g:1", at),
                calls.Schedule(F, ONE, at),
                calls.ScheduleJson(OTHER_ROOT, F, ONE, at),
            )
        ],
        ((), calls.Sleep(Now(), "a b"), "'a b' has characters other than ASCII letters, digits, '-' and '/'"),
        ((), calls.Misuse("what the codec found"), "what the codec found"),
    ],
)
def test_misuse_leaves_no_trace_but_the_end_and_replays(before: tuple[Call, ...], call: Call, reason: str) -> None:
    live = DrivenMachine(typing=fits)
    for earlier in before:
        decision = live.step(earlier)
        if isinstance(decision, Blocked):
            member = f"{decision.join_set}_1"
            live.deliver(delay(member) if isinstance(earlier, calls.Sleep) else child(member))
            live.poll()
    live.take()
    ended = Ended(Failure(FailureKind.UNCATEGORIZED, f"host call refused: {reason}"))
    assert live.step(call) == ended
    assert live.take() == NOTHING
    for mode in Mode:
        replay = live.reloaded(mode)
        for earlier in before:
            replay.step(earlier)
        assert replay.step(call) == ended
        assert replay.take() == NOTHING


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (calls.Misuse("bad"), "bad"),
        (calls.JoinNext("g:2"), "the join set g:2 is closed"),
        (calls.RandomU64(2, 1), "a random number between 2 and 1: the range is empty"),
        (calls.Sleep(TOO_LATE), OUT_OF_RANGE),
        (calls.SubmitDelay("g:1", TOO_LATE), OUT_OF_RANGE),
        (calls.Schedule(F, ONE, TOO_LATE), OUT_OF_RANGE),
        (calls.ScheduleJson(OTHER_ROOT, F, ONE, TOO_LATE), OUT_OF_RANGE),
    ],
)
def test_misuse_closes_open_sets_first_and_replays_while_it_does(call: Call, reason: str) -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET, SUBMIT)
    live.take()
    assert live.step(call) == Blocked("g:1", closing=True)
    assert live.take() == ([JoinNext("g:1", RUN, None, closing=True)], [False], [Cancel("g:1_1", F)])
    for mode in Mode:
        replay = live.reloaded(mode)
        assert replay.step(SET, SUBMIT, call) == Blocked("g:1", closing=True)
        assert replay.take() == NOTHING
    live.deliver(child("g:1_1"))
    ended = Ended(Failure(FailureKind.UNCATEGORIZED, f"host call refused: {reason}"))
    assert live.poll() == ended
    for mode in Mode:
        replay = live.reloaded(mode)
        assert replay.step(SET, SUBMIT, call) == ended
        assert replay.take() == NOTHING


@pytest.mark.parametrize("call", [calls.Sleep(LATE), calls.SubmitDelay("g:1", LATE), calls.Schedule(F, ONE, LATE)])
def test_a_schedule_that_was_refused_stays_so_however_early_it_is_replayed(call: Call) -> None:
    live = DrivenMachine()
    assert live.step(SET, SUBMIT, call) == Blocked("g:1", closing=True)
    live.take()
    replay = live.reloaded()
    replay.step(SET, SUBMIT)
    assert replay.machine.step(call, Instant(0)) == Blocked("g:1", closing=True)
    assert replay.take() == NOTHING


def test_the_join_set_of_a_call_that_was_rejected_is_closed() -> None:
    live = DrivenMachine(typing=no_typing)
    refused = Failure(FailureKind.UNCATEGORIZED, "host call refused: the join set o:1-work is closed")
    assert live.step(calls.CallJson(F, ONE), calls.JoinNext("o:1-work")) == Ended(refused)


def test_a_schedule_that_was_in_range_stays_so_however_late_it_is_replayed() -> None:
    just = In(INSTANT_MAX - NOW)
    some = [SET, calls.SubmitDelay("g:1", just), calls.Schedule(F, ONE, just), calls.Sleep(just)]
    live = DrivenMachine(typing=fits)
    decision = live.step(*some)
    assert decision == Blocked("o:1-sleep", closing=False)
    live.take()
    replay = live.reloaded()
    assert [replay.machine.step(call, LATER) for call in some][-1] == decision
    assert replay.take() == NOTHING


# --- worked examples -------------------------------------------------------------------------------------------------


def test_d2_a_fan_out_awaits_in_the_order_of_arrival_and_closes_without_a_word() -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET, SUBMIT, SUBMIT, SUBMIT)
    live.take()
    live.deliver(child("g:1_3"), child("g:1_1"))
    await_next = calls.AwaitNext("g:1", F)
    assert live.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_3", OK))
    assert live.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_1", OK))
    assert live.step(await_next) == Blocked("g:1", closing=False)
    assert live.take() == ([JoinNext("g:1", RUN, F)] * 3, [True, True, False], [])
    live.deliver(child("g:1_2"))
    assert live.poll() == Answered(calls.ChildDone(f"{ROOT}.g:1_2", OK))
    assert live.machine.end(OK, NOW) == Ended(OK)
    assert live.take() == NOTHING


def test_d3_a_timeout_fires_first() -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET, SUBMIT, HOUR, calls.JoinNext("g:1"))
    live.deliver(delay("g:1_1"))
    assert live.poll() == Answered(calls.MemberDone(f"{DELAY}.g:1_1", is_delay=True, ok=True))
    live.take()
    assert live.step(calls.JoinSetClose("g:1")) == Blocked("g:1", closing=True)
    assert live.take() == ([JoinNext("g:1", RUN, None, closing=True)], [False], [Cancel("g:1_1", F)])
    live.deliver(child("g:1_1", Failure(FailureKind.CANCELLED)))
    assert live.poll() == Answered(calls.DONE)
    assert live.step(calls.Get(f"{ROOT}.g:1_1", F)) == Answered(Failure(FailureKind.CANCELLED))


def test_d4_all_processed_stays_all_processed_although_more_responses_exist_by_then() -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET, SUBMIT)
    live.deliver(child("g:1_1"))
    await_next = calls.AwaitNext("g:1", F)
    live.step(await_next)
    assert live.step(await_next) == Answered(calls.AllProcessed())
    live.step(SUBMIT)
    live.take()
    live.deliver(child("g:1_2"))
    replay = live.reloaded()
    replay.step(SET, SUBMIT)
    assert replay.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_1", OK))
    assert replay.step(await_next) == Answered(calls.AllProcessed())
    replay.step(SUBMIT)
    assert replay.take() == NOTHING
    assert replay.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_2", OK))


def test_the_clock_follows_what_was_consumed_and_never_goes_back() -> None:
    live = DrivenMachine()
    machine = live.machine
    for at, clock in ((10, 10), (5, 10), (20, 20)):
        machine.step(SET, Instant(at))
        assert machine.clock == clock
    live.step(SUBMIT, SUBMIT)
    early, late = child("g:1_1"), child("g:1_2")
    live.deliver(
        msgspec.structs.replace(early, created_at=Instant(LATER + 7)), msgspec.structs.replace(late, created_at=NOW)
    )
    assert machine.clock == NOW
    machine.step(calls.JoinNext("g:1"), Instant(30))
    assert machine.clock == LATER + 7
    machine.step(calls.JoinNext("g:1"), Instant(40))
    assert machine.clock == LATER + 7


def test_the_clock_of_a_replay_is_that_of_the_log() -> None:
    log = [LogEntry(version, Instant(at), JoinSetCreated(f"g:{version + 1}")) for version, at in enumerate((10, 5, 20))]
    replay = DrivenMachine(log=log)
    for clock in (10, 10, 20, NOW):
        replay.step(SET)
        assert replay.machine.clock == clock
    abandoned = DrivenMachine(log=log)
    abandoned.abandon(OK)
    assert abandoned.machine.clock == 20


def test_a_second_response_of_a_member_is_ignored() -> None:
    live = DrivenMachine(typing=fits)
    live.step(SET, SUBMIT, HOUR, SUBMIT)
    live.deliver(child("g:1_1"), child("g:1_1", FAILED), delay("g:1_1"))
    join_next = calls.JoinNext("g:1")
    assert live.step(join_next) == Answered(calls.MemberDone(f"{ROOT}.g:1_1", is_delay=False, ok=True, outcome=OK))
    live.deliver(child("g:1_1"))
    assert live.step(join_next) == Answered(calls.MemberDone(f"{DELAY}.g:1_1", is_delay=True, ok=True))
    assert live.step(join_next) == Blocked("g:1", closing=False)


# --- cost ------------------------------------------------------------------------------------------------------------


def fan_out(count: int) -> Iterable[Call]:
    yield SET
    yield from [SUBMIT] * count
    yield from [calls.AwaitNext("g:1", F)] * count


def tries(count: int) -> Iterable[Call]:
    yield SET
    yield from [calls.SubmitJson("g:1", F, ONE)] * count
    yield from [calls.JoinNextTry("g:1"), calls.LastOfSet("g:1")] * count
    yield from [calls.GetJson(f"{ROOT}.g:1_{index + 1}") for index in range(count)]
    yield from [calls.JoinNextTry("g:1")] * count


def mixed(count: int) -> Iterable[Call]:
    for index in range(count):
        yield calls.CallJson(F, ONE)
        yield calls.LastDirectCall()
        yield calls.LastOneOff()
        yield calls.Schedule(F, ONE, Now())
        yield calls.ScheduleJson(OTHER_ROOT, F, ONE, Now())
        yield calls.StubJson(f"{ROOT}.g:1_{index}", Json(b'{"ok":1}'))
        yield calls.GenerateExecutionId()
        yield calls.Log(calls.LogLevel.INFO, "a line")


def sets(count: int) -> Iterable[Call]:
    for index in range(count):
        yield calls.JoinSetCreate(f"{index}")
    for index in range(0, count, 2):
        yield calls.JoinSetClose(f"n:{index}")


def lines(count: int) -> Iterable[Call]:
    yield from [calls.Log(calls.LogLevel.INFO, "a line")] * count


def operations(program: Callable[[int], Iterable[Call]], count: int) -> tuple[int, int, int]:
    """Function calls, Python's and C's, of a program: live, replayed, and in mode verify beyond an empty log."""
    made = 0

    def watch(frame: object, event: str, argument: object) -> None:
        nonlocal made
        made += event in {"call", "c_call"}

    def drive(live: DrivenMachine) -> int:
        nonlocal made
        made = 0
        machine = live.machine
        gc.collect()
        gc.disable()  # what it would find, of this and of other tests, may be ended by calls
        sys.setprofile(watch)
        try:
            for call in program(count):
                decision = machine.step(call, NOW)
                if isinstance(decision, Unsettled):
                    if isinstance(call, calls.ScheduleJson):
                        machine.settle_schedule(None, NOW, exists=False)
                    else:
                        machine.settle_stub(StubResult.OK, "", NOW)
            machine.end(OK, NOW)
        finally:
            sys.setprofile(None)
            gc.enable()
        assert not machine.replaying
        return made

    def answered(*arguments: Any) -> DrivenMachine:
        driven = DrivenMachine(*arguments, typing=fits)
        if not driven.responses:
            for index in range(count):
                driven.deliver(child(f"g:1_{index + 1}"), child(f"o:{index + 1}-work_1"))
        return driven

    live = answered()
    cost = drive(live)
    live.take()
    return cost, drive(live.reloaded()), drive(answered(Mode.VERIFY))


@pytest.mark.parametrize("program", [fan_out, tries, mixed, sets, lines])
def test_a_host_call_costs_the_same_however_long_the_log_is(program: Callable[[int], Iterable[Call]]) -> None:
    few, many = operations(program, 20), operations(program, 200)
    for less, more in zip(few, many, strict=True):
        assert more <= 10 * less + 50


def test_closing_many_sets_costs_the_same_for_each() -> None:
    """What a dictionary skips is no function call, so that this has to be measured."""

    def cpu_of(count: int) -> float:
        driven = DrivenMachine(log=entries([JoinSetCreated(f"n:{index}") for index in range(count)]))
        begun = time.thread_time()
        assert driven.abandon(OK) == Ended(OK)
        return time.thread_time() - begun

    gc.collect()
    gc.disable()  # what it costs depends on what else this process has made
    try:
        few, many = (min(cpu_of(count) for _ in range(3)) for count in (2_000, 40_000))
    finally:
        gc.enable()
    assert many < 60 * few
