"""Every kind of event, as it is on the wire."""

import typing

import pytest
from google.protobuf.json_format import MessageToDict
from obelisk_tests_small_engine import DEPLOYMENT, FIBO, FIBOA, START, WORKFLOW_DIGEST, SmallCatalogue

from obelisk.api.views import Log
from obelisk.core.events import (
    ChildRequested,
    Created,
    DelayRequested,
    Event,
    Finished,
    JoinNext,
    JoinNextTooMany,
    JoinSetCreated,
    Locked,
    LogEntry,
    Parked,
    Persist,
    PersistRandomString,
    PersistRandomU64,
    Resumed,
    TemporarilyFailed,
    TemporarilyTimedOut,
    Unlocked,
)
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import At, In, Now
from obelisk.core.values import Failure, FailureKind, Json
from obelisk.server.events import events

ID = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
CREATED = Created(
    ffqn=FIBOA, params=Json(b"[1,2]"), component=WORKFLOW_DIGEST, deployment=DEPLOYMENT, scheduled_at=START
)
AT = "2026-01-01T00:00:00Z"
OTHER = "sha256:" + "d" * 64


def on_the_wire(event):
    (message,) = events(Log(ID, CREATED, [LogEntry(7, START, event)], 7), SmallCatalogue())
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
]


@pytest.mark.parametrize(("event", "expected"), HISTORY, ids=lambda value: type(value).__name__)
def test_history(event, expected):
    (message,) = events(Log(ID, CREATED, [LogEntry(7, START, event)], 7), SmallCatalogue())
    history = message.history_variant
    for holder, field in [
        (history.persist, "data"),
        (history.join_set_request.child_execution_request, "params"),
    ]:
        if holder.HasField(field):
            value = getattr(holder, field)
            assert value.type_url in {"unknown", "urn:obelisk:json:params:child-execution-request"}
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
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_it_was_run(event, expected):
    assert on_the_wire(event) == expected


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


def test_every_kind_of_event_is_tested_here():
    kinds = set()

    def collect(union):
        for one in typing.get_args(union):
            kinds.add(one) if not typing.get_args(one) else collect(one)

    collect(Event)
    here = {type(event) for event, _ in HISTORY} | {
        Created, Locked, Unlocked, TemporarilyFailed, TemporarilyTimedOut, Finished, Parked, Resumed,
    }  # fmt: skip
    assert kinds == here
