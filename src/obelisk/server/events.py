"""Events of a log as protobuf messages.

Decides how each kind of event is written on the wire. Ids in a log are relative to its execution, on the wire they are
absolute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from obelisk.api.ports import Catalogue
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
    HistoryEvent,
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
    PersistKind,
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
from obelisk.core.ids import ChildId, ExecutionId, absolute, join_set_of, parent_of
from obelisk.core.instants import At, In, Now, ScheduleAt
from obelisk.proto import obelisk_pb2 as pb
from obelisk.server import messages

CHILD_PARAMS_URL: Final = "urn:obelisk:json:params:child-execution-request"

_Event = pb.ExecutionEvent
_History = pb.ExecutionEvent.HistoryEvent
_Child = _History.JoinSetRequest.ChildExecutionRequest
_Delay = _History.JoinSetRequest.DelayRequest
_CHILD_REJECTED: Final = {
    RejectReason.FUNCTION_NOT_FOUND: _Child.Error.KIND_FUNCTION_NOT_FOUND,
    RejectReason.TYPE_CHECK_ERROR: _Child.Error.KIND_TYPE_CHECK_ERROR,
}
_SCHEDULE_REJECTED: Final = {
    RejectReason.FUNCTION_NOT_FOUND: _History.Schedule.Error.KIND_FUNCTION_NOT_FOUND,
    RejectReason.TYPE_CHECK_ERROR: _History.Schedule.Error.KIND_TYPE_CHECK_ERROR,
}
_STUB_REFUSED: Final = {
    StubResult.EXECUTION_NOT_FOUND: _History.Stub.Error.KIND_EXECUTION_NOT_FOUND,
    StubResult.TYPE_CHECK_ERROR: _History.Stub.Error.KIND_TYPE_CHECK_ERROR,
    StubResult.CONFLICT: _History.Stub.Error.KIND_CONFLICT,
}
_TRIED: Final = {
    TryOutcome.FOUND: _History.JoinNextTry.FOUND,
    TryOutcome.PENDING: _History.JoinNextTry.PENDING,
    TryOutcome.ALL_PROCESSED: _History.JoinNextTry.ALL_PROCESSED,
}


def events(log: Log, catalogue: Catalogue) -> Iterator[pb.ExecutionEvent]:
    """The entries of `log`, in order."""
    writer = EventWriter(log.execution_id, log.created, catalogue)
    calls = {version: first for first, end in log.backtraces for version in range(first, end)}
    for entry in log.entries:
        message = writer.entry(entry)
        if entry.version in calls:
            message.backtrace_id = calls[entry.version]
        yield message


class EventWriter:
    """Writes the events of one execution."""

    def __init__(self, execution_id: ExecutionId, created: Created, catalogue: Catalogue) -> None:
        self._id = execution_id
        self._created = created
        self._catalogue = catalogue

    def entry(self, entry: LogEntry) -> pb.ExecutionEvent:
        """One entry of the log."""
        message = _Event(created_at=messages.timestamp(entry.created_at), version=entry.version)
        self._write(entry.event, message)
        return message

    def _write(self, event: Event, message: pb.ExecutionEvent) -> None:
        match event:
            case Created():
                message.created.CopyFrom(self._created_message(event))
            case Locked():
                message.locked.CopyFrom(self._locked(event))
            case Unlocked(backoff_expires_at, reason, traces):
                message.unlocked.backoff_expires_at.CopyFrom(messages.timestamp(backoff_expires_at))
                message.unlocked.reason = reason
                message.unlocked.http_client_traces.extend(messages.http_traces(traces))
            case TemporarilyFailed(backoff_expires_at, reason, detail, traces):
                message.temporarily_failed.reason = reason
                if detail:
                    message.temporarily_failed.detail = detail
                message.temporarily_failed.backoff_expires_at.CopyFrom(messages.timestamp(backoff_expires_at))
                message.temporarily_failed.http_client_traces.extend(messages.http_traces(traces))
            case TemporarilyTimedOut(backoff_expires_at, traces):
                message.temporarily_timed_out.backoff_expires_at.CopyFrom(messages.timestamp(backoff_expires_at))
                message.temporarily_timed_out.http_client_traces.extend(messages.http_traces(traces))
            case Finished(outcome, traces):
                message.finished.http_client_traces.extend(messages.http_traces(traces))
                function = self._catalogue.function(self._created.ffqn)
                message.finished.value.CopyFrom(messages.outcome(outcome, function))
            case Parked(reason, detail):
                message.parked.reason = reason
                if detail:
                    message.parked.detail = detail
            case Resumed():
                message.resumed.SetInParent()
            case Paused():
                message.paused.SetInParent()
            case Unpaused():
                message.unpaused.SetInParent()
            case CancellationRequested(failure):
                message.cancellation_requested.SetInParent()
                if failure is not None:
                    message.cancellation_requested.failure.CopyFrom(messages.failure(failure))
            case ComponentUpgraded(component, deployment, forced):
                upgraded = message.component_upgrade_finished
                upgraded.component_digest.CopyFrom(messages.digest(component))
                upgraded.deployment_id.CopyFrom(messages.deployment(deployment))
                upgraded.success.manual.force = forced
            case _:
                message.history_variant.CopyFrom(self._history(event))

    def _created_message(self, event: Created) -> pb.ExecutionEvent.Created:
        message = _Event.Created(
            function_name=messages.function_name(event.ffqn),
            params=messages.json_any(event.params, f"urn:obelisk:json:params:{event.ffqn}"),
            scheduled_at=messages.timestamp(event.scheduled_at),
            component_id=messages.component_id(event.component, event.ffqn, self._catalogue),
            deployment_id=messages.deployment(event.deployment),
            metadata=event.metadata,
        )
        parent = parent_of(self._id)
        if parent is not None:
            message.parent_execution_id.id = parent
        if event.join_set is not None:
            message.parent_join_set_id.CopyFrom(messages.join_set(event.join_set))
        if event.scheduled_by is not None:
            message.scheduled_by.id = event.scheduled_by
        if event.forked_from is not None:
            message.forked_from.execution_id.id = event.forked_from.execution_id
            message.forked_from.version = event.forked_from.version
            message.forked_from.began_at.CopyFrom(messages.timestamp(event.forked_from.began_at))
        if event.timeout_us is not None:
            message.timeout.CopyFrom(messages.duration(event.timeout_us))
        return message

    def _locked(self, event: Locked) -> pb.ExecutionEvent.Locked:
        created = self._created
        return _Event.Locked(
            component_id=messages.component_id(event.component or created.component, created.ffqn, self._catalogue),
            deployment_id=messages.deployment(event.deployment or created.deployment),
            lock_expires_at=messages.timestamp(event.lock_expires_at),
            run_id=event.run,
            executor_id=event.executor,
            retry_config=pb.ComponentRetryConfig(
                max_retries=event.max_retries, retry_exp_backoff=messages.duration(event.retry_exp_backoff_us)
            ),
        )

    def _history(self, event: HistoryEvent) -> pb.ExecutionEvent.HistoryEvent:
        match event:
            case Persist(kind, value):
                data = messages.json_any(value, "unknown")
                return _History(persist=_History.Persist(data=data, kind=_persist_kind(kind)))
            case JoinSetCreated(join_set):
                return _History(join_set_created=_History.JoinSetCreated(join_set_id=messages.join_set(join_set)))
            case ChildRequested() | ChildRejected():
                request = _History.JoinSetRequest(
                    join_set_id=messages.join_set(join_set_of(event.child)),
                    child_execution_request=self._child_request(event),
                )
                return _History(join_set_request=request)
            case DelayRequested(delay, schedule_at, expires_at):
                delay_request = _Delay(
                    delay_id=messages.delay_id(self._id, delay), expires_at=messages.timestamp(expires_at)
                )
                _put_schedule(delay_request.scheduled_at, schedule_at)
                request = _History.JoinSetRequest(
                    join_set_id=messages.join_set(join_set_of(delay)), delay_request=delay_request
                )
                return _History(join_set_request=request)
            case JoinNext(join_set, run_expires_at, ffqn, closing):
                join_next = _History.JoinNext(
                    join_set_id=messages.join_set(join_set),
                    run_expires_at=messages.timestamp(run_expires_at),
                    closing=closing,
                    function=None if ffqn is None else messages.function_name(ffqn),
                )
                return _History(join_next=join_next)
            case JoinNextTooMany(join_set, ffqn):
                too_many = _History.JoinNextTooMany(
                    join_set_id=messages.join_set(join_set),
                    function=None if ffqn is None else messages.function_name(ffqn),
                )
                return _History(join_next_too_many=too_many)
            case JoinNextTry(join_set, tried):
                join_set_id = messages.join_set(join_set)
                return _History(join_next_try=_History.JoinNextTry(join_set_id=join_set_id, outcome=_TRIED[tried]))
            case Scheduled() | ScheduleRejected():
                return _History(schedule=_schedule(event))
            case Stubbed():
                return _History(stub=self._stub(event))

    def _child_request(
        self, event: ChildRequested | ChildRejected
    ) -> pb.ExecutionEvent.HistoryEvent.JoinSetRequest.ChildExecutionRequest:
        message = _Child(
            child_execution_id=messages.execution_id(absolute(self._id, event.child)),
            function_name=messages.function_name(event.ffqn),
            params=messages.json_any(event.params, CHILD_PARAMS_URL),
        )
        if isinstance(event, ChildRejected):
            message.error.kind = _CHILD_REJECTED[event.reason]
            if event.message:
                message.error.detail = event.message
        else:
            message.ok.SetInParent()
            if event.given:
                message.params_given.CopyFrom(messages.json_any(event.given, CHILD_PARAMS_URL))
        if event.timeout_us is not None:
            message.timeout.CopyFrom(messages.duration(event.timeout_us))
        return message

    def stubbed(self, event: Stubbed) -> ExecutionId:
        """Whose result was given."""
        target = event.target
        return ExecutionId(target) if target.startswith("E_") else absolute(self._id, ChildId(target))

    def _stub(self, event: Stubbed) -> pb.ExecutionEvent.HistoryEvent.Stub:
        message = _History.Stub(execution_id=messages.execution_id(self.stubbed(event)), retval_hash=event.retval_hash)
        if event.result is StubResult.OK:
            message.ok.SetInParent()
        else:
            message.error.kind = _STUB_REFUSED[event.result]
            if event.message:
                message.error.detail = event.message
        return message


def _schedule(event: Scheduled | ScheduleRejected) -> pb.ExecutionEvent.HistoryEvent.Schedule:
    url = f"urn:obelisk:json:params:{event.ffqn}"
    message = _History.Schedule(
        execution_id=messages.execution_id(event.execution_id),
        function_name=messages.function_name(event.ffqn),
        params=messages.json_any(event.params, url),
    )
    _put_schedule(message.scheduled_at, event.schedule_at)
    if isinstance(event, ScheduleRejected):
        message.error.kind = _SCHEDULE_REJECTED[event.reason]
        if event.message:
            message.error.detail = event.message
    else:
        message.ok.SetInParent()
        message.due_at.CopyFrom(messages.timestamp(event.scheduled_at))
        if event.given:
            message.params_given.CopyFrom(messages.json_any(event.given, url))
    if event.timeout_us is not None:
        message.timeout.CopyFrom(messages.duration(event.timeout_us))
    return message


def _persist_kind(kind: PersistKind) -> pb.ExecutionEvent.HistoryEvent.Persist.PersistKind:
    kinds = _History.Persist.PersistKind
    match kind:
        case PersistRandomU64(low, high):
            return kinds(random_u64=kinds.RandomU64(min=low, max_inclusive=high))
        case PersistRandomString(low, high):
            return kinds(random_string=kinds.RandomString(min_length=low, max_length_exclusive=high))
        case PersistExecutionId():
            return kinds(execution_id=kinds.ExecutionId())


def _put_schedule(message: Any, schedule: ScheduleAt) -> None:
    """Writes into a `ScheduledAt`; there are two of the same form."""
    match schedule:
        case Now():
            message.now.SetInParent()
        case At(at):
            message.at.at.CopyFrom(messages.timestamp(at))
        case In(us):
            message_in = getattr(message, "in")  # a keyword of Python
            getattr(message_in, "in").CopyFrom(messages.duration(us))
