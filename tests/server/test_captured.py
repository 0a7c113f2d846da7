"""Captured writes: what a replay shows on the wire, and what clients may send back."""

import pytest
from google.protobuf.any_pb2 import Any as ProtoAny
from google.protobuf.json_format import MessageToDict
from obelisk_tests_small_engine import (
    ACTIVITY_DIGEST,
    APPROVE,
    DEPLOYMENT,
    FIBO,
    FIBOA,
    START,
    WORKFLOW_DIGEST,
    SmallCatalogue,
    view,
)

from obelisk.api.errors import InvalidArgument, NotAvailable
from obelisk.api.views import GivenResult, Replay
from obelisk.core.batch import Snapshot
from obelisk.core.decisions import Write
from obelisk.core.events import (
    ChildRequested,
    Created,
    DelayRequested,
    JoinNext,
    JoinSetCreated,
    LogEntry,
    Scheduled,
    Stubbed,
    StubResult,
)
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import In, Instant, Now
from obelisk.core.state import Status
from obelisk.core.transitions import create
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.proto import obelisk_pb2 as pb
from obelisk.server.captured import Sent, captured

ID = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
OTHER = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFY0")
LATER = Instant(START + 5_000_000)
AT = "2026-01-01T00:00:00Z"


def snapshot(execution_id=ID):
    join_set = execution_id.rpartition(".")[2].rpartition("_")[0] or None if "." in execution_id else None
    event = Created(FIBOA, Json(b"[10,2]"), WORKFLOW_DIGEST, DEPLOYMENT, START, join_set, metadata={"tracing:x": "y"})
    state = create(execution_id, event, START, None)
    state.next_version = 4
    return Snapshot(state, [LogEntry(0, START, event)], [], [], [])


def replay(*steps, execution_id=ID, **fields):
    steps = tuple(tuple(Write(event) for event in step) for step in steps)
    return Replay(snapshot(execution_id), WORKFLOW_DIGEST, START, steps, **fields)


def shown(*steps, **fields):
    return list(captured(replay(*steps, **fields), SmallCatalogue()))


CALL = (JoinSetCreated("o:1-fibo"), ChildRequested("o:1-fibo_1", FIBO, Json(b"[10]")), JoinNext("o:1-fibo", 0, FIBO))


def test_a_call_is_its_events_and_the_execution_that_comes_with_them():
    (write,) = shown(CALL)
    batch = write.append_batch_create_new_execution
    assert (batch.execution_id.id, batch.version) == (ID, 4)
    assert [event.version for event in batch.events] == [4, 5, 6]
    assert {event.created_at.ToJsonString() for event in batch.events} == {AT}
    assert batch.events[2].history_variant.join_next.run_expires_at.ToJsonString() == AT
    (child,) = batch.child_requests
    assert child.params == ProtoAny(type_url="urn:obelisk:json:params", value=b"[10]")
    child.ClearField("params")
    assert MessageToDict(child, preserving_proto_field_name=True) == {
        "execution_id": {"id": f"{ID}.o:1-fibo_1"},
        "function_name": {"interface_name": "template-fibo:activity/fibo-activity-ifc", "function_name": "fibo"},
        "scheduled_at": AT,
        "component_id": {
            "component_type": "COMPONENT_TYPE_ACTIVITY",
            "name": "activity_myfibo",
            "digest": {"digest": ACTIVITY_DIGEST},
        },
        "deployment_id": {"id": DEPLOYMENT},
        "parent_execution_id": {"id": ID},
        "parent_join_set_id": {"kind": "JOIN_SET_KIND_ONE_OFF", "name": "1-fibo"},
        "created_at": AT,
        "metadata": {"tracing:x": "y"},
    }


def test_a_schedule_creates_a_top_level_execution_unless_it_is_there():
    event = Scheduled(OTHER, FIBO, Json(b"[10]"), In(5_000_000), LATER)
    (write,) = shown((event,))
    (created,) = write.append_batch_create_new_execution.child_requests
    assert (created.execution_id.id, created.scheduled_by.id) == (OTHER, ID)
    assert created.scheduled_at.ToJsonString() == "2026-01-01T00:00:05Z"
    assert not created.HasField("parent_execution_id")
    again = Replay(snapshot(), WORKFLOW_DIGEST, START, ((Write(event, exists=True),),))
    (write,) = captured(again, SmallCatalogue())
    assert write.WhichOneof("write") == "append"


def test_one_event_several_events_and_the_end():
    one, several, end = shown(
        (JoinSetCreated("g:1"),),
        (JoinSetCreated("o:1-sleep"), DelayRequested("o:1-sleep_1", Now(), START), JoinNext("o:1-sleep", 0)),
        end=Ok(Json(b"55")),
    )
    assert (one.append.execution_id.id, one.append.version) == (ID, 4)
    assert one.append.event.history_variant.join_set_created.join_set_id.name == "1"
    assert (several.append_batch.execution_id.id, several.append_batch.version) == (ID, 5)
    assert [event.version for event in several.append_batch.events] == [5, 6, 7]
    assert (end.append_finished.execution_id.id, end.append_finished.version) == (ID, 8)
    assert end.append_finished.event.value.ok.return_value.value == b"55"
    assert end.append_finished.event.value.wit_type_inline == "u64"
    assert not end.append_finished.HasField("parent_execution_id")


