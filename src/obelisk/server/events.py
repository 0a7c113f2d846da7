"""Events of a log as protobuf messages.

Decides how each kind of event is written on the wire. Ids in a log are relative to its execution, on the wire they are
absolute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from obelisk.api.ports import Catalogue
from obelisk.api.views import Log
from obelisk.core.events import (
    ChildRequested,
    Created,
    DelayRequested,
    Event,
    Finished,
    HistoryEvent,
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
from obelisk.core.ids import ExecutionId, absolute, join_set_of, parent_of
from obelisk.core.instants import At, In, Now, ScheduleAt
from obelisk.proto import obelisk_pb2 as pb
from obelisk.server import messages

CHILD_PARAMS_URL: Final = "urn:obelisk:json:params:child-execution-request"

_Event = pb.ExecutionEvent
_History = pb.ExecutionEvent.HistoryEvent
_ScheduledAt = _History.JoinSetRequest.DelayRequest.ScheduledAt


def events(log: Log, catalogue: Catalogue) -> Iterator[pb.ExecutionEvent]:
    """The entries of `log`, in order."""
    writer = _Writer(log.execution_id, log.created, catalogue)
    return map(writer.entry, log.entries)


class _Writer:
    """Writes the events of one execution."""

    def __init__(self, execution_id: ExecutionId, created: Created, catalogue: Catalogue) -> None:
        self._id = execution_id
        self._created = created
        self._catalogue = catalogue

    def entry(self, entry: LogEntry) -> pb.ExecutionEvent:
        message = _Event(created_at=messages.timestamp(entry.created_at), version=entry.version)
        self._write(entry.event, message)
        return message

    def _write(self, event: Event, message: pb.ExecutionEvent) -> None:
        match event:
            case Created():
                message.created.CopyFrom(self._created_message(event))
            case Locked():
                message.locked.CopyFrom(self._locked(event))
            case Unlocked(backoff_expires_at, reason):
                message.unlocked.backoff_expires_at.CopyFrom(messages.timestamp(backoff_expires_at))
                message.unlocked.reason = reason
            case TemporarilyFailed(backoff_expires_at, reason, detail):
                message.temporarily_failed.reason = reason
                if detail:
                    message.temporarily_failed.detail = detail
                message.temporarily_failed.backoff_expires_at.CopyFrom(messages.timestamp(backoff_expires_at))
            case TemporarilyTimedOut(backoff_expires_at):
                message.temporarily_timed_out.backoff_expires_at.CopyFrom(messages.timestamp(backoff_expires_at))
            case Finished(outcome):
                function = self._catalogue.function(self._created.ffqn)
                message.finished.value.CopyFrom(messages.outcome(outcome, function))
            case Parked(reason, detail):
                message.parked.reason = reason
                if detail:
                    message.parked.detail = detail
            case Resumed():
                message.resumed.SetInParent()
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
            case ChildRequested(child, ffqn, params):
                child_request = _History.JoinSetRequest.ChildExecutionRequest(
                    child_execution_id=messages.execution_id(absolute(self._id, child)),
                    function_name=messages.function_name(ffqn),
                    params=messages.json_any(params, CHILD_PARAMS_URL),
                    ok=_History.JoinSetRequest.ChildExecutionRequest.Ok(),
                )
                request = _History.JoinSetRequest(
                    join_set_id=messages.join_set(join_set_of(child)), child_execution_request=child_request
                )
                return _History(join_set_request=request)
            case DelayRequested(delay, schedule_at, expires_at):
                delay_request = _History.JoinSetRequest.DelayRequest(
                    delay_id=messages.delay_id(self._id, delay),
                    expires_at=messages.timestamp(expires_at),
                    scheduled_at=_scheduled_at(schedule_at),
                )
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


def _persist_kind(
    kind: PersistRandomU64 | PersistRandomString,
) -> pb.ExecutionEvent.HistoryEvent.Persist.PersistKind:
    kinds = _History.Persist.PersistKind
    match kind:
        case PersistRandomU64(low, high):
            return kinds(random_u64=kinds.RandomU64(min=low, max_inclusive=high))
        case PersistRandomString(low, high):
            return kinds(random_string=kinds.RandomString(min_length=low, max_length_exclusive=high))


def _scheduled_at(
    schedule: ScheduleAt,
) -> pb.ExecutionEvent.HistoryEvent.JoinSetRequest.DelayRequest.ScheduledAt:
    match schedule:
        case Now():
            return _ScheduledAt(now=_ScheduledAt.Now())
        case At(at):
            return _ScheduledAt(at=_ScheduledAt.At(at=messages.timestamp(at)))
        case In(us):
            message = _ScheduledAt()
            message_in = getattr(message, "in")  # a keyword of Python
            getattr(message_in, "in").CopyFrom(messages.duration(us))
            return message
