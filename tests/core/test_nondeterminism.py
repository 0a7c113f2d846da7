"""Nondeterminism: what of a call counts, how a difference is told, and what may differ."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.calls import Call
from obelisk.core.decisions import Answered, Blocked, Diverged, Mode, Unsettled
from obelisk.core.events import (
    ChildRejected,
    ChildRequested,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Locked,
    LogEntry,
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
from obelisk.core.nondeterminism import SHOWN_MAX, difference, left_over, same
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.values import NO_VALUE, Err, ErrForm, Json
from obelisk.testing.machines import NOTHING, NOW, OK, ROOT, RUN, DrivenMachine, child, entries

F, G = FunctionName("t:acts/acts.work"), FunctionName("t:acts/acts.rest")
TOP, OTHER = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYA"), ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYB")
ONE, TWO, GIVEN, BAD = Json(b"[1]"), Json(b"[2]"), Json(b"[1.0]"), Json(b'["x"]')
RESULT = Json(b'{"ok":1}')
HASH, OTHER_HASH, ERR_HASH = (
    f"sha256:{hashlib.sha256(text).hexdigest()}" for text in (b'{"ok":1}', b'{"ok":2}', b'{"err":2}')
)
SET, SUBMIT, SUBMIT_G = calls.JoinSetCreate(), calls.Submit("g:1", F, ONE), calls.Submit("g:1", G, ONE)
HOUR, TRY = calls.SubmitDelay("g:1", In(3_600)), calls.JoinNextTry("g:1")
JSON, REJECTED = calls.SubmitJson("g:1", F, ONE), calls.SubmitJson("g:1", F, BAD)
SCHEDULE, STUB = calls.ScheduleJson(TOP, F, ONE, Now()), calls.StubJson(f"{ROOT}.g:1_1", RESULT)
NOT_FOUND, UNFIT = RejectReason.FUNCTION_NOT_FOUND, RejectReason.TYPE_CHECK_ERROR


def deployed(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    """Any function of numbers."""
    if params == BAD:
        return Rejection(UNFIT, "expected a number")
    canonical = ONE if params == GIVEN else params
    return Typed(canonical, FunctionInfo(ffqn, FunctionKind.ACTIVITY, Digest("sha256:0"), ErrForm.STRING))


# --- one event -------------------------------------------------------------------------------------------------------

COUNTS: list[tuple[HistoryEvent, dict[str, Any]]] = [
    (JoinSetCreated("g:1"), {"join_set": "g:2"}),
    (ChildRequested("g:1_1", F, ONE), {"child": "g:1_2", "ffqn": G, "params": TWO, "timeout_us": 7}),
    (ChildRejected("g:1_1", F, ONE, UNFIT), {"child": "g:1_2", "ffqn": G, "params": TWO, "timeout_us": 7}),
    (DelayRequested("g:1_1", Now(), NOW), {"delay": "g:1_2", "schedule_at": At(NOW)}),
    (JoinNext("g:1", RUN), {"join_set": "g:2", "ffqn": F, "closing": True}),
    (JoinNextTooMany("g:1"), {"join_set": "g:2", "ffqn": F}),
    (JoinNextTry("g:1", TryOutcome.FOUND), {"join_set": "g:2"}),
    (Persist(PersistRandomU64(1, 6), Json(b"3")), {"kind": PersistRandomU64(1, 7)}),
    (Persist(PersistRandomU64(1, 6), Json(b"3")), {"kind": PersistRandomU64(0, 6)}),
    (Persist(PersistRandomString(1, 6), Json(b'"a"')), {"kind": PersistRandomString(1, 7)}),
    (Persist(PersistExecutionId(), Json(b'"E_"')), {"kind": PersistRandomString(1, 7)}),
    (
        Scheduled(TOP, F, ONE, Now(), NOW),
        {"execution_id": OTHER, "ffqn": G, "params": TWO, "schedule_at": In(0), "timeout_us": 7},
    ),
    (
        ScheduleRejected(TOP, F, ONE, Now(), UNFIT),
        {"execution_id": OTHER, "ffqn": G, "params": TWO, "schedule_at": In(0), "timeout_us": 7},
    ),
    (Stubbed("g:1_1", HASH, StubResult.OK), {"target": "g:1_2", "retval_hash": OTHER_HASH}),
]
"""An event of each kind, and another value for each field that counts."""

DOES_NOT: list[tuple[HistoryEvent, dict[str, Any]]] = [
    (ChildRequested("g:1_1", F, ONE), {"form": ErrForm.STRING}),
    (ChildRejected("g:1_1", F, ONE, UNFIT), {"reason": NOT_FOUND, "message": "why"}),
    (DelayRequested("g:1_1", Now(), NOW), {"expires_at": Instant(77)}),
    (JoinNext("g:1", RUN), {"run_expires_at": Instant(77)}),
    (JoinNextTry("g:1", TryOutcome.FOUND), {"outcome": TryOutcome.PENDING}),
    (Persist(PersistRandomU64(1, 6), Json(b"3")), {"value": Json(b"4")}),
    (Scheduled(TOP, F, ONE, Now(), NOW), {"scheduled_at": Instant(77)}),
    (ScheduleRejected(TOP, F, ONE, Now(), UNFIT), {"reason": NOT_FOUND, "message": "why"}),
    (Stubbed("g:1_1", HASH, StubResult.OK), {"result": StubResult.CONFLICT, "message": "why"}),
]
"""An event of each kind that has such, and another value for each field that does not count."""


def changes(table: list[tuple[HistoryEvent, dict[str, Any]]]) -> list[Any]:
    return [
        pytest.param(event, field, value, id=f"{type(event).__name__}.{field}")
        for event, others in table
        for field, value in others.items()
    ]


def shown(value: object) -> str:
    return bytes(value).decode() if isinstance(value, Json) else msgspec.json.encode(value).decode()


def test_the_tables_have_every_field_of_every_kind() -> None:
    named = {(type(event), field) for event, others in (*COUNTS, *DOES_NOT) for field in others}
    kinds = HistoryEvent.__args__
    assert named == {(kind, field) for kind in kinds for field in kind.__struct_fields__ if field != "given"}


@pytest.mark.parametrize(("event", "field", "value"), changes(COUNTS))
def test_a_field_that_counts_diverges_and_is_told(event: HistoryEvent, field: str, value: Any) -> None:
    changed = msgspec.structs.replace(event, **{field: value})
    for now, recorded in ((changed, event), (event, changed)):
        assert not same(now, recorded)
        divergence = difference(now, recorded, 17)
        assert divergence.version == 17
        was, is_now = getattr(recorded, field), getattr(now, field)
        assert divergence.detail == f"{field}: recorded {shown(was)}, now {shown(is_now)}"


@pytest.mark.parametrize(("event", "field", "value"), changes(DOES_NOT))
def test_a_field_that_does_not_count_may_differ(event: HistoryEvent, field: str, value: Any) -> None:
    changed = msgspec.structs.replace(event, **{field: value})
    assert same(changed, event) and same(event, changed)


@pytest.mark.parametrize("event", [ChildRequested("g:1_1", F, ONE), Scheduled(TOP, F, ONE, Now(), NOW)])
def test_what_was_given_counts_and_not_what_was_made_of_it(event: HistoryEvent) -> None:
    given = msgspec.structs.replace(event, given=GIVEN)
    assert not same(event, given)
    assert difference(event, given, 3).detail == "params: recorded [1.0], now [1]"
    assert same(msgspec.structs.replace(event, params=GIVEN), given)
    assert same(msgspec.structs.replace(given, params=TWO), given)
    assert msgspec.structs.replace(given, given=NO_VALUE) == event


def test_events_of_different_kinds_are_never_the_same() -> None:
    some = [event for event, _ in COUNTS]
    for one in some:
        for other in some:
            if type(one) is not type(other):
                assert not same(one, other)
                assert difference(one, other, 0).detail.startswith("event: recorded ")


@pytest.mark.parametrize("event", [event for event, _ in COUNTS], ids=lambda event: type(event).__name__)
def test_what_is_left_over_is_told(event: HistoryEvent) -> None:
    told = left_over(event, 5)
    assert told.version == 5
    assert told.detail.endswith("), now the workflow does not")
    assert f"({event.__struct_fields__[0]} " in told.detail


# --- long values -----------------------------------------------------------------------------------------------------


def request(text: str) -> ChildRequested:
    return ChildRequested("g:1_1", F, Json(f'["{text}"]'.encode()))


@pytest.mark.parametrize("before", [0, 1, 98, 100, 5_000, 2_000_000])
def test_of_long_values_the_part_that_differs_is_told(before: int) -> None:
    recorded, now = (request("x" * before + letter + "z" * 3_000) for letter in "ab")
    (line,) = difference(now, recorded, 0).detail.split("\n")
    was, is_now = line.removeprefix("params: recorded ").split(", now ")
    assert was.replace("a", "b") == is_now != was
    assert len(was) <= SHOWN_MAX + 2
    assert was.endswith("z…")
    assert was.startswith("…x" if before >= 100 else '["')


def test_a_long_value_that_begins_as_the_other_is_told() -> None:
    recorded, now = request("x" * 3_000), request("x" * 3_001)
    shown = difference(now, recorded, 0).detail
    assert shown == f'params: recorded …{"x" * 100}"], now …{"x" * 100}x"]'


def test_of_long_values_of_different_events_the_beginning_is_told() -> None:
    for shown in (difference(JoinSetCreated("g:1"), request("é" * 3_000), 0), left_over(request("é" * 3_000), 0)):
        assert "é" * (SHOWN_MAX - 2) + "…" in shown.detail
        assert len(shown.detail) < 2 * SHOWN_MAX


# --- calls -----------------------------------------------------------------------------------------------------------


def settled(live: DrivenMachine, *some: Call) -> Any:
    for call in some:
        decision = live.step(call)
        if isinstance(decision, Unsettled):
            if isinstance(call, calls.ScheduleJson):
                decision = live.machine.settle_schedule(None, NOW, exists=False)
            else:
                decision = live.machine.settle_stub(StubResult.OK, "", NOW)
    return decision


@pytest.mark.parametrize(
    ("recorded", "now", "version", "detail"),
    [
        ([SET], [calls.JoinSetCreate("x")], 0, 'join_set: recorded "g:1", now "n:x"'),
        ([SET, SUBMIT], [SET, SUBMIT_G], 1, f'ffqn: recorded "{F}", now "{G}"'),
        ([SET, SUBMIT], [SET, calls.Submit("g:1", F, Json(b"[2]"))], 1, "params: recorded [1], now [2]"),
        ([SET, HOUR], [SET, calls.SubmitDelay("g:1", In(1))], 1,
         'schedule_at: recorded {"type":"in","us":3600}, now {"type":"in","us":1}'),
        ([SET, SET, SUBMIT], [SET, SET, calls.Submit("g:2", F, ONE)], 2, 'child: recorded "g:1_1", now "g:2_1"'),
        ([SET, SET, HOUR], [SET, SET, calls.SubmitDelay("g:2", In(3_600))], 2, 'delay: recorded "g:1_1", now "g:2_1"'),
        ([SET, SUBMIT, calls.JoinNext("g:1")], [SET, SUBMIT, calls.AwaitNext("g:1", F)], 2,
         f'ffqn: recorded null, now "{F}"'),
        ([SET, SUBMIT, calls.JoinNext("g:1")], [SET, SUBMIT, calls.JoinSetClose("g:1")], 2,
         "closing: recorded false, now true"),
        ([SET, calls.JoinNext("g:1")], [SET, calls.AwaitNext("g:1", F)], 1, f'ffqn: recorded null, now "{F}"'),
        ([calls.RandomU64(1, 6)], [calls.RandomU64(1, 7)], 0,
         ('kind: recorded {"type":"random_u64","min":1,"max_inclusive":6}, now'
          ' {"type":"random_u64","min":1,"max_inclusive":7}')),
        ([calls.RandomString(1, 6)], [calls.RandomU64(1, 6)], 0,
         ('kind: recorded {"type":"random_string","min_length":1,"max_length_exclusive":6}, now'
          ' {"type":"random_u64","min":1,"max_inclusive":6}')),
        ([SET], [calls.RandomU64(1, 6)], 0,
         ('event: recorded join_set_create, now persist\nrecorded join_set: "g:1"\n'
          'now kind: {"type":"random_u64","min":1,"max_inclusive":6}')),
        ([SET, SUBMIT], [SET, HOUR], 1,
         (f'event: recorded child_request, now delay_request\nrecorded child: "g:1_1"\nrecorded ffqn: "{F}"\n'
          'recorded params: [1]\nnow delay: "g:1_1"\nnow schedule_at: {"type":"in","us":3600}')),
        ([SET, JSON], [SET, calls.SubmitJson("g:1", F, GIVEN)], 1, "params: recorded [1], now [1.0]"),
        ([SET, calls.SubmitJson("g:1", F, GIVEN)], [SET, JSON], 1, "params: recorded [1.0], now [1]"),
        ([SET, calls.SubmitJson("g:1", F, GIVEN)], [SET, SUBMIT], 1, "params: recorded [1.0], now [1]"),
        ([SET, JSON], [SET, calls.SubmitJson("g:1", G, ONE)], 1, f'ffqn: recorded "{F}", now "{G}"'),
        ([SET, JSON], [SET, calls.SubmitJson("g:1", F, ONE, 7)], 1, "timeout_us: recorded null, now 7"),
        ([SET, calls.SubmitJson("g:1", F, ONE, 7)], [SET, SUBMIT], 1, "timeout_us: recorded 7, now null"),
        ([SET, REJECTED], [SET, calls.SubmitJson("g:1", F, Json(b'["y"]'), 7)], 1,
         'params: recorded ["x"], now ["y"]\ntimeout_us: recorded null, now 7'),
        ([SET, REJECTED], [SET, SUBMIT], 1,
         (f'event: recorded child_rejected, now child_request\nrecorded child: "g:1_1"\nrecorded ffqn: "{F}"\n'
          f'recorded params: ["x"]\nnow child: "g:1_1"\nnow ffqn: "{F}"\nnow params: [1]')),
        ([calls.CallJson(F, ONE)], [calls.CallJson(G, ONE)], 0, 'join_set: recorded "o:1-work", now "o:1-rest"'),
        ([calls.CallJson(F, ONE)], [calls.CallJson(F, GIVEN)], 1, "params: recorded [1], now [1.0]"),
        ([SET, SET, TRY], [SET, SET, calls.JoinNextTry("g:2")], 2, 'join_set: recorded "g:1", now "g:2"'),
        ([SET, TRY], [SET, calls.JoinNext("g:1")], 1,
         ('event: recorded join_next_try, now join_next_too_many\nrecorded join_set: "g:1"\n'
          'now join_set: "g:1"\nnow ffqn: null')),
        ([SET, SUBMIT, TRY], [SET, SUBMIT, calls.JoinSetClose("g:1")], 2,
         ('event: recorded join_next_try, now join_next\nrecorded join_set: "g:1"\n'
          'now join_set: "g:1"\nnow ffqn: null\nnow closing: true')),
        ([calls.GenerateExecutionId()], [calls.RandomU64(1, 6)], 0,
         'kind: recorded {"type":"execution_id"}, now {"type":"random_u64","min":1,"max_inclusive":6}'),
        ([calls.Schedule(F, ONE, Now())], [calls.Schedule(G, TWO, In(1))], 0,
         (f'ffqn: recorded "{F}", now "{G}"\nparams: recorded [1], now [2]\n'
          'schedule_at: recorded {"type":"now"}, now {"type":"in","us":1}')),
        ([SCHEDULE], [calls.ScheduleJson(OTHER, F, ONE, Now())], 0,
         f'execution_id: recorded "{TOP}", now "{OTHER}"'),
        ([SCHEDULE], [calls.ScheduleJson(TOP, F, ONE, In(1), 7)], 0,
         ('schedule_at: recorded {"type":"now"}, now {"type":"in","us":1}\n'
          'timeout_us: recorded null, now 7')),
        ([SCHEDULE], [calls.ScheduleJson(TOP, F, GIVEN, Now())], 0, "params: recorded [1], now [1.0]"),
        ([calls.ScheduleJson(TOP, F, BAD, Now())], [calls.ScheduleJson(TOP, F, ONE, Now())], 0,
         'params: recorded ["x"], now [1]'),
        ([SCHEDULE], [calls.GenerateExecutionId()], 0,
         (f'event: recorded schedule, now persist\nrecorded execution_id: "{TOP}"\nrecorded ffqn: "{F}"\n'
          'recorded params: [1]\nrecorded schedule_at: {"type":"now"}\nnow kind: {"type":"execution_id"}')),
        ([STUB], [calls.StubJson(f"{ROOT}.g:1_2", RESULT)], 0, 'target: recorded "g:1_1", now "g:1_2"'),
        ([STUB], [calls.StubJson(f"{ROOT}.g:1_1", Json(b'{"ok":2}'))], 0,
         f'retval_hash: recorded "{HASH}", now "{OTHER_HASH}"'),
        ([STUB], [calls.Stub(f"{ROOT}.g:1_1", F, Err(Json(b"2")))], 0,
         f'retval_hash: recorded "{HASH}", now "{ERR_HASH}"'),
        ([calls.CallChild(F, ONE)], [calls.CallChild(F, ONE, "label")], 0,
         'join_set: recorded "o:1-work", now "o:1-label"'),
        ([calls.CallChild(F, ONE)], [calls.CallChild(F, Json(b"[1,1]"))], 1, "params: recorded [1], now [1,1]"),
    ],
)  # fmt: skip
def test_a_changed_call_is_told_field_by_field(
    recorded: list[Call], now: list[Call], version: int, detail: str
) -> None:
    live = DrivenMachine(typing=deployed)
    settled(live, *recorded)
    live.take()
    for mode in Mode:
        replay = live.reloaded(mode)
        decision = replay.step(*now)
        assert isinstance(decision, Diverged)
        assert (decision.divergence.version, decision.divergence.detail) == (version, detail)
        assert replay.take() == NOTHING


RICH: list[Call] = [
    calls.RandomU64(1, 6),
    SET,
    SUBMIT,
    JSON,
    REJECTED,
    HOUR,
    TRY,
    calls.Schedule(F, ONE, Now()),
    SCHEDULE,
    calls.ScheduleJson(OTHER, F, BAD, Now()),
    STUB,
    calls.GenerateExecutionId(),
    calls.RandomString(1, 6),
    calls.JoinSetCreate("x"),
    calls.JoinNext("n:x"),
    calls.Sleep(In(5)),
]
"""Every kind of event; the last call blocks."""


def rich() -> DrivenMachine:
    live = DrivenMachine(typing=deployed)
    assert settled(live, *RICH) == Blocked("o:1-sleep", closing=False)
    live.take()
    assert {type(entry.event) for entry in live.log} == set(HistoryEvent.__args__)
    return live


def driven(live: DrivenMachine, some: list[Call]) -> Any:
    """What a log comes to, call by call, until something else than an answer comes."""
    replay = live.reloaded()
    for call in some:
        decision = replay.step(call)
        if not isinstance(decision, Answered):
            return decision
    return replay.machine.end(OK, NOW)


@pytest.mark.parametrize("index", range(len(RICH)))
def test_a_call_that_is_left_out_diverges(index: int) -> None:
    live = rich()
    decision = driven(live, RICH[:index] + RICH[index + 1 :])
    assert isinstance(decision, Diverged)


@pytest.mark.parametrize("index", range(len(RICH)))
def test_a_call_that_comes_twice_diverges(index: int) -> None:
    decision = driven(rich(), [*RICH[:index], RICH[index], *RICH[index:]])
    if RICH[index] == calls.JoinSetCreate("x"):
        assert decision == Blocked("o:1-sleep", closing=False)  # a conflict, which is no event
    elif index == len(RICH) - 1:
        assert decision == Blocked("o:1-sleep", closing=False)  # it waits, before it could come twice
    else:
        assert isinstance(decision, Diverged)


def test_log_lines_and_calls_that_write_nothing_may_be_added_anywhere() -> None:
    live = rich()
    added = [
        calls.Log(calls.LogLevel.INFO, "new"),
        calls.CurrentExecutionId(),
        calls.Get(f"{ROOT}.g:1_1", F),
        calls.GetJson(f"{ROOT}.g:1_1"),
        calls.LastOfSet("g:1"),
        calls.LastDirectCall(),
        calls.LastOneOff(),
        calls.JoinSetCreate("a_b"),
        calls.CallChild(F, ONE, "a_b"),
        calls.CallJson("a_b", ONE),
    ]
    for mode in Mode:
        replay = live.reloaded(mode)
        for call in RICH:
            for more in added:
                assert isinstance(replay.step(more), Answered)
            decision = replay.step(call)
        assert decision == Blocked("o:1-sleep", closing=False)
        assert replay.machine.take_writes().items == []


def test_events_that_are_no_history_may_stand_anywhere() -> None:
    live = rich()
    locked = Locked("Exr_1", "Run_1", Instant(7))
    log = [
        LogEntry(2 * entry.version + more, NOW, event)
        for entry in live.log
        for more, event in ((0, locked), (1, entry.event))
    ]
    replay = DrivenMachine(log=log)
    assert replay.step(*RICH) == Blocked("o:1-sleep", closing=False)
    assert replay.take() == NOTHING


def test_the_record_is_answered_from_whatever_else_it_says() -> None:
    """What does not count is not ignored: it is the answer."""
    log = entries(
        [
            JoinSetCreated("g:1"),
            DelayRequested("g:1_1", In(5), Instant(77)),
            ChildRequested("g:1_1", F, TWO, ONE, ErrForm.VARIANT),
            ChildRejected("g:1_2", F, ONE, UNFIT, "why"),
            JoinNextTry("g:1", TryOutcome.ALL_PROCESSED),
            Persist(PersistRandomU64(1, 6), Json(b"99")),
            ScheduleRejected(TOP, F, ONE, Now(), NOT_FOUND, "ignored"),
            Stubbed("g:1_1", HASH, StubResult.TYPE_CHECK_ERROR, "why"),
            JoinNext("g:1", Instant(78)),
        ]
    )
    replay = DrivenMachine(log=log, responses=[msgspec.structs.replace(child("g:1_1"), seq=1)])
    assert replay.step(SET, calls.SubmitDelay("g:1", In(5))) == Answered(f"Delay_{ROOT[2:]}.g:1_1")
    assert replay.step(JSON) == Answered(f"{ROOT}.g:1_1")
    assert replay.step(JSON) == Answered(calls.TypeCheckError("why"))
    assert replay.step(TRY) == Answered(calls.AllProcessed())
    assert replay.step(calls.RandomU64(1, 6)) == Answered(99)
    assert replay.step(SCHEDULE) == Answered(calls.FunctionNotFound())
    assert replay.step(STUB) == Answered(calls.TypeCheckError("why"))
    done = calls.MemberDone(f"{ROOT}.g:1_1", is_delay=False, ok=True, outcome=OK, form=ErrForm.VARIANT)
    assert replay.step(calls.JoinNext("g:1")) == Answered(done)
    assert replay.take() == NOTHING


# --- what is left over -----------------------------------------------------------------------------------------------


def test_a_log_that_goes_on_where_the_workflow_waits_is_left_over() -> None:
    log = [
        LogEntry(0, NOW, JoinSetCreated("g:1")),
        LogEntry(1, NOW, ChildRequested("g:1_1", F, ONE)),
        LogEntry(2, NOW, JoinNext("g:1", RUN)),
        LogEntry(3, NOW, JoinSetCreated("g:2")),
    ]
    decision = DrivenMachine(log=log).step(SET, SUBMIT, calls.JoinNext("g:1"))
    assert isinstance(decision, Diverged)
    assert decision.divergence.version == 3
    assert decision.divergence.detail == (
        'the log goes on with join_set_create (join_set "g:2"), now the workflow does not'
    )


def test_a_log_that_goes_on_where_the_workflow_ends_is_left_over() -> None:
    live = DrivenMachine(typing=deployed)
    begins = []
    for call in RICH:
        begins.append(len(live.log))
        settled(live, call)
        live.take()
    for known, version in enumerate(begins):
        replay = live.reloaded()
        for call in RICH[:known]:
            replay.step(call)
        decision = replay.machine.end(OK, NOW)
        assert isinstance(decision, Diverged)
        assert decision.divergence.version == version
