"""Every host call: whether it blocks, is answered, or still waits; each time with nothing extra.

A case is a call after some others. It is run live, answered early and late, replayed, and verified; what is written and
decided is compared to the end each time. Replays must not look up what the record knows: their typing refuses to be asked.
"""

from __future__ import annotations

import hashlib
import typing
from typing import Any

import msgspec
import pytest

from obelisk.core import calls, prng
from obelisk.core.calls import Call
from obelisk.core.decisions import Answered, Blocked, Cancel, Decision, Diverged, Mode, Stopped, Unsettled, Write
from obelisk.core.events import (
    ChildRejected,
    ChildRequested,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Persist,
    PersistExecutionId,
    PersistRandomString,
    PersistRandomU64,
    RejectReason,
    Scheduled,
    ScheduleRejected,
    Stubbed,
    StubResult,
    TryOutcome,
)
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import At, In, Instant, Now
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.responses import DelayFinished, Response
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.testing.machines import (
    LATER,
    NOTHING,
    NOW,
    OK,
    ROOT,
    RUN,
    DrivenMachine,
    Taken,
    child,
    delay,
    unasked,
)

DELAY = "Delay_01K42AJA8QHD7D3GTJAYMASFYZ"
OTHER_ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYA")
F, G, S = FunctionName("t:acts/acts.work"), FunctionName("t:acts/acts.rest"), FunctionName("t:acts/stubs.approve")
GONE = FunctionName("t:gone/gone.work")
ONE, GIVEN, BAD = Json(b"[1]"), Json(b"[1.0]"), Json(b'["x"]')
ERR, FAILED = Err(Json(b'"no"')), Failure(FailureKind.TIMED_OUT)
OTHER = "n:other"
FORMS = {F: ErrForm.STRING, G: ErrForm.VARIANT, S: ErrForm.NONE}
NOT_FOUND, UNFIT = RejectReason.FUNCTION_NOT_FOUND, RejectReason.TYPE_CHECK_ERROR
WHY = "parameter 1: expected a number"


