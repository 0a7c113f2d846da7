"""Every kind of event, as it is on the wire."""

import typing

import msgspec
import pytest
from google.protobuf.json_format import MessageToDict
from obelisk_tests_small_engine import DEPLOYMENT, FIBO, FIBOA, START, WORKFLOW_DIGEST, SmallCatalogue

from obelisk.api.views import Log
from obelisk.core.events import (
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
    LogEntry,
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
    Unlocked,
    Unpaused,
)
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import At, In, Now
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.server.events import events

ID = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
CREATED = Created(
    ffqn=FIBOA, params=Json(b"[1,2]"), component=WORKFLOW_DIGEST, deployment=DEPLOYMENT, scheduled_at=START
)
CATALOGUE = SmallCatalogue()
AT = "2026-01-01T00:00:00Z"
OTHER = "sha256:" + "d" * 64
OTHER_ID = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFY0")


def on_the_wire_as_it_is(event):
    (message,) = events(Log(ID, CREATED, [LogEntry(7, START, event)], 7), SmallCatalogue())
    return message


def on_the_wire(event):
    message = on_the_wire_as_it_is(event)
    assert message.version == 7
    assert message.created_at.ToJsonString() == AT
    found = MessageToDict(message, preserving_proto_field_name=True)
    assert set(found) == {"created_at", "version", message.WhichOneof("event")}
    return found[message.WhichOneof("event")]


def name(ffqn):
    interface, _, function = ffqn.rpartition(".")
    return {"interface_name": interface, "function_name": function}


