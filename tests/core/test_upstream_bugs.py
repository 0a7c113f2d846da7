"""Bugs of the original that concern the replay machine, as tests; the numbers are those of the list that they are from."""

from __future__ import annotations

import pytest

from obelisk.core import calls
from obelisk.core.decisions import Answered, Blocked, Diverged, Mode
from obelisk.core.events import (
    ChildRejected,
    ChildRequested,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Persist,
    PersistExecutionId,
    PersistRandomString,
    PersistRandomU64,
    RejectReason,
    TryOutcome,
)
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import At, In, Instant, Now
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.values import ErrForm, Json
from obelisk.testing.machines import NOTHING, NOW, OK, ROOT, DrivenMachine, child, entries

TOP = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYA")
F, G, GONE = FunctionName("t:acts/acts.work"), FunctionName("t:acts/acts.rest"), FunctionName("t:acts/acts.gone")
ONE, TWO = Json(b"[1]"), Json(b"[2]")
SET, NEXT, TRY = calls.JoinSetCreate(), calls.JoinNext("g:1"), calls.JoinNextTry("g:1")
DONE = Answered(calls.MemberDone(f"{ROOT}.g:1_1", is_delay=False, ok=True, outcome=OK))


def deployed(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    if ffqn == GONE:
        return Rejection(RejectReason.FUNCTION_NOT_FOUND)
    if params == TWO:
        return Rejection(RejectReason.TYPE_CHECK_ERROR, "not 2")
    return Typed(params, FunctionInfo(ffqn, FunctionKind.ACTIVITY, Digest("sha256:0"), ErrForm.NONE))


def test_1_random_numbers_reach_both_bounds_and_a_range_of_one_value_has_it() -> None:
    live = DrivenMachine()
    assert {live.step(calls.RandomU64(1, 6)).reply for _ in range(200)} == {1, 2, 3, 4, 5, 6}
    assert live.step(calls.RandomU64(3, 3)) == Answered(3)
    assert live.step(calls.RandomU64(0, 0)) == Answered(0)
    u64_max = (1 << 64) - 1
    assert live.step(calls.RandomU64(u64_max, u64_max)) == Answered(u64_max)
    assert 0 <= live.step(calls.RandomU64(0, u64_max)).reply <= u64_max
    assert {len(live.step(calls.RandomString(2, 5)).reply) for _ in range(200)} == {2, 3, 4}


def test_3_join_next_after_join_next_try_found_all_is_all_processed_and_does_not_hang() -> None:
    live = DrivenMachine()
    live.step(SET, calls.Submit("g:1", F, ONE))
    live.take()
    live.deliver(child("g:1_1"))
    assert live.step(TRY) == DONE
    assert live.step(NEXT) == Answered(calls.AllProcessed())
    assert live.step(calls.AwaitNext("g:1", F)) == Answered(calls.AllProcessed())
    assert live.take().events == [
        JoinNextTry("g:1", TryOutcome.FOUND),
        JoinNextTooMany("g:1"),
        JoinNextTooMany("g:1", F),
    ]
    for mode in Mode:
        replay = live.reloaded(mode)
        assert replay.step(SET, calls.Submit("g:1", F, ONE), TRY) == DONE
        assert replay.step(NEXT) == Answered(calls.AllProcessed())
        assert replay.step(calls.AwaitNext("g:1", F)) == Answered(calls.AllProcessed())
        assert replay.take() == NOTHING


def test_3_join_next_after_join_next_try_waits_for_the_rest_only() -> None:
    live = DrivenMachine()
    live.step(SET, calls.Submit("g:1", F, ONE), calls.Submit("g:1", F, ONE))
    live.deliver(child("g:1_1"))
    assert live.step(TRY) == DONE
    assert live.step(NEXT) == Blocked("g:1", closing=False)
    live.deliver(child("g:1_2"))
    assert live.poll() == Answered(calls.MemberDone(f"{ROOT}.g:1_2", is_delay=False, ok=True, outcome=OK))
    assert live.step(calls.JoinSetClose("g:1")) == Answered(calls.DONE)


@pytest.mark.parametrize(
    ("ffqn", "params", "reason", "message", "reply"),
    [
        (GONE, ONE, RejectReason.FUNCTION_NOT_FOUND, "", calls.FunctionNotFound()),
        (F, TWO, RejectReason.TYPE_CHECK_ERROR, "not 2", calls.TypeCheckError("not 2")),
    ],
)
def test_4_join_next_after_a_rejected_submit_json_is_all_processed_and_does_not_hang(
    ffqn: FunctionName, params: Json, reason: RejectReason, message: str, reply: calls.Reply
) -> None:
    submit, close = calls.SubmitJson("g:1", ffqn, params), calls.JoinSetClose("g:1")
    live = DrivenMachine(typing=deployed)
    assert [live.step(call) for call in (SET, submit, NEXT, TRY, close)] == [
        Answered("g:1"),
        Answered(reply),
        Answered(calls.AllProcessed()),
        Answered(calls.AllProcessed()),
        Answered(calls.DONE),
    ]
    assert live.take().events == [
        JoinSetCreated("g:1"),
        ChildRejected("g:1_1", ffqn, params, reason, message),
        JoinNextTooMany("g:1"),
        JoinNextTry("g:1", TryOutcome.ALL_PROCESSED),
    ]
    for mode in Mode:
        replay = live.reloaded(mode)
        assert replay.step(SET, submit, NEXT) == Answered(calls.AllProcessed())
        assert replay.step(TRY, close) == Answered(calls.DONE)
        assert replay.take() == NOTHING


def test_4_a_rejected_submit_json_among_others_is_not_waited_for() -> None:
    live = DrivenMachine(typing=deployed)
    live.step(SET, calls.SubmitJson("g:1", F, TWO), calls.SubmitJson("g:1", F, ONE), calls.SubmitJson("g:1", F, TWO))
    assert ChildRequested("g:1_2", F, ONE) in live.take().events
    live.deliver(child("g:1_2"))
    assert live.step(NEXT) == Answered(calls.MemberDone(f"{ROOT}.g:1_2", is_delay=False, ok=True, outcome=OK))
    assert live.step(NEXT) == Answered(calls.AllProcessed())


@pytest.mark.parametrize(
    ("was", "now", "detail"),
    [
        (calls.Schedule(F, ONE, Now()), calls.Schedule(G, ONE, Now()), f'ffqn: recorded "{F}", now "{G}"'),
        (calls.Schedule(F, ONE, Now()), calls.Schedule(F, TWO, Now()), "params: recorded [1], now [2]"),
        (
            calls.Schedule(F, ONE, In(5)),
            calls.Schedule(F, ONE, At(Instant(NOW + 5))),
            'schedule_at: recorded {"type":"in","us":5}, now {"type":"at","at":1005}',
        ),
        (
            calls.ScheduleJson(TOP, F, ONE, Now()),
            calls.ScheduleJson(TOP, G, ONE, Now()),
            f'ffqn: recorded "{F}", now "{G}"',
        ),
        (
            calls.ScheduleJson(TOP, F, ONE, Now()),
            calls.ScheduleJson(TOP, F, TWO, Now()),
            "params: recorded [1], now [2]",
        ),
        (
            calls.ScheduleJson(TOP, F, TWO, Now()),
            calls.ScheduleJson(TOP, G, TWO, Now()),
            f'ffqn: recorded "{F}", now "{G}"',
        ),
        (calls.CallChild(F, ONE, "x"), calls.CallChild(G, ONE, "x"), f'ffqn: recorded "{F}", now "{G}"'),
        (calls.CallJson(F, ONE), calls.CallJson(F, TWO), "params: recorded [1], now [2]"),
    ],
)
def test_10_function_and_params_are_compared(was: calls.Call, now: calls.Call, detail: str) -> None:
    live = DrivenMachine(typing=deployed)
    live.step(was)
    if isinstance(was, calls.ScheduleJson) and was.params == ONE:
        live.machine.settle_schedule(None, NOW, exists=False)
    live.take()
    for mode in Mode:
        decision = live.reloaded(mode).step(now)
        assert isinstance(decision, Diverged)
        assert decision.divergence.detail == detail


def test_11_random_values_are_returned_and_not_compared() -> None:
    """So that the generator may change: no release draws these."""
    log = entries(
        [
            Persist(PersistRandomU64(1, 6), Json(b"99")),
            Persist(PersistRandomString(1, 3), Json(b'"of another generator"')),
            Persist(PersistExecutionId(), Json(b'"%s"' % TOP.encode())),
        ]
    )
    for mode in Mode:
        replay = DrivenMachine(mode, log)
        assert replay.step(calls.RandomU64(1, 6)) == Answered(99)
        assert replay.step(calls.RandomString(1, 3)) == Answered("of another generator")
        assert replay.step(calls.GenerateExecutionId()) == Answered(TOP)
        assert replay.take() == NOTHING