def deployed(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    """Three functions of one number."""
    if ffqn not in FORMS:
        return Rejection(NOT_FOUND)
    try:
        (number,) = msgspec.json.decode(params, type=list[float])
    except msgspec.ValidationError:
        return Rejection(UNFIT, WHY)
    kind = FunctionKind.STUB if ffqn == S else FunctionKind.ACTIVITY
    return Typed(Json(b"[%d]" % number), FunctionInfo(ffqn, kind, Digest("sha256:0"), FORMS[ffqn]))


class Case(msgspec.Struct, frozen=True):
    """`call` after `before`: writes `events`; blocks on `join_set` until `responses` came, then gets `reply`."""

    name: str
    call: Call
    events: tuple[HistoryEvent, ...] = ()
    reply: Any = None
    before: tuple[Call, ...] = ()
    join_set: str | None = None
    """None: it does not block; then `responses` are there before."""
    responses: tuple[Response, ...] = ()
    closing: bool = False
    cancels: tuple[Cancel, ...] = ()

    @property
    def decision(self) -> Decision:
        return Answered(self.reply)


SET, SUBMIT, SUBMIT_G = calls.JoinSetCreate(), calls.Submit("g:1", F, ONE), calls.Submit("g:1", G, ONE)
HOUR = calls.SubmitDelay("g:1", In(3_600))
SUBMIT_JSON = calls.SubmitJson("g:1", F, ONE)
FIRST = f"{ROOT}.g:1_1"


def one_off(name: str, member: HistoryEvent, ffqn: FunctionName | None = None) -> tuple[HistoryEvent, ...]:
    return (JoinSetCreated(name), member, JoinNext(name, RUN, ffqn))


def direct(outcome: Ok | Err | Failure) -> Case:
    events = one_off("o:1-work", ChildRequested("o:1-work_1", F, ONE), F)
    name = f"direct call, {type(outcome).__name__}"
    return Case(name, calls.CallChild(F, ONE), events, outcome, (), "o:1-work", (child("o:1-work_1", outcome),))


def direct_json(outcome: Ok | Err | Failure) -> Case:
    return Case(
        f"call-json, {type(outcome).__name__}",
        calls.CallJson(F, ONE),
        one_off("o:1-work", ChildRequested("o:1-work_1", F, ONE, form=ErrForm.STRING), F),
        calls.JsonDone(outcome, ErrForm.STRING),
        (),
        "o:1-work",
        (child("o:1-work_1", outcome),),
    )


BLOCKING = [
    direct(OK),
    direct(ERR),
    direct(FAILED),
    direct_json(OK),
    direct_json(ERR),
    direct_json(FAILED),
    Case(
        "call-json of a stub activity, with other spelling and a timeout",
        calls.CallJson(S, GIVEN, 7),
        one_off("o:1-approve", ChildRequested("o:1-approve_1", S, ONE, GIVEN, timeout_us=7), S),
        calls.JsonDone(OK, ErrForm.NONE),
        (),
        "o:1-approve",
        (child("o:1-approve_1"),),
    ),
    Case(
        "call-json after one that was rejected",
        calls.CallJson(F, ONE),
        one_off("o:2-work", ChildRequested("o:2-work_1", F, ONE, form=ErrForm.STRING), F),
        calls.JsonDone(OK, ErrForm.STRING),
        (calls.CallJson(F, BAD),),
        "o:2-work",
        (child("o:2-work_1"),),
    ),
    Case(
        "second direct call",
        calls.CallChild(G, ONE),
        one_off("o:2-rest", ChildRequested("o:2-rest_1", G, ONE), G),
        OK,
        (calls.Sleep(Now()),),
        "o:2-rest",
        (child("o:2-rest_1"),),
    ),
    Case(
        "invoke",
        calls.CallChild(F, ONE, "my/label-1"),
        one_off("o:1-my/label-1", ChildRequested("o:1-my/label-1_1", F, ONE), F),
        OK,
        (),
        "o:1-my/label-1",
        (child("o:1-my/label-1_1"),),
    ),
    Case(
        "invoke with an empty label",
        calls.CallChild(F, ONE, ""),
        one_off("o:1-", ChildRequested("o:1-_1", F, ONE), F),
        OK,
        (),
        "o:1-",
        (child("o:1-_1"),),
    ),
    Case(
        "sleep in",
        calls.Sleep(In(500)),
        one_off("o:1-sleep", DelayRequested("o:1-sleep_1", In(500), Instant(1_500))),
        calls.WokenAt(Instant(1_500)),
        (),
        "o:1-sleep",
        (delay("o:1-sleep_1"),),
    ),
    Case(
        "sleep until the past",
        calls.Sleep(At(Instant(7))),
        one_off("o:1-sleep", DelayRequested("o:1-sleep_1", At(Instant(7)), Instant(7))),
        calls.WokenAt(Instant(7)),
        (),
        "o:1-sleep",
        (delay("o:1-sleep_1"),),
    ),
    Case(
        "sleep now",
        calls.Sleep(Now()),
        one_off("o:1-sleep", DelayRequested("o:1-sleep_1", Now(), NOW)),
        calls.WokenAt(NOW),
        (),
        "o:1-sleep",
        (delay("o:1-sleep_1"),),
    ),
    Case(
        "named sleep, cancelled",
        calls.Sleep(In(500), "nap"),
        one_off("o:1-nap", DelayRequested("o:1-nap_1", In(500), Instant(1_500))),
        calls.DelayCancelled(),
        (),
        "o:1-nap",
        (delay("o:1-nap_1", ok=False),),
    ),
    Case(
        "named sleep",
        calls.Sleep(In(500), "my/nap-2"),
        one_off("o:1-my/nap-2", DelayRequested("o:1-my/nap-2_1", In(500), Instant(1_500))),
        calls.WokenAt(Instant(1_500)),
        (),
        "o:1-my/nap-2",
        (delay("o:1-my/nap-2_1"),),
    ),
    Case(
        "sleep with an empty name",
        calls.Sleep(In(500), ""),
        one_off("o:1-", DelayRequested("o:1-_1", In(500), Instant(1_500))),
        calls.WokenAt(Instant(1_500)),
        (),
        "o:1-",
        (delay("o:1-_1"),),
    ),
    Case(
        "await-next",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.ChildDone(ExecutionId(f"{ROOT}.g:1_1"), OK),
        (SET, SUBMIT),
        "g:1",
        (child("g:1_1"),),
    ),
    Case(
        "await-next takes the lowest seq, whichever was submitted first",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.ChildDone(ExecutionId(f"{ROOT}.g:1_2"), FAILED),
        (SET, SUBMIT, SUBMIT),
        "g:1",
        (child("g:1_2", FAILED), child("g:1_1")),
    ),
    Case(
        "await-next meets another function",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.FunctionMismatch(F, G, ExecutionId(f"{ROOT}.g:1_1"), is_delay=False),
        (SET, SUBMIT_G),
        "g:1",
        (child("g:1_1"),),
    ),
    Case(
        "await-next meets a delay",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.FunctionMismatch(F, None, f"{DELAY}.g:1_1", is_delay=True),
        (SET, HOUR),
        "g:1",
        (delay("g:1_1"),),
    ),
    *[
        Case(
            f"join-next, child {type(outcome).__name__}",
            calls.JoinNext("g:1"),
            (JoinNext("g:1", RUN),),
            calls.MemberDone(ExecutionId(FIRST), is_delay=False, ok=outcome is OK, outcome=outcome),
            (SET, SUBMIT),
            "g:1",
            (child("g:1_1", outcome),),
        )
        for outcome in (OK, ERR, FAILED)
    ],
    Case(
        "join-next, child that was given as JSON",
        calls.JoinNext("g:1"),
        (JoinNext("g:1", RUN),),
        calls.MemberDone(ExecutionId(FIRST), is_delay=False, ok=False, outcome=FAILED, form=ErrForm.STRING),
        (SET, SUBMIT_JSON),
        "g:1",
        (child("g:1_1", FAILED),),
    ),
    Case(
        "join-next, child whose function's form the guest knows",
        calls.JoinNext("g:1"),
        (JoinNext("g:1", RUN),),
        calls.MemberDone(ExecutionId(FIRST), is_delay=False, ok=True, outcome=OK, form=ErrForm.VARIANT),
        (SET, calls.Submit("g:1", G, ONE, ErrForm.VARIANT)),
        "g:1",
        (child("g:1_1"),),
    ),
    Case(
        "await-next, child that was given as JSON",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.ChildDone(ExecutionId(FIRST), ERR),
        (SET, SUBMIT_JSON),
        "g:1",
        (child("g:1_1", ERR),),
    ),
    *[
        Case(
            f"join-next, delay {ok}",
            calls.JoinNext("g:1"),
            (JoinNext("g:1", RUN),),
            calls.MemberDone(f"{DELAY}.g:1_1", is_delay=True, ok=ok),
            (SET, HOUR),
            "g:1",
            (delay("g:1_1", ok=ok),),
        )
        for ok in (True, False)
    ],
    Case(
        "close with one child outstanding",
        calls.JoinSetClose("g:1"),
        (JoinNext("g:1", RUN, None, closing=True),),
        calls.DONE,
        (SET, SUBMIT),
        "g:1",
        (child("g:1_1"),),
        closing=True,
        cancels=(Cancel("g:1_1", F),),
    ),
    Case(
        "close with one delay outstanding",
        calls.JoinSetClose("g:1"),
        (JoinNext("g:1", RUN, None, closing=True),),
        calls.DONE,
        (SET, HOUR),
        "g:1",
        (delay("g:1_1", ok=False),),
        closing=True,
        cancels=(Cancel("g:1_1", None),),
    ),
]

AWAITED = (SET, SUBMIT, calls.JoinNext("g:1"))
NONE, WORK = calls.NoneYet(), calls.CallChild(F, ONE)
TRY = calls.JoinNextTry("g:1")
DRAWN = [prng.random_execution_id(ROOT, draw) for draw in range(3)]


def tried(outcome: TryOutcome) -> tuple[HistoryEvent, ...]:
    return (JoinNextTry("g:1", outcome),)


def rejected(reason: RejectReason, params: Json = ONE, ffqn: FunctionName = F, index: int = 1) -> ChildRejected:
    return ChildRejected(f"g:1_{index}", ffqn, params, reason, WHY if reason is UNFIT else "")


READY = [
    Case("join-set-create", SET, (JoinSetCreated("g:1"),), "g:1"),
    Case("second join-set-create", SET, (JoinSetCreated("g:2"),), "g:2", (SET,)),
    Case("join-set-create-named", calls.JoinSetCreate("a/B-1"), (JoinSetCreated("n:a/B-1"),), "n:a/B-1"),
    Case("join-set-create-named, empty", calls.JoinSetCreate(""), (JoinSetCreated("n:"),), "n:"),
    Case("a name like a generated one", calls.JoinSetCreate("1"), (JoinSetCreated("n:1"),), "n:1", (SET,)),
    Case("a name that is taken", calls.JoinSetCreate("x"), (), calls.Conflict(), (calls.JoinSetCreate("x"),)),
    Case(
        "a name whose set is closed",
        calls.JoinSetCreate("x"),
        (),
        calls.Conflict(),
        (calls.JoinSetCreate("x"), calls.JoinSetClose("n:x")),
    ),
    Case(
        "an invalid name",
        calls.JoinSetCreate("a_b"),
        (),
        calls.InvalidName("'a_b' has characters other than ASCII letters, digits, '-' and '/'"),
    ),
    Case(
        "invoke with an invalid label",
        calls.CallChild(F, ONE, "a.b"),
        (),
        calls.InvalidName("'a.b' has characters other than ASCII letters, digits, '-' and '/'"),
    ),
    Case("submit", SUBMIT, (ChildRequested("g:1_1", F, ONE),), f"{ROOT}.g:1_1", (SET,)),
    Case(
        "submit of what the guest does not know all of",
        calls.Submit("g:1", G, ONE, None),
        (ChildRequested("g:1_1", G, ONE, form=ErrForm.VARIANT),),
        FIRST,
        (SET,),
    ),
    Case("second submit", SUBMIT_G, (ChildRequested("g:1_2", G, ONE),), f"{ROOT}.g:1_2", (SET, SUBMIT, HOUR)),
    Case("submit-delay", HOUR, (DelayRequested("g:1_1", In(3_600), Instant(4_600)),), f"{DELAY}.g:1_1", (SET, SUBMIT)),
    Case(
        "await-next of an empty set",
        calls.AwaitNext("g:1", F),
        (JoinNextTooMany("g:1", F),),
        calls.AllProcessed(),
        (SET,),
    ),
    Case("join-next of an empty set", calls.JoinNext("g:1"), (JoinNextTooMany("g:1"),), calls.AllProcessed(), (SET,)),
    Case("join-next past the end", calls.JoinNext("g:1"), (JoinNextTooMany("g:1"),), calls.AllProcessed(), AWAITED),
    Case("get", calls.Get(f"{ROOT}.g:1_1", F), (), OK, AWAITED),
    Case("get after close", calls.Get(f"{ROOT}.g:1_1", F), (), OK, (SET, SUBMIT, calls.JoinSetClose("g:1"))),
    Case(
        "get as another function",
        calls.Get(f"{ROOT}.g:1_1", G),
        (),
        calls.FunctionMismatch(G, F, ExecutionId(f"{ROOT}.g:1_1"), is_delay=False),
        AWAITED,
    ),
    Case("get before awaiting", calls.Get(f"{ROOT}.g:1_1", F), (), calls.NotProcessed(), (SET, SUBMIT)),
    Case("get of a stranger", calls.Get("nonsense", F), (), calls.NotProcessed(), AWAITED),
    Case("close of an empty set", calls.JoinSetClose("g:1"), (), calls.DONE, (SET,)),
    Case("close of a set that was awaited", calls.JoinSetClose("g:1"), (), calls.DONE, AWAITED),
    Case("execution-id-current", calls.CurrentExecutionId(), (), str(ROOT)),
    Case("random-u64 of one value", calls.RandomU64(3, 3), (Persist(PersistRandomU64(3, 3), Json(b"3")),), 3),
    Case(
        "random-string of no letters", calls.RandomString(0, 1), (Persist(PersistRandomString(0, 1), Json(b'""')),), ""
    ),
    Case(
        "execution-id-generate",
        calls.GenerateExecutionId(),
        (Persist(PersistExecutionId(), Json(b'"%s"' % DRAWN[0].encode())),),
        DRAWN[0],
    ),
    Case(
        "second execution-id-generate",
        calls.GenerateExecutionId(),
        (Persist(PersistExecutionId(), Json(b'"%s"' % DRAWN[1].encode())),),
        DRAWN[1],
        (calls.RandomU64(1, 6),),
    ),
    # in JSON
    Case("submit-json", SUBMIT_JSON, (ChildRequested("g:1_1", F, ONE, form=ErrForm.STRING),), FIRST, (SET,)),
    Case(
        "submit-json of a stub activity, with other spelling and a timeout",
        calls.SubmitJson("g:1", S, GIVEN, 7),
        (ChildRequested("g:1_1", S, ONE, GIVEN, timeout_us=7),),
        FIRST,
        (SET, HOUR),
    ),
    Case(
        "submit-json of a function that is not there",
        calls.SubmitJson("g:1", GONE, GIVEN),
        (rejected(NOT_FOUND, GIVEN, GONE),),
        calls.FunctionNotFound(),
        (SET,),
    ),
    Case(
        "submit-json of other parameters, with a timeout",
        calls.SubmitJson("g:1", F, BAD, 7),
        (msgspec.structs.replace(rejected(UNFIT, BAD), timeout_us=7),),
        calls.TypeCheckError(WHY),
        (SET,),
    ),
    Case(
        "what was rejected has its number",
        SUBMIT_JSON,
        (ChildRequested("g:1_3", F, ONE, form=ErrForm.STRING),),
        f"{ROOT}.g:1_3",
        (SET, calls.SubmitJson("g:1", GONE, ONE), SUBMIT),
    ),
    Case(
        "call-json of a function that is not there",
        calls.CallJson(GONE, ONE),
        (JoinSetCreated("o:1-work"), ChildRejected("o:1-work_1", GONE, ONE, NOT_FOUND)),
        calls.FunctionNotFound(),
    ),
    Case(
        "call-json of other parameters, with a timeout",
        calls.CallJson(F, BAD, 7),
        (JoinSetCreated("o:1-work"), ChildRejected("o:1-work_1", F, BAD, UNFIT, WHY, 7)),
        calls.TypeCheckError(WHY),
    ),
    Case(
        "call-json of what no function is called", calls.CallJson("t:acts/acts.a_b", ONE), (), calls.FunctionNotFound()
    ),
    Case(
        "call-json of an empty name",
        calls.CallJson("", ONE),
        (JoinSetCreated("o:1-"), ChildRejected("o:1-_1", "", ONE, NOT_FOUND)),
        calls.FunctionNotFound(),
    ),
    Case(
        "call-json of a huge name",
        calls.CallJson("x" * 100_000, ONE),
        (
            JoinSetCreated(f"o:1-{'x' * 100_000}"),
            ChildRejected(f"o:1-{'x' * 100_000}_1", "x" * 100_000, ONE, NOT_FOUND),
        ),
        calls.FunctionNotFound(),
    ),
    Case(
        "get-result-json",
        calls.GetJson(FIRST),
        (),
        calls.JsonDone(OK, ErrForm.STRING),
        (SET, SUBMIT_JSON, calls.JoinNext("g:1")),
    ),
    Case(
        "get-result-json after close, of a child that the guest typed",
        calls.GetJson(FIRST),
        (),
        calls.JsonDone(OK, ErrForm.VARIANT),
        (SET, calls.Submit("g:1", G, ONE, ErrForm.VARIANT), calls.JoinSetClose("g:1")),
    ),
    Case(
        "get-result-json of a direct call",
        calls.GetJson(f"{ROOT}.o:1-work_1"),
        (),
        calls.JsonDone(OK, ErrForm.STRING),
        (calls.CallChild(F, ONE, form=ErrForm.STRING),),
    ),
    Case(
        "get-result-json of call-json",
        calls.GetJson(f"{ROOT}.o:1-work_1"),
        (),
        calls.JsonDone(OK, ErrForm.STRING),
        (calls.CallJson(F, ONE),),
    ),
    Case("get-result-json before awaiting", calls.GetJson(FIRST), (), calls.NotProcessed(), (SET, SUBMIT_JSON)),
    Case(
        "get-result-json of what was rejected",
        calls.GetJson(FIRST),
        (),
        calls.NotProcessed(),
        (SET, calls.SubmitJson("g:1", F, BAD)),
    ),
    *[
        Case(
            f"get-result-json of {what}",
            calls.GetJson(what),
            (),
            calls.NotProcessed(),
            (SET, HOUR, calls.JoinNext("g:1")),
        )
        for what in ("nonsense", "", ROOT, FIRST, OTHER_ROOT, f"{OTHER_ROOT}.g:1_1", f"{DELAY}.g:1_1")
    ],
    # without waiting
    Case(
        "join-next-try, child",
        TRY,
        tried(TryOutcome.FOUND),
        calls.MemberDone(FIRST, is_delay=False, ok=False, outcome=FAILED),
        (SET, SUBMIT),
        responses=(child("g:1_1", FAILED),),
    ),
    Case(
        "join-next-try, child that was given as JSON, of several",
        TRY,
        tried(TryOutcome.FOUND),
        calls.MemberDone(f"{ROOT}.g:1_2", is_delay=False, ok=True, outcome=OK, form=ErrForm.STRING),
        (SET, SUBMIT, SUBMIT_JSON),
        responses=(child("g:1_2"), child("g:1_1")),
    ),
    *[
        Case(
            f"join-next-try, delay {ok}",
            TRY,
            tried(TryOutcome.FOUND),
            calls.MemberDone(f"{DELAY}.g:1_1", is_delay=True, ok=ok),
            (SET, SUBMIT, HOUR),
            responses=(delay("g:1_1", ok=ok),),
        )
        for ok in (True, False)
    ],
    Case("join-next-try, pending", TRY, tried(TryOutcome.PENDING), NONE, (SET, SUBMIT)),
    Case(
        "join-next-try, pending although another set has a response",
        TRY,
        tried(TryOutcome.PENDING),
        NONE,
        (SET, SUBMIT),
        responses=(Response(0, LATER, OTHER, DelayFinished(f"{OTHER}_1", ok=True)),),
    ),
    Case("join-next-try of an empty set", TRY, tried(TryOutcome.ALL_PROCESSED), calls.AllProcessed(), (SET,)),
    Case("join-next-try past the end", TRY, tried(TryOutcome.ALL_PROCESSED), calls.AllProcessed(), AWAITED),
    Case(
        "join-next-try where all was rejected",
        TRY,
        tried(TryOutcome.ALL_PROCESSED),
        calls.AllProcessed(),
        (SET, calls.SubmitJson("g:1", F, BAD)),
    ),
    # what was last
    Case("last-id of a set of which nothing was awaited", calls.LastOfSet("g:1"), (), NONE, (SET, SUBMIT)),
    Case("last-id", calls.LastOfSet("g:1"), (), calls.MemberId(FIRST, is_delay=False), AWAITED),
    Case(
        "last-id after all was processed",
        calls.LastOfSet("g:1"),
        (),
        calls.MemberId(FIRST, is_delay=False),
        (*AWAITED, calls.JoinNext("g:1"), TRY),
    ),
    Case(
        "last-id, delay",
        calls.LastOfSet("g:1"),
        (),
        calls.MemberId(f"{DELAY}.g:1_1", is_delay=True),
        (SET, HOUR, calls.JoinNext("g:1")),
    ),
    Case(
        "last-id after another set was awaited",
        calls.LastOfSet("g:1"),
        (),
        calls.MemberId(FIRST, is_delay=False),
        (*AWAITED, WORK, SET, calls.SubmitDelay("g:2", Now()), calls.JoinNext("g:2")),
    ),
    Case("last-id of a closed set", calls.LastOfSet("g:1"), (), NONE, (*AWAITED, calls.JoinSetClose("g:1"))),
    Case("last-direct-call-id without a call", calls.LastDirectCall(), (), NONE, (calls.Sleep(Now()), *AWAITED)),
    Case(
        "last-direct-call-id",
        calls.LastDirectCall(),
        (),
        calls.MemberId(f"{ROOT}.o:2-rest_1", is_delay=False),
        (WORK, calls.CallJson(G, ONE), calls.Sleep(Now()), calls.CallJson(F, BAD)),
    ),
    Case(
        "last-direct-call-id, invoke",
        calls.LastDirectCall(),
        (),
        calls.MemberId(f"{ROOT}.o:1-me_1", is_delay=False),
        (calls.CallChild(F, ONE, "me"),),
    ),
    Case("last-oneoff-id without a call", calls.LastOneOff(), (), NONE, (calls.CallJson(F, BAD), *AWAITED)),
    Case(
        "last-oneoff-id", calls.LastOneOff(), (), calls.MemberId(f"{ROOT}.o:1-work_1", is_delay=False), (WORK, *AWAITED)
    ),
    Case(
        "last-oneoff-id, call-json",
        calls.LastOneOff(),
        (),
        calls.MemberId(f"{ROOT}.o:2-rest_1", is_delay=False),
        (calls.Sleep(Now()), calls.CallJson(G, ONE)),
    ),
    Case(
        "last-oneoff-id, sleep",
        calls.LastOneOff(),
        (),
        calls.MemberId(f"{DELAY}.o:2-nap_1", is_delay=True),
        (WORK, calls.Sleep(Now(), "nap")),
    ),
    # top-level executions
    Case(
        "schedule",
        calls.Schedule(F, ONE, In(5)),
        (Scheduled(DRAWN[0], F, ONE, In(5), Instant(NOW + 5)),),
        DRAWN[0],
    ),
    Case("schedule now", calls.Schedule(F, ONE, Now()), (Scheduled(DRAWN[0], F, ONE, Now(), NOW),), DRAWN[0]),
    Case(
        "second schedule, in the past",
        calls.Schedule(F, ONE, At(Instant(7))),
        (Scheduled(DRAWN[2], F, ONE, At(Instant(7)), Instant(7)),),
        DRAWN[2],
        (calls.Schedule(F, ONE, In(5)), calls.GenerateExecutionId()),
    ),
    Case(
        "schedule-json of a function that is not there",
        calls.ScheduleJson(OTHER_ROOT, GONE, GIVEN, In(5)),
        (ScheduleRejected(OTHER_ROOT, GONE, GIVEN, In(5), NOT_FOUND),),
        calls.FunctionNotFound(),
    ),
    Case(
        "schedule-json of a stub activity",
        calls.ScheduleJson(OTHER_ROOT, S, ONE, In(5)),
        (ScheduleRejected(OTHER_ROOT, S, ONE, In(5), NOT_FOUND),),
        calls.FunctionNotFound(),
    ),
    Case(
        "schedule-json of other parameters, with a timeout",
        calls.ScheduleJson(OTHER_ROOT, F, BAD, In(5), 7),
        (ScheduleRejected(OTHER_ROOT, F, BAD, In(5), UNFIT, WHY, 7),),
        calls.TypeCheckError(WHY),
    ),
    *[
        Case(
            f"schedule-json as {derived}",
            calls.ScheduleJson(derived, F, ONE, In(5)),
            (),
            calls.TypeCheckError(f"{derived} is a derived id; only top-level executions are scheduled"),
        )
        for derived in (FIRST, f"{OTHER_ROOT}.g:1_1", f"{DELAY}.g:1_1")
    ],
]


class Settled(msgspec.Struct, frozen=True):
    """`call` depends on another execution: what it writes and is replied, once `found` is known."""

    name: str
    call: calls.Stub | calls.StubJson | calls.ScheduleJson
    found: tuple[StubResult, str] | tuple[str | None, bool]
    """What became of a result, with a message; or of a schedule: conflict, and whether it exists."""
    event: HistoryEvent
    reply: Any
    before: tuple[Call, ...] = ()

    def settle(self, live: DrivenMachine) -> Decision:
        match self.found:
            case StubResult() as result, message:
                return live.machine.settle_stub(result, message, NOW)
            case conflict, exists:
                return live.machine.settle_schedule(conflict, NOW, exists=exists)


def retval(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


SCHEDULE_JSON = calls.ScheduleJson(OTHER_ROOT, F, ONE, In(5))
STUB_OK, STUB_JSON = calls.Stub(FIRST, S, OK), calls.StubJson(FIRST, Json(b'{"ok":55}'))
NEPHEW, UNCLE = f"{FIRST}.o:2-work_1", f"{OTHER_ROOT}.g:1_1"
SETTLED = [
    Settled(
        "schedule-json",
        SCHEDULE_JSON,
        (None, False),
        Scheduled(OTHER_ROOT, F, ONE, In(5), Instant(NOW + 5)),
        calls.DONE,
    ),
    Settled(
        "schedule-json under the own id, with other spelling and a timeout",
        calls.ScheduleJson(ROOT, F, GIVEN, Now(), 7),
        (None, False),
        Scheduled(ROOT, F, ONE, Now(), NOW, GIVEN, 7),
        calls.DONE,
    ),
    Settled(
        "schedule-json of what exists",
        SCHEDULE_JSON,
        (None, True),
        Scheduled(OTHER_ROOT, F, ONE, In(5), Instant(NOW + 5)),
        calls.DONE,
    ),
    Settled(
        "schedule-json under an id that is taken",
        calls.ScheduleJson(OTHER_ROOT, F, GIVEN, In(5), 7),
        ("it is taken", True),
        ScheduleRejected(OTHER_ROOT, F, GIVEN, In(5), UNFIT, "it is taken", 7),
        calls.TypeCheckError("it is taken"),
    ),
    *[
        Settled(
            f"{what}, {found}",
            call,
            (found, "it does not fit" if found is StubResult.TYPE_CHECK_ERROR else ""),
            Stubbed(
                "g:1_1", retval(b'{"ok":55}'), found, "it does not fit" if found is StubResult.TYPE_CHECK_ERROR else ""
            ),
            reply,
            (SET, calls.Submit("g:1", S, ONE)),
        )
        for what, call in (("stub", STUB_OK), ("stub-json", STUB_JSON))
        for found, reply in (
            (StubResult.OK, calls.DONE),
            (StubResult.EXECUTION_NOT_FOUND, calls.ExecutionNotFound()),
            (StubResult.TYPE_CHECK_ERROR, calls.TypeCheckError("it does not fit")),
            (StubResult.CONFLICT, calls.Conflict()),
        )
    ],
    *[
        Settled(
            f"stub with {text!r}",
            calls.Stub(FIRST, S, outcome),
            (StubResult.OK, ""),
            Stubbed("g:1_1", retval(text), StubResult.OK),
            calls.DONE,
        )
        for outcome, text in (
            (Ok(), b'{"ok":null}'),
            (Err(), b'{"err":null}'),
            (ERR, b'{"err":"no"}'),
            (Err(Json(b'"no"'), permanent=True), b'{"err":"no"}'),
        )
    ],
    *[
        Settled(
            f"{type(call).__name__} of {target}",
            call,
            (StubResult.EXECUTION_NOT_FOUND, ""),
            Stubbed(written, retval(b'{"ok":55}'), StubResult.EXECUTION_NOT_FOUND),
            calls.ExecutionNotFound(),
        )
        for target, written in (
            (NEPHEW, "g:1_1.o:2-work_1"),
            (UNCLE, UNCLE),
            (ROOT, ROOT),
            (f"{ROOT}1.g:1_1", f"{ROOT}1.g:1_1"),
            (f"{DELAY}.g:1_1", f"{DELAY}.g:1_1"),
        )
        for call in (calls.Stub(target, S, OK), calls.StubJson(target, Json(b'{"ok":55}')))
    ],
]


def test_the_tables_have_every_host_call() -> None:
    covered = {type(case.call) for case in (*BLOCKING, *READY, *SETTLED)}
    assert covered == set(typing.get_args(Call)) - {
        calls.Log,
        calls.Output,
        calls.CurrentTime,
        calls.RandomSeed,
        calls.Misuse,
    }  # see test_machine.py


# --- driving ---------------------------------------------------------------------------------------------------------


def prepared(case: Case | Settled) -> DrivenMachine:
    """After the calls before; what they wait for comes at once."""
    live = DrivenMachine(typing=deployed)
    for call in case.before:
        decision = live.step(call)
        live.take()
        if isinstance(decision, Blocked):
            member = f"{decision.join_set}_1"
            is_child = any(
                isinstance(entry.event, ChildRequested) and entry.event.child == member for entry in live.log
            )
            live.deliver(child(member) if is_child else delay(member))
            assert isinstance(live.poll(), Answered)
    live.take()
    return live


def called(case: Case) -> tuple[DrivenMachine, Decision]:
    """After the call; `responses` come after it if it blocks."""
    live = prepared(case)
    if case.join_set is None:
        live.deliver(*case.responses)
    return live, live.step(case.call)


def written(case: Case, *, answered: bool = False) -> Taken:
    return Taken([*case.events], [answered and isinstance(event, JoinNext) for event in case.events], [])


def replayed(live: DrivenMachine, case: Case | Settled) -> Decision:
    for call in case.before:
        assert isinstance(live.step(call), Answered)
    return live.step(case.call)


blocking = pytest.mark.parametrize("case", BLOCKING, ids=lambda case: case.name)
ready = pytest.mark.parametrize("case", READY, ids=lambda case: case.name)
any_case = pytest.mark.parametrize("case", BLOCKING + READY, ids=lambda case: case.name)
settled = pytest.mark.parametrize("case", SETTLED, ids=lambda case: case.name)
both_modes = pytest.mark.parametrize("mode", Mode)


@blocking
def test_it_blocks(case: Case) -> None:
    live, decision = called(case)
    assert decision == Blocked(case.join_set, case.closing)
    assert live.take() == written(case)._replace(cancels=[*case.cancels])


@blocking
def test_it_still_waits(case: Case) -> None:
    live, _ = called(case)
    live.take()
    live.deliver(Response(0, LATER, OTHER, DelayFinished(f"{OTHER}_1", ok=True)))
    assert live.poll() == Blocked(case.join_set, case.closing)
    assert live.take() == NOTHING
    for mode in Mode:
        replay = live.reloaded(mode)
        assert replayed(replay, case) == Blocked(case.join_set, case.closing)
        assert replay.take() == NOTHING


@blocking
def test_it_is_answered_later(case: Case) -> None:
    live, _ = called(case)
    live.take()
    live.deliver(*case.responses)
    assert live.poll() == case.decision
    assert live.take() == NOTHING
    assert live.machine.clock == LATER


@blocking
def test_it_is_answered_at_once(case: Case) -> None:
    live = prepared(case)
    live.deliver(*case.responses)
    assert live.step(case.call) == case.decision
    assert live.take() == written(case, answered=True)


@ready
def test_it_does_not_block(case: Case) -> None:
    live, decision = called(case)
    assert decision == case.decision
    assert live.take() == written(case)


@any_case
@both_modes
def test_it_replays_to_the_same_answer_and_writes_nothing(case: Case, mode: Mode) -> None:
    live, _ = called(case)
    live.take()
    if case.join_set is not None:
        live.deliver(*case.responses)
    replay = live.reloaded(mode, unasked if case.events else deployed)
    assert replayed(replay, case) == case.decision
    assert not replay.machine.replaying
    assert replay.take() == NOTHING


@any_case
def test_verify_stops_at_the_first_new_event_and_says_what_would_come_of_it(case: Case) -> None:
    live = prepared(case)
    if case.join_set is None:
        live.deliver(*case.responses)
    verify = live.reloaded(Mode.VERIFY, deployed)
    would = case.decision if case.join_set is None else Blocked(case.join_set, case.closing)
    assert replayed(verify, case) == (Stopped(would) if case.events else would)
    assert verify.take() == written(case)._replace(cancels=[*case.cancels])


@any_case
def test_its_log_does_not_replay_without_the_call(case: Case) -> None:
    if case.events and not case.closing:  # the end closes too
        live = prepared(case)
        version = len(live.log)
        if case.join_set is None:
            live.deliver(*case.responses)
        live.step(case.call)
        live.take()
        replay = live.reloaded()
        for call in case.before:
            replay.step(call)
        decision = replay.machine.end(Ok(), NOW)
        assert isinstance(decision, Diverged)
        assert decision.divergence.version == version
        assert replay.take() == NOTHING


@any_case
def test_a_log_that_ends_within_the_call_goes_on_with_the_rest_of_it(case: Case) -> None:
    """A log is written call by call, but a fork may begin anywhere."""
    live, decision = called(case)
    live.take()
    known = len(live.log) - len(case.events)
    for kept in range(1, len(case.events)):
        fork = DrivenMachine(Mode.LIVE, live.log[: known + kept], live.responses, deployed)
        assert replayed(fork, case) == decision
        assert fork.take().events == [*case.events[kept:]]


# --- what depends on another execution -------------------------------------------------------------------------------


@settled
def test_it_is_not_settled_and_writes_nothing(case: Settled) -> None:
    live = prepared(case)
    assert live.step(case.call) == Unsettled(case.call)
    assert live.take() == NOTHING
    again = live.reloaded(typing=deployed)  # torn down meanwhile: it asks again
    assert replayed(again, case) == Unsettled(case.call)
    assert again.take() == NOTHING


@settled
def test_it_is_settled(case: Settled) -> None:
    live = prepared(case)
    live.step(case.call)
    assert case.settle(live) == Answered(case.reply)
    exists = isinstance(case.event, Scheduled) and case.found[1]
    assert live.machine.take_writes().items == [Write(case.event, exists=exists)]


@settled
@both_modes
def test_what_was_settled_is_not_found_out_again(case: Settled, mode: Mode) -> None:
    live = prepared(case)
    live.step(case.call)
    case.settle(live)
    live.take()
    replay = live.reloaded(mode)
    assert replayed(replay, case) == Answered(case.reply)
    assert not replay.machine.replaying
    assert replay.take() == NOTHING


@settled
def test_verify_shows_what_is_not_settled_as_if_all_were_well(case: Settled) -> None:
    verify = prepared(case).reloaded(Mode.VERIFY, deployed)
    assert replayed(verify, case) == Stopped(Unsettled(case.call))
    (event,) = verify.take().events
    if isinstance(case.event, Stubbed):
        assert event == msgspec.structs.replace(case.event, result=StubResult.OK, message="")
    else:
        assert isinstance(event, Scheduled)
        assert event.execution_id == case.call.execution_id


@settled
def test_its_log_does_not_replay_without_the_settled_call(case: Settled) -> None:
    live = prepared(case)
    version = len(live.log)
    live.step(case.call)
    case.settle(live)
    live.take()
    replay = live.reloaded()
    for call in case.before:
        replay.step(call)
    decision = replay.machine.end(Ok(), NOW)
    assert isinstance(decision, Diverged)
    assert decision.divergence.version == version


# --- what was found stays so -----------------------------------------------------------------------------------------


def test_join_next_try_is_on_replay_as_recorded_whatever_has_arrived_since() -> None:
    live = DrivenMachine()
    assert live.step(SET, SUBMIT, TRY) == Answered(NONE)
    live.deliver(child("g:1_1", ERR))
    assert live.step(TRY) == Answered(calls.MemberDone(FIRST, is_delay=False, ok=False, outcome=ERR))
    assert live.step(TRY) == Answered(calls.AllProcessed())
    live.step(SUBMIT)
    live.take()
    live.deliver(child("g:1_2"))
    for mode in Mode:
        replay = live.reloaded(mode)
        assert replay.step(SET, SUBMIT, TRY) == Answered(NONE)
        assert replay.step(TRY) == Answered(calls.MemberDone(FIRST, is_delay=False, ok=False, outcome=ERR))
        assert replay.step(TRY) == Answered(calls.AllProcessed())
        replay.step(SUBMIT)
        assert replay.take() == NOTHING
        found = Answered(calls.MemberDone(f"{ROOT}.g:1_2", is_delay=False, ok=True, outcome=OK))
        assert replay.step(TRY) == (found if mode is Mode.LIVE else Stopped(found))


def test_what_was_rejected_stays_rejected_although_it_is_deployed_since() -> None:
    some = [SET, SUBMIT_JSON, calls.CallJson(F, ONE), SCHEDULE_JSON]
    live = DrivenMachine()  # nothing is deployed
    assert [live.step(call) for call in some] == [Answered("g:1"), *[Answered(calls.FunctionNotFound())] * 3]
    live.take()
    replay = live.reloaded(typing=deployed)
    assert [replay.step(call) for call in some] == [Answered("g:1"), *[Answered(calls.FunctionNotFound())] * 3]
    assert replay.take() == NOTHING
    assert replay.step(SUBMIT_JSON) == Answered(f"{ROOT}.g:1_2")


def test_what_was_accepted_stays_accepted_although_it_is_deployed_no_more() -> None:
    live = DrivenMachine(typing=deployed)
    live.step(SET, SUBMIT_JSON, SCHEDULE_JSON)
    live.machine.settle_schedule(None, NOW, exists=False)
    live.step(calls.CallJson(F, GIVEN))
    live.take()
    replay = live.reloaded()
    assert replay.step(SET, SUBMIT_JSON) == Answered(FIRST)
    assert replay.step(SCHEDULE_JSON) == Answered(calls.DONE)
    assert replay.step(calls.CallJson(F, GIVEN)) == Blocked("o:1-work", closing=False)
    assert replay.take() == NOTHING