G1 = {"kind": "JOIN_SET_KIND_GENERATED", "name": "1"}
HISTORY = [
    (
        Persist(PersistRandomU64(1, 6), Json(b"4")),
        {"persist": {"kind": {"random_u64": {"min": "1", "max_inclusive": "6"}}, "data": b"4"}},
    ),
    (
        Persist(PersistRandomString(1, 6), Json(b'"ab"')),
        {"persist": {"kind": {"random_string": {"min_length": "1", "max_length_exclusive": "6"}}, "data": b'"ab"'}},
    ),
    (
        JoinSetCreated("n:batch"),
        {"join_set_created": {"join_set_id": {"kind": "JOIN_SET_KIND_NAMED", "name": "batch"}}},
    ),
    (
        ChildRequested("g:1_2", FIBO, Json(b"[3]")),
        {
            "join_set_request": {
                "join_set_id": G1,
                "child_execution_request": {
                    "child_execution_id": {"id": f"{ID}.g:1_2"},
                    "function_name": name(FIBO),
                    "params": b"[3]",
                    "ok": {},
                },
            }
        },
    ),
    *(
        (
            DelayRequested("g:1_1", schedule, START),
            {
                "join_set_request": {
                    "join_set_id": G1,
                    "delay_request": {
                        "delay_id": {"id": f"Delay_{ID[2:]}.g:1_1"},
                        "expires_at": AT,
                        "scheduled_at": shown,
                    },
                }
            },
        )
        for schedule, shown in [
            (Now(), {"now": {}}),
            (At(START), {"at": {"at": AT}}),
            (In(1_500_000), {"in": {"in": "1.500s"}}),
        ]
    ),
    (
        JoinNext("g:1", START, FIBO, closing=True),
        {"join_next": {"join_set_id": G1, "run_expires_at": AT, "closing": True, "function": name(FIBO)}},
    ),
    (JoinNext("g:1", START), {"join_next": {"join_set_id": G1, "run_expires_at": AT}}),
    (JoinNextTooMany("g:1", FIBO), {"join_next_too_many": {"join_set_id": G1, "function": name(FIBO)}}),
    (
        Persist(PersistExecutionId(), Json(f'"{OTHER_ID}"'.encode())),
        {"persist": {"kind": {"execution_id": {}}, "data": f'"{OTHER_ID}"'.encode()}},
    ),
    (
        ChildRejected("g:1_2", FIBO, Json(b"[3]"), RejectReason.TYPE_CHECK_ERROR, "expected u8", timeout_us=2_000_000),
        {
            "join_set_request": {
                "join_set_id": G1,
                "child_execution_request": {
                    "child_execution_id": {"id": f"{ID}.g:1_2"},
                    "function_name": name(FIBO),
                    "params": b"[3]",
                    "error": {"kind": "KIND_TYPE_CHECK_ERROR", "detail": "expected u8"},
                    "timeout": "2s",
                },
            }
        },
    ),
    (
        ChildRejected("g:1_2", FIBO, Json(b"[3]"), RejectReason.FUNCTION_NOT_FOUND),
        {
            "join_set_request": {
                "join_set_id": G1,
                "child_execution_request": {
                    "child_execution_id": {"id": f"{ID}.g:1_2"},
                    "function_name": name(FIBO),
                    "params": b"[3]",
                    "error": {"kind": "KIND_FUNCTION_NOT_FOUND"},
                },
            }
        },
    ),
    (JoinNextTry("g:1", TryOutcome.FOUND), {"join_next_try": {"join_set_id": G1}}),
    (JoinNextTry("g:1", TryOutcome.PENDING), {"join_next_try": {"join_set_id": G1, "outcome": "PENDING"}}),
    (JoinNextTry("g:1", TryOutcome.ALL_PROCESSED), {"join_next_try": {"join_set_id": G1, "outcome": "ALL_PROCESSED"}}),
    (
        Scheduled(OTHER_ID, FIBO, Json(b"[3]"), In(1_500_000), START, timeout_us=1_000),
        {
            "schedule": {
                "execution_id": {"id": OTHER_ID},
                "scheduled_at": {"in": {"in": "1.500s"}},
                "ok": {},
                "function_name": name(FIBO),
                "params": b"[3]",
                "due_at": AT,
                "timeout": "0.001s",
            }
        },
    ),
    (
        ScheduleRejected(OTHER_ID, FIBO, Json(b"[3]"), Now(), RejectReason.FUNCTION_NOT_FOUND),
        {
            "schedule": {
                "execution_id": {"id": OTHER_ID},
                "scheduled_at": {"now": {}},
                "error": {"kind": "KIND_FUNCTION_NOT_FOUND"},
                "function_name": name(FIBO),
                "params": b"[3]",
            }
        },
    ),
    (
        ScheduleRejected(OTHER_ID, FIBO, Json(b"[3]"), At(START), RejectReason.TYPE_CHECK_ERROR, "no", 1_000),
        {
            "schedule": {
                "execution_id": {"id": OTHER_ID},
                "scheduled_at": {"at": {"at": AT}},
                "error": {"kind": "KIND_TYPE_CHECK_ERROR", "detail": "no"},
                "function_name": name(FIBO),
                "params": b"[3]",
                "timeout": "0.001s",
            }
        },
    ),
    (
        Stubbed("g:1_2.o:1-x_1", "sha256:1", StubResult.OK),
        {"stub": {"execution_id": {"id": f"{ID}.g:1_2.o:1-x_1"}, "retval_hash": "sha256:1", "ok": {}}},
    ),
    *(
        (
            Stubbed(f"{OTHER_ID}.g:1_1", "sha256:1", result, message),
            {
                "stub": {
                    "execution_id": {"id": f"{OTHER_ID}.g:1_1"},
                    "retval_hash": "sha256:1",
                    "error": {"kind": kind, **({"detail": message} if message else {})},
                }
            },
        )
        for result, kind, message in [
            (StubResult.EXECUTION_NOT_FOUND, "KIND_EXECUTION_NOT_FOUND", ""),
            (StubResult.TYPE_CHECK_ERROR, "KIND_TYPE_CHECK_ERROR", "expected bool"),
            (StubResult.CONFLICT, "KIND_CONFLICT", ""),
        ]
    ),
]


@pytest.mark.parametrize(("event", "expected"), HISTORY, ids=lambda value: type(value).__name__)
def test_history(event, expected):
    (message,) = events(Log(ID, CREATED, [LogEntry(7, START, event)], 7), SmallCatalogue())
    history = message.history_variant
    for holder, field in [
        (history.persist, "data"),
        (history.join_set_request.child_execution_request, "params"),
        (history.schedule, "params"),
    ]:
        if holder.HasField(field):
            value = getattr(holder, field)
            assert value.type_url in {
                "unknown",
                "urn:obelisk:json:params:child-execution-request",
                f"urn:obelisk:json:params:{FIBO}",
            }
            assert bytes(value.value) == _bytes_in(expected)
            holder.ClearField(field)
    assert MessageToDict(history, preserving_proto_field_name=True) == _without_bytes(expected)


