"""The durable form of the log: every event round-trips, and format 1 is written as it always was."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core import events
from obelisk.core.events import (
    FORMAT,
    CancellationRequested,
    ChildRejected,
    ChildRequested,
    ComponentUpgraded,
    Created,
    DelayRequested,
    Event,
    Finished,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Locked,
    Origin,
    Parked,
    Paused,
    Persist,
    PersistExecutionId,
    PersistRandomString,
    PersistRandomU64,
    RejectReason,
    Resumed,
    Scheduled,
    ScheduleRejected,
    Stubbed,
    StubResult,
    TemporarilyFailed,
    TemporarilyTimedOut,
    TryOutcome,
    UnknownEventFormat,
    Unlocked,
    Unpaused,
    decode_event,
    encode_event,
    kind_of,
)
from obelisk.core.http_traces import HttpTrace
from obelisk.core.instants import At, In, Now
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok

DIGEST = "sha256:" + "ab" * 32

# Never edit a line of this table: logs that were written with it must be read for ever. A new form is a new format.
FORMAT_1: list[tuple[Event, bytes]] = [
    (
        Created("a:b/c.d", Json(b"[1]"), DIGEST, "Dep_1", 5),
        b'{"event":"created","ffqn":"a:b/c.d","params":[1],"component":"' + DIGEST.encode() + b'",'
        b'"deployment":"Dep_1","scheduled_at":5}',
    ),
    (
        Created("a:b/c.d", Json(b"[]"), DIGEST, "Dep_1", 5, "g:1", "E_1", {"traceparent": "00-1"}),
        b'{"event":"created","ffqn":"a:b/c.d","params":[],"component":"' + DIGEST.encode() + b'",'
        b'"deployment":"Dep_1","scheduled_at":5,"join_set":"g:1","scheduled_by":"E_1",'
        b'"metadata":{"traceparent":"00-1"}}',
    ),
    (Locked("Exr_1", "Run_1", 9), b'{"event":"locked","executor":"Exr_1","run":"Run_1","lock_expires_at":9}'),
    (
        Locked("Exr_1", "Run_1", 9, 5, 7, DIGEST, "Dep_2"),
        b'{"event":"locked","executor":"Exr_1","run":"Run_1","lock_expires_at":9,"max_retries":5,'
        b'"retry_exp_backoff_us":7,"component":"' + DIGEST.encode() + b'","deployment":"Dep_2"}',
    ),
    (Unlocked(9, "stop"), b'{"event":"unlocked","backoff_expires_at":9,"reason":"stop"}'),
    (TemporarilyFailed(9, "trap"), b'{"event":"temporarily_failed","backoff_expires_at":9,"reason":"trap"}'),
    (
        TemporarilyFailed(9, "trap", "frames"),
        b'{"event":"temporarily_failed","backoff_expires_at":9,"reason":"trap","detail":"frames"}',
    ),
    (TemporarilyTimedOut(9), b'{"event":"temporarily_timed_out","backoff_expires_at":9}'),
    (
        TemporarilyFailed(9, "trap", http_traces=(HttpTrace("GET", "http://a/?k={KEY}", 1, 2, 200),)),
        (
            b'{"event":"temporarily_failed","backoff_expires_at":9,"reason":"trap","http_traces":'
            b'[{"method":"GET","uri":"http://a/?k={KEY}","sent_at":1,"finished_at":2,"status":200}]}'
        ),
    ),
    (
        TemporarilyTimedOut(9, (HttpTrace("GET", "http://a/", 1), HttpTrace("PUT", "http://b/", 2, 3, error="no"))),
        (
            b'{"event":"temporarily_timed_out","backoff_expires_at":9,"http_traces":'
            b'[{"method":"GET","uri":"http://a/","sent_at":1},'
            b'{"method":"PUT","uri":"http://b/","sent_at":2,"finished_at":3,"error":"no"}]}'
        ),
    ),
    (
        Finished(Ok(), (HttpTrace("GET", "http://a/", 1, 2, 200, "cut"),)),
        (
            b'{"event":"finished","outcome":{"type":"ok"},"http_traces":'
            b'[{"method":"GET","uri":"http://a/","sent_at":1,"finished_at":2,"status":200,"error":"cut"}]}'
        ),
    ),
    (Finished(Ok()), b'{"event":"finished","outcome":{"type":"ok"}}'),
    (Finished(Ok(Json(b"55"))), b'{"event":"finished","outcome":{"type":"ok","value":55}}'),
    (Finished(Err(Json(b'"x"'))), b'{"event":"finished","outcome":{"type":"err","value":"x"}}'),
    (Finished(Err(permanent=True)), b'{"event":"finished","outcome":{"type":"err","permanent":true}}'),
    (
        Finished(Failure(FailureKind.TIMED_OUT)),
        b'{"event":"finished","outcome":{"type":"execution_failure","kind":"timed_out"}}',
    ),
    (
        Finished(Failure(FailureKind.UNCATEGORIZED, "r", "d")),
        b'{"event":"finished","outcome":{"type":"execution_failure","kind":"uncategorized","reason":"r","detail":"d"}}',
    ),
    (Parked("r"), b'{"event":"parked","reason":"r"}'),
    (Parked("r", "d"), b'{"event":"parked","reason":"r","detail":"d"}'),
    (
        Parked("r", kind=FailureKind.NONDETERMINISM_DETECTED),
        b'{"event":"parked","reason":"r","kind":"nondeterminism_detected"}',
    ),
    (Resumed(), b'{"event":"resumed"}'),
    (
        Persist(PersistRandomU64(1, 6), Json(b"3")),
        b'{"event":"persist","kind":{"type":"random_u64","min":1,"max_inclusive":6},"value":3}',
    ),
    (
        Persist(PersistRandomString(1, 6), Json(b'"aZ"')),
        b'{"event":"persist","kind":{"type":"random_string","min_length":1,"max_length_exclusive":6},"value":"aZ"}',
    ),
    (JoinSetCreated("o:1-fibo"), b'{"event":"join_set_create","join_set":"o:1-fibo"}'),
    (
        ChildRequested("o:1-fibo_1", "a:b/c.fibo", Json(b"[10]")),
        b'{"event":"child_request","child":"o:1-fibo_1","ffqn":"a:b/c.fibo","params":[10]}',
    ),
    (
        DelayRequested("g:1_1", In(5), 9),
        b'{"event":"delay_request","delay":"g:1_1","schedule_at":{"type":"in","us":5},"expires_at":9}',
    ),
    (
        DelayRequested("g:1_1", At(5), 5),
        b'{"event":"delay_request","delay":"g:1_1","schedule_at":{"type":"at","at":5},"expires_at":5}',
    ),
    (
        DelayRequested("g:1_1", Now(), 9),
        b'{"event":"delay_request","delay":"g:1_1","schedule_at":{"type":"now"},"expires_at":9}',
    ),
    (JoinNext("g:1", 9), b'{"event":"join_next","join_set":"g:1","run_expires_at":9}'),
    (
        JoinNext("g:1", 9, "a:b/c.d", True),
        b'{"event":"join_next","join_set":"g:1","run_expires_at":9,"ffqn":"a:b/c.d","closing":true}',
    ),
    (JoinNextTooMany("g:1"), b'{"event":"join_next_too_many","join_set":"g:1"}'),
    (JoinNextTooMany("g:1", "a:b/c.d"), b'{"event":"join_next_too_many","join_set":"g:1","ffqn":"a:b/c.d"}'),
    (
        Created("a:b/c.d", Json(b"[]"), DIGEST, "Dep_1", 5, timeout_us=7, forked_from=Origin("E_1", 4, 3)),
        b'{"event":"created","ffqn":"a:b/c.d","params":[],"component":"' + DIGEST.encode() + b'",'
        b'"deployment":"Dep_1","scheduled_at":5,"timeout_us":7,'
        b'"forked_from":{"execution_id":"E_1","version":4,"began_at":3}}',
    ),
    (Paused(), b'{"event":"paused"}'),
    (Unpaused(), b'{"event":"unpaused"}'),
    (CancellationRequested(), b'{"event":"cancellation_requested"}'),
    (
        CancellationRequested(Failure(FailureKind.NONDETERMINISM_DETECTED, "r")),
        (
            b'{"event":"cancellation_requested","failure":{"type":"execution_failure","kind":"nondeterminism_detected",'
            b'"reason":"r"}}'
        ),
    ),
    (
        ComponentUpgraded(DIGEST, "Dep_2"),
        b'{"event":"component_upgrade_finished","component":"' + DIGEST.encode() + b'","deployment":"Dep_2"}',
    ),
    (
        ComponentUpgraded(DIGEST, "Dep_2", forced=True),
        b'{"event":"component_upgrade_finished","component":"' + DIGEST.encode() + b'","deployment":"Dep_2",'
        b'"forced":true}',
    ),
    (
        Persist(PersistExecutionId(), Json(b'"E_1"')),
        b'{"event":"persist","kind":{"type":"execution_id"},"value":"E_1"}',
    ),
    (
        ChildRequested("g:1_1", "a:b/c.d", Json(b"[10]"), Json(b"[10.0]"), ErrForm.STRING, 7),
        (
            b'{"event":"child_request","child":"g:1_1","ffqn":"a:b/c.d","params":[10],"given":[10.0],"form":"string",'
            b'"timeout_us":7}'
        ),
    ),
    (
        ChildRejected("g:1_1", "a:b/c.d", Json(b"[10]"), RejectReason.FUNCTION_NOT_FOUND),
        b'{"event":"child_rejected","child":"g:1_1","ffqn":"a:b/c.d","params":[10],"reason":"function_not_found"}',
    ),
    (
        ChildRejected("g:1_1", "a:b/c.d", Json(b"[10]"), RejectReason.TYPE_CHECK_ERROR, "m", 7),
        (
            b'{"event":"child_rejected","child":"g:1_1","ffqn":"a:b/c.d","params":[10],"reason":"type_check_error",'
            b'"message":"m","timeout_us":7}'
        ),
    ),
    (
        JoinNextTry("g:1", TryOutcome.ALL_PROCESSED),
        b'{"event":"join_next_try","join_set":"g:1","outcome":"all_processed"}',
    ),
    (
        Scheduled("E_1", "a:b/c.d", Json(b"[10]"), In(5), 9),
        (
            b'{"event":"schedule","execution_id":"E_1","ffqn":"a:b/c.d","params":[10],'
            b'"schedule_at":{"type":"in","us":5},"scheduled_at":9}'
        ),
    ),
    (
        Scheduled("E_1", "a:b/c.d", Json(b"[10]"), Now(), 9, Json(b"[10.0]"), 7),
        (
            b'{"event":"schedule","execution_id":"E_1","ffqn":"a:b/c.d","params":[10],'
            b'"schedule_at":{"type":"now"},"scheduled_at":9,"given":[10.0],"timeout_us":7}'
        ),
    ),
    (
        ScheduleRejected("E_1", "a:b/c.d", Json(b"[10]"), Now(), RejectReason.TYPE_CHECK_ERROR, "m", 7),
        (
            b'{"event":"schedule_rejected","execution_id":"E_1","ffqn":"a:b/c.d","params":[10],'
            b'"schedule_at":{"type":"now"},"reason":"type_check_error","message":"m","timeout_us":7}'
        ),
    ),
    (
        Stubbed("g:1_1", "sha256:00", StubResult.OK),
        b'{"event":"stub","target":"g:1_1","retval_hash":"sha256:00","result":"ok"}',
    ),
    (
        Stubbed("E_1.g:1_1", "sha256:00", StubResult.TYPE_CHECK_ERROR, "m"),
        b'{"event":"stub","target":"E_1.g:1_1","retval_hash":"sha256:00","result":"type_check_error","message":"m"}',
    ),
]


@pytest.mark.parametrize(
    ("event", "written"), FORMAT_1, ids=lambda value: kind_of(value) if not isinstance(value, bytes) else ""
)
def test_format_1(event: Event, written: bytes) -> None:
    assert encode_event(event) == written
    assert decode_event(written, format=1) == event


def test_every_kind_of_event_is_in_the_table() -> None:
    kinds = {kind_of(event) for event, _ in FORMAT_1}
    defined = {
        value.__struct_config__.tag
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, events._Event) and not value.__name__.startswith("_")
    }
    assert kinds == defined
    assert FORMAT == 1


def test_history_events_are_those_of_host_calls() -> None:
    assert {kind_of(event) for event, _ in FORMAT_1 if event.history} == {
        "persist", "join_set_create", "child_request", "child_rejected", "delay_request", "join_next",
        "join_next_too_many", "join_next_try", "schedule", "schedule_rejected", "stub",
    }  # fmt: skip


def test_a_newer_format_is_a_clear_error() -> None:
    with pytest.raises(UnknownEventFormat, match="format 2 is not known to this release, which knows 1 to 1"):
        decode_event(b"{}", format=2)


@pytest.mark.parametrize("data", [b"{}", b'{"event":"other"}', b'{"event":"resumed"', b'{"event":"unlocked"}'])
def test_what_is_not_an_event_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(data)


@pytest.mark.parametrize(
    "body", [ChildFinished("g:1_1", 2, Ok(Json(b"1"))), DelayFinished("g:1_1", True), DelayFinished("g:1_1", False)]
)
def test_responses_round_trip(body: ChildFinished | DelayFinished) -> None:
    response = Response(1, 5, "g:1", body)
    assert msgspec.json.decode(msgspec.json.encode(response), type=Response) == response


def test_the_trace_context_is_a_part_of_the_metadata():
    created = Created("a:b/c.d", Json(b"[]"), DIGEST, "Dep_1", 5, metadata={"tracing:traceparent": "00-1", "mine": "x"})
    assert created.trace_context == {"tracing:traceparent": "00-1"}
