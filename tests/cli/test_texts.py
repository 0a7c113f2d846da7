"""Every kind of event as one line."""

import typing

import pytest
from obelisk_tests_small_engine import ACTIVITY_DIGEST, DEPLOYMENT, FIBO, FIBOA, START, WORKFLOW_DIGEST, SmallCatalogue

from obelisk.api.views import Log
from obelisk.cli import texts
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
    Parked,
    Paused,
    Persist,
    PersistExecutionId,
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
from obelisk.core.instants import Now
from obelisk.core.values import Failure, FailureKind, Json, Ok
from obelisk.proto import obelisk_pb2 as pb
from obelisk.server.events import events

ID = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
OTHER = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFY0")
CREATED = Created(FIBOA, Json(b"[1,2]"), WORKFLOW_DIGEST, DEPLOYMENT, START)
AT = "2026-01-01T00:00:00Z"
TRACES = (
    HttpTrace("GET", "http://a/?k={KEY}", START, START + 1_500_000, 200),
    HttpTrace("PUT", "http://b/", START, START, error="HTTP-request-denied: no;\nmethods = 1"),
    HttpTrace("GET", "http://c/", START, START, 200, "cut"),
    HttpTrace("GET", "http://d/", START),
)
LINES = [
    (CREATED, f"Created({FIBOA}, `[1,2]`)"),
    (Locked("Exr_1", "Run_1", START), f"Locked(Run_1, until `{AT}`)"),
    (Unlocked(START, "paused"), f"Unlocked(paused, until `{AT}`)"),
    (TemporarilyFailed(START, "trap", "at\nline 3"), f"TemporarilyFailed(trap, until `{AT}`)"),
    (TemporarilyTimedOut(START), f"TemporarilyTimedOut(until `{AT}`)"),
    (Finished(Ok(Json(b"55"))), "Finished(OK: 55)"),
    (
        Finished(Ok(Json(b"55")), TRACES),
        (
            f"Finished(OK: 55)\n    `{AT}` GET http://a/?k={{KEY}} in 1.500s: 200\n"
            f"    `{AT}` PUT http://b/ in 0.000s: HTTP-request-denied: no;\n      methods = 1\n"
            f"    `{AT}` GET http://c/ in 0.000s: status 200, then cut\n    `{AT}` GET http://d/: no response"
        ),
    ),
    (
        TemporarilyTimedOut(START, TRACES[3:]),
        f"TemporarilyTimedOut(until `{AT}`)\n    `{AT}` GET http://d/: no response",
    ),
    (
        TemporarilyFailed(START, "trap", http_traces=TRACES[3:]),
        f"TemporarilyFailed(trap, until `{AT}`)\n    `{AT}` GET http://d/: no response",
    ),
    (
        Finished(Failure(FailureKind.UNCATEGORIZED, "trap", "line 1\nline 2")),
        "Finished(Execution failure (uncategorized): `trap`)",
    ),
    (Parked("why", "line 1\nline 2"), "Parked(why)"),
    (Resumed(), "Resumed"),
    (Paused(), "Paused"),
    (Unpaused(), "Unpaused"),
    (CancellationRequested(), "CancellationRequested"),
    (
        CancellationRequested(Failure(FailureKind.UNCATEGORIZED, "given up", "x")),
        "CancellationRequested(uncategorized: given up)",
    ),
    (CancellationRequested(Failure(FailureKind.TIMED_OUT)), "CancellationRequested(timed_out)"),
    (ComponentUpgraded(ACTIVITY_DIGEST, DEPLOYMENT), f"ComponentUpgradeFinished({ACTIVITY_DIGEST})"),
    (
        ComponentUpgraded(ACTIVITY_DIGEST, DEPLOYMENT, forced=True),
        f"ComponentUpgradeFinished({ACTIVITY_DIGEST}, without a check)",
    ),
    (Persist(PersistRandomU64(1, 6), Json(b"4")), "Persist(random_u64, `4`)"),
    (Persist(PersistExecutionId(), Json(b'"E_1"')), 'Persist(execution_id, `"E_1"`)'),
    (JoinSetCreated("n:batch"), "JoinSetCreated(n:batch)"),
    (ChildRequested("g:1_2", FIBO, Json(b"[3]")), f"ChildExecutionRequest({ID}.g:1_2, {FIBO}, `[3]`)"),
    (
        ChildRejected("g:1_2", FIBO, Json(b"[3]"), RejectReason.FUNCTION_NOT_FOUND),
        f"ChildExecutionRequest({ID}.g:1_2, {FIBO}, `[3]`, function_not_found)",
    ),
    (
        ChildRejected("g:1_2", FIBO, Json(b"[3]"), RejectReason.TYPE_CHECK_ERROR, "expected u8"),
        f"ChildExecutionRequest({ID}.g:1_2, {FIBO}, `[3]`, type_check_error: expected u8)",
    ),
    (DelayRequested("g:1_1", Now(), START), f"DelayRequest(Delay_{ID[2:]}.g:1_1, expires at `{AT}`)"),
    (JoinNext("g:1", START), "JoinNext(g:1)"),
    (JoinNext("g:1", START, closing=True), "JoinNext(g:1, closing)"),
    (JoinNextTooMany("g:1"), "JoinNextTooMany(g:1)"),
    (JoinNextTry("g:1", TryOutcome.FOUND), "JoinNextTry(g:1, found)"),
    (JoinNextTry("g:1", TryOutcome.PENDING), "JoinNextTry(g:1, pending)"),
    (JoinNextTry("g:1", TryOutcome.ALL_PROCESSED), "JoinNextTry(g:1, all_processed)"),
    (Scheduled(OTHER, FIBO, Json(b"[3]"), Now(), START), f"Schedule({OTHER}, {FIBO}, `[3]`, at `{AT}`)"),
    (
        ScheduleRejected(OTHER, FIBO, Json(b"[3]"), Now(), RejectReason.TYPE_CHECK_ERROR, "no"),
        f"Schedule({OTHER}, {FIBO}, `[3]`, type_check_error: no)",
    ),
    (Stubbed("g:1_2", "sha256:1", StubResult.OK), f"Stub({ID}.g:1_2, ok)"),
    (Stubbed(f"{OTHER}.g:1_2", "sha256:1", StubResult.CONFLICT), f"Stub({OTHER}.g:1_2, conflict)"),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=lambda value: type(value).__name__)
def test_an_event_is_a_line(event, line):
    (message,) = events(Log(ID, CREATED, [LogEntry(7, START, event)], 7), SmallCatalogue())
    assert texts.event(message) == f"7 `{AT}` {line}"


def test_every_kind_of_event_is_tested_here():
    kinds = set()

    def collect(union):
        for one in typing.get_args(union):
            kinds.add(one) if not typing.get_args(one) else collect(one)

    collect(Event)
    assert {type(event) for event, _ in LINES} == kinds


def test_what_a_later_server_says_is_told_as_well_as_can_be():
    assert texts.event(pb.ExecutionEvent(version=7)).endswith(" Unknown")
    history = pb.ExecutionEvent.HistoryEvent()
    assert texts.event(pb.ExecutionEvent(version=7, history_variant=history)).endswith(" Unknown")
    assert texts.replay(pb.ReplayExecutionResponse()) == "outcome: unknown"
    assert texts.captured(pb.CapturedWrite()) == "Unknown"