def _bytes_in(expected):
    for value in expected.values():
        if isinstance(value, bytes):
            return value
        if isinstance(value, dict) and (found := _bytes_in(value)) is not None:
            return found
    return None


def _without_bytes(expected):
    return {
        key: _without_bytes(value) if isinstance(value, dict) else value
        for key, value in expected.items()
        if not isinstance(value, bytes)
    }


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Unlocked(START, "stopped"), {"backoff_expires_at": AT, "reason": "stopped"}),
        (
            TemporarilyFailed(START, "trap", "at line 3"),
            {"backoff_expires_at": AT, "reason": "trap", "detail": "at line 3"},
        ),
        (TemporarilyTimedOut(START), {"backoff_expires_at": AT}),
        (
            Finished(Failure(FailureKind.OUT_OF_FUEL, "cpu_budget")),
            {"value": {"execution_failure": {"kind": "EXECUTION_FAILURE_KIND_OUT_OF_FUEL", "reason": "cpu_budget"}}},
        ),
        (Parked("why"), {"reason": "why"}),
        (Resumed(), {}),
        (Paused(), {}),
        (Unpaused(), {}),
        (CancellationRequested(), {}),
        (
            CancellationRequested(Failure(FailureKind.NONDETERMINISM_DETECTED, "given up", "params")),
            {
                "failure": {
                    "kind": "EXECUTION_FAILURE_KIND_NONDETERMINISM_DETECTED",
                    "reason": "given up",
                    "detail": "params",
                }
            },
        ),
        (
            ComponentUpgraded(OTHER, DEPLOYMENT),
            {"component_digest": {"digest": OTHER}, "success": {"manual": {}}, "deployment_id": {"id": DEPLOYMENT}},
        ),
        (
            ComponentUpgraded(OTHER, DEPLOYMENT, forced=True),
            {
                "component_digest": {"digest": OTHER},
                "success": {"manual": {"force": True}},
                "deployment_id": {"id": DEPLOYMENT},
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_it_was_run(event, expected):
    assert on_the_wire(event) == expected


def test_a_value_has_the_type_of_its_side_as_the_function_is_now():
    ok = on_the_wire_as_it_is(Finished(Ok(Json(b"55")))).finished.value
    assert (ok.ok.return_value.value, ok.wit_type_inline) == (b"55", "u64")
    err = on_the_wire_as_it_is(Finished(Err(Json(b'"no"')))).finished.value
    assert err.error.return_value.value == b'"no"'
    assert not err.HasField("wit_type_inline")  # it had a value when this was written
    gone = msgspec.structs.replace(CREATED, ffqn="a:b/c.gone")
    for outcome in (Ok(Json(b"55")), Err(Json(b'"no"'))):
        (message,) = events(Log(ID, gone, [LogEntry(7, START, Finished(outcome))], 7), SmallCatalogue())
        assert not message.finished.value.HasField("wit_type_inline")


def test_a_lock_names_the_component_it_runs_on():
    locked = Locked(executor="Exr_1", run="Run_1", lock_expires_at=START, max_retries=2, retry_exp_backoff_us=250_000)
    shown = on_the_wire(locked)
    assert shown["component_id"]["name"] == "myworkflow"
    assert shown["deployment_id"] == {"id": DEPLOYMENT}
    assert shown["retry_config"] == {"max_retries": 2, "retry_exp_backoff": "0.250s"}
    assert (shown["run_id"], shown["executor_id"]) == ("Run_1", "Exr_1")
    other = on_the_wire(
        Locked(executor="Exr_1", run="Run_1", lock_expires_at=START, component=OTHER, deployment="Dep_2")
    )
    assert other["component_id"] == {"component_type": "COMPONENT_TYPE_WORKFLOW", "digest": {"digest": OTHER}}
    assert other["deployment_id"] == {"id": "Dep_2"}
    assert "max_retries" not in other["retry_config"]


def test_what_a_guest_wrote_otherwise_is_there_too():
    child = ChildRequested("g:1_2", FIBO, Json(b"[3]"), Json(b"[3.0]"), timeout_us=1_000_000)
    scheduled = Scheduled(OTHER_ID, FIBO, Json(b"[3]"), Now(), START, Json(b"[3.0]"))
    log = Log(ID, CREATED, [LogEntry(7, START, child), LogEntry(8, START, scheduled)], 8)
    one, other = (message.history_variant for message in events(log, SmallCatalogue()))
    request = one.join_set_request.child_execution_request
    assert (request.params.value, request.params_given.value) == (b"[3]", b"[3.0]")
    assert request.timeout.seconds == 1
    assert (other.schedule.params.value, other.schedule.params_given.value) == (b"[3]", b"[3.0]")


CREATED_AS = {
    "function_name": name(FIBOA),
    "scheduled_at": AT,
    "component_id": {
        "component_type": "COMPONENT_TYPE_WORKFLOW",
        "name": "myworkflow",
        "digest": {"digest": WORKFLOW_DIGEST},
    },
    "deployment_id": {"id": DEPLOYMENT},
}


@pytest.mark.parametrize(
    ("execution_id", "fields", "expected"),
    [
        (ID, {}, {}),
        (ID, {"metadata": {"team": "blue"}}, {"metadata": {"team": "blue"}}),
        (ID, {"scheduled_by": OTHER_ID}, {"scheduled_by": {"id": OTHER_ID}}),
        (
            ExecutionId(f"{ID}.g:1_2"),
            {"join_set": "g:1"},
            {"parent_execution_id": {"id": ID}, "parent_join_set_id": G1},
        ),
    ],
)
def test_how_it_came_to_be(execution_id, fields, expected):
    event = msgspec.structs.replace(CREATED, **fields)
    (message,) = events(Log(execution_id, event, [LogEntry(0, START, event)], 0), CATALOGUE)
    created = message.created
    assert (created.params.type_url, created.params.value) == (f"urn:obelisk:json:params:{FIBOA}", b"[1,2]")
    created.ClearField("params")
    assert MessageToDict(created, preserving_proto_field_name=True) == CREATED_AS | expected


def test_a_fork_names_its_origin():
    fork = msgspec.structs.replace(CREATED, forked_from=Origin(OTHER_ID, 7, START), timeout_us=2_000_000)
    forked, created = (
        message.created
        for message in events(Log(ID, CREATED, [LogEntry(0, START, fork), LogEntry(0, START, CREATED)], 0), CATALOGUE)
    )
    assert MessageToDict(forked.forked_from, preserving_proto_field_name=True) == {
        "execution_id": {"id": OTHER_ID},
        "version": 7,
        "began_at": AT,
    }
    assert forked.timeout.seconds == 2
    assert not created.HasField("forked_from")
    assert not created.HasField("timeout")


def test_every_kind_of_event_is_tested_here():
    kinds = set()

    def collect(union):
        for one in typing.get_args(union):
            kinds.add(one) if not typing.get_args(one) else collect(one)

    collect(Event)
    here = {type(event) for event, _ in HISTORY} | {
        Created, Locked, Unlocked, TemporarilyFailed, TemporarilyTimedOut, Finished, Parked, Resumed, Paused, Unpaused,
        CancellationRequested, ComponentUpgraded,
    }  # fmt: skip
    assert kinds == here


def test_what_an_attempt_sent_over_http():
    traces = (
        HttpTrace("GET", "http://a/", START, START, 200),
        HttpTrace("GET", "http://b/", START, START, 200, "cut"),
        HttpTrace("GET", "http://c/", START),
    )
    shown = [
        {"method": "GET", "uri": "http://a/", "sent_at": AT, "finished_at": AT, "status": 200},
        {"method": "GET", "uri": "http://b/", "sent_at": AT, "finished_at": AT, "error": "status 200, then cut"},
        {"method": "GET", "uri": "http://c/", "sent_at": AT},
    ]
    for event in (
        Unlocked(START, "stopped", traces),
        TemporarilyFailed(START, "trap", http_traces=traces),
        TemporarilyTimedOut(START, traces),
        Finished(Ok(), traces),
    ):
        assert on_the_wire(event)["http_client_traces"] == shown