def test_the_end_of_a_child_names_its_parent():
    (end,) = shown(execution_id=ExecutionId(f"{ID}.g:1_2"), end=Failure(FailureKind.UNCATEGORIZED, "trap"))
    finished = end.append_finished
    assert finished.parent_execution_id.id == ID
    assert finished.parent_join_set_id == pb.JoinSetId(kind=pb.JoinSetId.JOIN_SET_KIND_GENERATED, name="1")
    assert finished.event.value.execution_failure.reason == "trap"


def test_the_end_of_what_has_finished_is_no_write():
    found = replay(end=Ok())
    found.snapshot.state.status = Status.FINISHED
    assert list(captured(found, SmallCatalogue())) == []


def test_a_result_for_a_stub_activity():
    event = Stubbed("g:1_1", "sha256:1", StubResult.OK)
    (write,) = shown((event,), stub=GivenResult(Err(Json(b'"no"')), 1, view(APPROVE)))
    stub = write.append_stub_response
    assert (stub.execution_id.id, stub.version, stub.finished_version) == (ID, 4, 1)
    assert (stub.parent_execution_id.id, stub.child_execution_id.id) == (ID, f"{ID}.g:1_1")
    assert stub.join_set_id.name == "1"
    assert (stub.result.error.return_value.value, stub.result.wit_type_inline) == (b'"no"', "string")
    assert stub.events[0].history_variant.stub.retval_hash == "sha256:1"
    (write,) = shown((event,))  # what cannot be known is not made up
    assert write.WhichOneof("write") == "append"
    (write,) = shown((Stubbed(f"{OTHER}.g:1_1", "sha256:1", StubResult.OK),), stub=GivenResult(Ok(), 3, view(APPROVE)))
    assert write.append_stub_response.parent_execution_id.id == OTHER
    first, last = shown(
        (event,), (event,), stub=GivenResult(Ok(), 3, view(APPROVE))
    )  # it is known of the last one only
    assert (first.WhichOneof("write"), last.WhichOneof("write")) == ("append", "append_stub_response")


# --- what clients send back ------------------------------------------------------------------------------------------


STEPS = (
    CALL,
    (JoinSetCreated("o:2-sleep"), DelayRequested("o:2-sleep_1", In(5), START), JoinNext("o:2-sleep", 0)),
    (Scheduled(OTHER, FIBO, Json(b"[10]"), In(5_000_000), LATER),),
)


def test_a_beginning_as_it_was_shown_agrees():
    now = shown(*STEPS, end=Ok())
    for count in (1, 2, 3, 4):
        sent = Sent(shown(*STEPS, end=Ok())[:count])
        assert (len(sent), sent.version, sent.at, sent.pause_children) == (count, 4, START, False)
        assert sent.agrees_with(now)
    assert not Sent(now).agrees_with(now[:3])
    end = Sent(shown(end=Ok()))
    assert (end.version, end.at) == (4, None)
    assert end.agrees_with(shown(end=Ok()))


def test_fields_of_ours_may_be_lost_and_those_of_the_future_added():
    lost = shown(*STEPS)
    schedule = lost[2].append_batch_create_new_execution.events[0].history_variant.schedule
    for field in ("function_name", "params", "due_at"):
        schedule.ClearField(field)
    assert Sent(lost).agrees_with(shown(*STEPS))
    future = pb.CapturedWrite.FromString(shown(CALL)[0].SerializeToString() + b"\x9a\x06\x01x")
    assert Sent([future]).agrees_with(shown(CALL))


def test_backtraces_do_not_count():
    sent = shown(CALL)
    sent[0].append_batch_create_new_execution.backtraces.add().execution_id.id = ID
    assert Sent(sent).agrees_with(shown(CALL))


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch.execution_id.MergeFrom(pb.ExecutionId(id=OTHER)),
        lambda batch: setattr(batch.events[0], "version", 7),
        lambda batch: setattr(batch.events[1].created_at, "seconds", 7),
        lambda batch: setattr(batch.child_requests[0].params, "value", b"[11]"),
        lambda batch: batch.events.pop(),
        lambda batch: batch.child_requests.pop(),
    ],
)
def test_anything_else_does_not_agree(change):
    sent = shown(CALL)
    change(sent[0].append_batch_create_new_execution)
    assert not Sent(sent).agrees_with(shown(CALL))


def test_executions_may_be_asked_to_be_paused_all_or_none():
    sent = shown(*STEPS)
    for write in (sent[0], sent[2]):
        write.append_batch_create_new_execution.child_requests[0].paused = True
    assert Sent(sent).pause_children
    assert Sent(sent).agrees_with(shown(*STEPS))
    sent[2].append_batch_create_new_execution.child_requests[0].paused = False
    with pytest.raises(InvalidArgument, match=r"some executions .* are paused and some are not; pause all or none"):
        Sent(sent)


def test_delays_cannot_be_paused():
    sent = shown(*STEPS)
    sent[1].append_batch.events[1].history_variant.join_set_request.delay_request.paused = True
    with pytest.raises(NotAvailable, match="delays cannot be paused in this version"):
        Sent(sent)


def test_what_makes_no_sense():
    with pytest.raises(InvalidArgument, match=r"argument `captured_writes.write` must exist"):
        Sent([pb.CapturedWrite()])
    end = shown(execution_id=ExecutionId(f"{ID}.g:1_2"), end=Ok())
    end[0].append_finished.ClearField("parent_join_set_id")
    with pytest.raises(InvalidArgument, match="belong together; one is missing"):
        Sent(end)
    sent = shown(CALL)
    sent[0].append_batch_create_new_execution.events[0].created_at.nanos = -1
    with pytest.raises(InvalidArgument, match="not a timestamp"):
        Sent(sent)
