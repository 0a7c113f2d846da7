"""Replay: what is learnt from running a guest against a log."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from obelisk.core import calls, transitions
from obelisk.core.batch import Snapshot
from obelisk.core.decisions import Write
from obelisk.core.events import (
    CancellationRequested,
    ChildRejected,
    ChildRequested,
    Created,
    DelayRequested,
    Event,
    Finished,
    JoinNext,
    JoinSetCreated,
    Locked,
    LogEntry,
    Persist,
    PersistRandomU64,
    RejectReason,
    Scheduled,
    Stubbed,
    StubResult,
)
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import INSTANT_MAX, In, Instant, Now
from obelisk.core.names import FunctionName
from obelisk.core.nondeterminism import Divergence
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.replay import IDLE_CALLS_MAX, Replayed, before, replay, replayable
from obelisk.core.responses import Response
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.testing.guests import BURN, Flow, FlowFunction, PythonGuest, Trap
from obelisk.testing.machines import LATER, NOW, OK, ROOT, child, delay, unasked

FLOW, F = FunctionName("t:flows/flows.run"), FunctionName("t:acts/acts.work")
TOP = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYA")
ONE, RESULT = Json(b"[1]"), Json(b'{"ok":1}')
CREATED = Created(FLOW, Json(b"[7]"), Digest("sha256:0"), "Dep_1", NOW)
LOCKED = Locked("Exr_1", "Run_1", Instant(7))
CANCELLED = Failure(FailureKind.CANCELLED, "cancelled")
LINE = calls.Log(calls.LogLevel.INFO, "a line")
SET, SUBMIT, NEXT, CLOSE = (
    calls.JoinSetCreate(),
    calls.Submit("g:1", F, ONE),
    calls.JoinNext("g:1"),
    calls.JoinSetClose("g:1"),
)
BEGUN = (CREATED, LOCKED, JoinSetCreated("g:1"), ChildRequested("g:1_1", F, ONE), JoinNext("g:1", NOW))


def log_of(*events: Event) -> list[LogEntry]:
    return [LogEntry(version, NOW, event) for version, event in enumerate(events)]


def deployed(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    return Typed(params, FunctionInfo(ffqn, FunctionKind.ACTIVITY, Digest("sha256:0"), ErrForm.NONE))


class Watched(PythonGuest):
    """Whether it was closed."""

    is_closed = False

    def close(self) -> None:
        super().close()
        self.is_closed = True


def replayed(
    flow: FlowFunction, events: Iterable[Event] = (CREATED,), responses: Iterable[Response] = (), **options: object
) -> Replayed:
    guest = Watched(ROOT, flow)
    numbered = [msgspec.structs.replace(response, seq=seq) for seq, response in enumerate(responses, 1)]
    try:
        return replay(ROOT, log_of(*events), numbered, guest, LATER, **{"typing": unasked, **options})
    finally:
        assert guest.is_closed


def usual(execution_id: ExecutionId, params: Json) -> Flow:
    yield LINE
    yield SET
    yield SUBMIT
    yield NEXT
    yield LINE
    number = yield calls.RandomU64(1, 6)
    yield CLOSE
    yield LINE
    return Ok(Json(b"%d" % number))


# --- what a replay comes to ------------------------------------------------------------------------------------------


def test_a_guest_gets_its_parameters_and_id() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        assert (execution_id, params) == (ROOT, CREATED.params)
        assert (yield calls.CurrentExecutionId()) == ROOT
        return OK

    assert replayed(flow) == Replayed(OK)


def test_it_waits() -> None:
    assert replayed(usual, BEGUN) == Replayed()


def test_it_ends() -> None:
    events = (*BEGUN, LOCKED, Persist(PersistRandomU64(1, 6), Json(b"9")), Finished(Ok(Json(b"9"))))
    assert replayed(usual, events, [child("g:1_1")]) == Replayed(Ok(Json(b"9")), lines=(LINE,))


def test_it_ends_as_failed() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield SET
        raise Trap("unreachable")

    expected = Failure(FailureKind.UNCATEGORIZED, "workflow trap: unreachable")
    assert replayed(flow, (CREATED, LOCKED, JoinSetCreated("g:1"))) == Replayed(expected)


def test_it_is_refused_a_host_call() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield calls.JoinNext("g:1")
        return OK

    expected = Failure(FailureKind.UNCATEGORIZED, "host call refused: the join set g:1 is closed")
    assert replayed(flow) == Replayed(expected)


def test_a_schedule_that_was_refused_at_the_end_is_refused_again_although_the_clock_went_back() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield calls.Sleep(In(INSTANT_MAX - NOW + 1))
        return OK

    refused = Failure(FailureKind.UNCATEGORIZED, "host call refused: the schedule lies beyond the year 9999")
    log, guest = log_of(CREATED, LOCKED, Finished(refused)), PythonGuest(ROOT, flow)
    assert replay(ROOT, log, [], guest, Instant(0)) == Replayed(refused)


def test_it_leaves_its_log() -> None:
    events = (CREATED, LOCKED, JoinSetCreated("g:1"), LOCKED, ChildRequested("g:1_1", F, Json(b"[2]")))
    assert replayed(usual, events) == Replayed(divergence=Divergence(4, "params: recorded [2], now [1]"))


def test_it_ends_before_its_log() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield SET
        return OK

    told = 'the log goes on with child_request (child "g:1_1", ffqn "t:acts/acts.work", params [1]), now the workflow does not'
    assert replayed(flow, BEGUN) == Replayed(divergence=Divergence(3, told))


def test_it_waits_before_the_end_of_its_log() -> None:
    events = (*BEGUN, Persist(PersistRandomU64(1, 6), Json(b"9")))
    assert replayed(usual, events, []).divergence is not None


# --- what would come next --------------------------------------------------------------------------------------------


def test_one_new_call_is_shown_and_no_more() -> None:
    assert replayed(usual) == Replayed(new=((Write(JoinSetCreated("g:1")),),), lines=(LINE,))
    once = replayed(usual, BEGUN, [child("g:1_1")])
    assert [[type(write.event) for write in group] for group in once.new] == [[Persist]]
    assert (once.outcome, once.lines) == (None, (LINE,))


def test_several_new_calls_are_shown_each_with_all_that_it_writes() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield LINE
        yield SET
        yield calls.Get("nonsense", F)
        yield LINE
        yield SUBMIT
        yield calls.CallJson(F, ONE)
        return OK

    groups = (
        (Write(JoinSetCreated("g:1")),),
        (Write(ChildRequested("g:1_1", F, ONE)),),
        (
            Write(JoinSetCreated("o:1-work")),
            Write(ChildRequested("o:1-work_1", F, ONE)),
            Write(JoinNext("o:1-work", Instant(0), F)),
        ),
    )
    for count in (1, 2, 3):
        lines = (LINE,) * min(count, 2)
        assert replayed(flow, calls_max=count, typing=deployed) == Replayed(new=groups[:count], lines=lines)
    assert replayed(flow, calls_max=99, typing=deployed) == Replayed(new=groups, lines=(LINE, LINE))  # it would wait


def test_new_calls_end_with_the_workflow() -> None:
    shown = replayed(usual, BEGUN, [child("g:1_1")], calls_max=9)
    ((write,),) = shown.new
    assert shown == Replayed(Ok(write.event.value), new=((write,),), lines=(LINE, LINE))


def test_the_end_closes_join_sets_and_that_is_shown_as_one_call() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield SET
        yield SUBMIT
        yield calls.SubmitDelay("g:1", In(5))
        return OK

    events = (
        CREATED,
        JoinSetCreated("g:1"),
        ChildRequested("g:1_1", F, ONE),
        DelayRequested("g:1_1", In(5), Instant(9)),
    )
    closing = JoinNext("g:1", Instant(0), None, closing=True)
    assert replayed(flow, events, calls_max=9) == Replayed(new=((Write(closing),),))
    assert replayed(flow, events, [delay("g:1_1")], calls_max=9) == Replayed(
        new=((Write(closing, answered=True), Write(closing)),)
    )
    both = [delay("g:1_1"), child("g:1_1")]
    closed = (Write(closing, answered=True),) * 2
    assert replayed(flow, events, both) == Replayed(new=(closed,))
    assert replayed(flow, events, both, calls_max=2) == Replayed(OK, new=(closed,))


def test_what_depends_on_another_execution_is_shown_as_if_all_were_well_and_is_the_last() -> None:
    schedule, stub = calls.ScheduleJson(TOP, F, ONE, Now()), calls.StubJson(f"{ROOT}.g:1_1", RESULT)

    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield schedule
        yield stub
        return OK

    scheduled = Scheduled(TOP, F, ONE, Now(), LATER)
    for count in (1, 9):
        shown = replayed(flow, calls_max=count, typing=deployed)
        assert shown == Replayed(new=((Write(scheduled),),), unsettled=schedule)
    shown = replayed(flow, (CREATED, scheduled), calls_max=9)
    assert shown.unsettled == stub
    ((write,),) = shown.new
    assert isinstance(write.event, Stubbed)
    assert (write.event.target, write.event.result) == ("g:1_1", StubResult.OK)
    assert replayed(flow, (CREATED, scheduled, write.event), calls_max=9) == Replayed(OK)


def test_nothing_is_deployed_unless_it_is_said() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield SET
        assert (yield calls.SubmitJson("g:1", F, ONE)) == calls.FunctionNotFound()
        return OK

    log, guest = log_of(CREATED, JoinSetCreated("g:1")), PythonGuest(ROOT, flow)
    rejected = ChildRejected("g:1_1", F, ONE, RejectReason.FUNCTION_NOT_FOUND)
    assert replay(ROOT, log, [], guest, LATER, calls_max=2) == Replayed(OK, new=((Write(rejected),),))


def test_log_lines_within_the_log_are_not_shown_and_those_beyond_it_are() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        for number in range(3):
            yield calls.Log(calls.LogLevel.INFO, f"before {number}")
            yield calls.JoinSetCreate(f"{number}")
        yield calls.Log(calls.LogLevel.INFO, "last")
        return Err()

    def line(text: str) -> calls.Log:
        return calls.Log(calls.LogLevel.INFO, text)

    events = [JoinSetCreated(f"n:{number}") for number in range(3)]
    assert replayed(flow, (CREATED, *events)) == Replayed(Err(), lines=(line("last"),))
    shown = replayed(flow, (CREATED, *events[:1]), calls_max=9)
    assert shown.lines == (line("before 1"), line("before 2"), line("last"))
    assert replayed(flow, (CREATED, *events[:1])).lines == (line("before 1"),)


# --- giving up -------------------------------------------------------------------------------------------------------


def test_it_gives_up_a_guest_that_computes_for_too_long() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield LINE
        while True:
            yield BURN

    slices = iter([True] * 5 + [False])
    assert replayed(flow, may_go_on=lambda: next(slices)) == Replayed(lines=(LINE,), gave_up=True)


def test_a_guest_that_computes_for_long_goes_on_while_it_may() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        for _ in range(3):
            yield BURN
        yield SET
        yield BURN
        return OK

    assert replayed(flow, (CREATED, JoinSetCreated("g:1"))) == Replayed(OK)


def test_it_gives_up_a_guest_whose_host_calls_leave_no_trace() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield SET
        while True:
            yield calls.LastOneOff()
            yield calls.LastOfSet("g:1")

    assert replayed(flow, idle_calls_max=50, calls_max=2) == Replayed(
        new=((Write(JoinSetCreated("g:1")),),), gave_up=True
    )
    assert replayed(flow, (CREATED, JoinSetCreated("g:1")), idle_calls_max=50) == Replayed(gave_up=True)
    assert IDLE_CALLS_MAX > 100_000


def test_host_calls_that_leave_no_trace_are_counted_between_those_that_do() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        for number in range(20):
            for _ in range(5):
                yield LINE
            yield calls.JoinSetCreate(f"{number}")
        return OK

    shown = replayed(flow, (CREATED, *(JoinSetCreated(f"n:{n}") for n in range(10))), idle_calls_max=5, calls_max=99)
    assert (shown.outcome, shown.gave_up, len(shown.new), len(shown.lines)) == (OK, False, 10, 50)


def test_a_guest_that_raises_is_closed() -> None:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield SET
        raise LookupError

    guest = Watched(ROOT, flow)
    with pytest.raises(LookupError):
        replay(ROOT, log_of(CREATED, JoinSetCreated("g:1")), [], guest, LATER)
    assert guest.is_closed


# --- cancelled logs --------------------------------------------------------------------------------------------------


def test_what_follows_a_cancellation_is_not_the_guests() -> None:
    closing = JoinNext("g:1", NOW, None, closing=True)
    log = log_of(*BEGUN, CancellationRequested(), closing, Finished(CANCELLED))
    assert replayable(log) == log[: len(BEGUN)]
    assert replayable(log[: len(BEGUN)]) == log[: len(BEGUN)]
    twice = log_of(CREATED, CancellationRequested(CANCELLED), closing, CancellationRequested(), Finished(CANCELLED))
    assert replayable(twice) == twice[:1]


def test_a_cancelled_log_replays_up_to_where_it_was_cancelled() -> None:
    closing = JoinNext("g:1", NOW, None, closing=True)
    submitted = (*BEGUN[:-1], ChildRequested("g:1_2", F, ONE))

    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        yield SET
        yield SUBMIT
        yield SUBMIT
        yield NEXT
        return OK

    ends = [child("g:1_2", CANCELLED), child("g:1_1", CANCELLED)]
    waiting = (*submitted, JoinNext("g:1", NOW), CancellationRequested(), closing, Finished(CANCELLED))
    assert replayed(flow, waiting) == Replayed()
    shown = replayed(flow, (*submitted, CancellationRequested(), closing, closing, Finished(CANCELLED)), ends)
    assert shown == Replayed(new=((Write(JoinNext("g:1", Instant(0)), answered=True),),))
    diverged = replayed(flow, (*BEGUN, CancellationRequested(), Finished(CANCELLED)))
    assert diverged.divergence is not None and diverged.divergence.version == 4


# --- as it was before ------------------------------------------------------------------------------------------------


def test_what_was_before_knows_no_answers_to_what_comes_later() -> None:
    end = Finished(Ok(ONE))
    log = log_of(*BEGUN[:4], DelayRequested("g:1_1", In(5), LATER), JoinNext("g:1", NOW), JoinNext("g:1", NOW), end)
    responses = [child("g:1_1"), delay("g:1_1")]
    snapshot = Snapshot(transitions.create(TOP, CREATED, NOW, None), log, responses, [], [])
    for version, known in ((1, 0), (3, 0), (4, 1), (5, 2), (7, 2)):
        part = before(snapshot, version)
        assert part.log == log[:version]
        assert part.responses == responses[:known]
    assert before(snapshot, 8).log == log[:7]  # its end may be another one
    cancelled = msgspec.structs.replace(snapshot, log=log_of(*BEGUN, CancellationRequested(), *BEGUN[2:]))
    assert before(cancelled, 8).log == log_of(*BEGUN)
