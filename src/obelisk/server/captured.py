"""Captured writes: what a replay shows of a workflow's next steps, as protobuf messages, and read back.

Decides how each step is written on the wire, and when what a client sends back is what was shown: apart from what it may
ask for (`paused`, `backtraces`), and from fields of ours, which clients of the original's schema may have lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from google.protobuf.message import Message

from obelisk.api.errors import InvalidArgument, NotAvailable
from obelisk.api.ports import Catalogue
from obelisk.api.views import Replay
from obelisk.core.decisions import Write
from obelisk.core.events import ChildRequested, Created, HistoryEvent, JoinNext, LogEntry, Scheduled, Stubbed
from obelisk.core.ids import ExecutionId, absolute, join_set_of, parent_of, relative
from obelisk.core.instants import Instant
from obelisk.core.values import Outcome
from obelisk.proto import obelisk_pb2 as pb
from obelisk.server import messages, requests
from obelisk.server.events import EventWriter

PARAMS_URL: Final = "urn:obelisk:json:params"
_OURS: Final = 1_000
"""From this number on fields are additions of this server."""

_Write = pb.CapturedWrite


def captured(replay: Replay, catalogue: Catalogue) -> Iterator[pb.CapturedWrite]:
    """What the replay showed, a message for each step."""
    writer = _Writer(replay, catalogue)
    version = replay.next_version
    for index, step in enumerate(replay.steps):
        yield writer.step(step, version, is_last=index == len(replay.steps) - 1)
        version += len(step)
    if replay.end is not None and not replay.is_finished:
        yield writer.end(replay.end, version)


class _Writer:
    """Writes the steps of one execution."""

    def __init__(self, replay: Replay, catalogue: Catalogue) -> None:
        created = replay.snapshot.log[0].event
        assert isinstance(created, Created)
        self._replay = replay
        self._id = replay.execution_id
        self._created = created
        self._catalogue = catalogue
        self._events = EventWriter(self._id, created, catalogue)

    def step(self, step: tuple[Write, ...], version: int, *, is_last: bool) -> pb.CapturedWrite:
        """One host call."""
        execution_id = messages.execution_id(self._id)
        events = [self._event(write.event, version + index) for index, write in enumerate(step)]
        created = [request for write in step if (request := self._create(write)) is not None]
        last = step[-1].event
        if created:
            batch = _Write.AppendBatchCreateNewExecution(
                events=events, execution_id=execution_id, version=version, child_requests=created
            )
            return _Write(append_batch_create_new_execution=batch)
        if isinstance(last, Stubbed) and is_last and self._replay.stub is not None:
            return _Write(append_stub_response=self._stub(last, events, version))
        if len(events) == 1:
            return _Write(append=_Write.Append(execution_id=execution_id, version=version, event=events[0]))
        return _Write(append_batch=_Write.AppendBatch(events=events, execution_id=execution_id, version=version))

    def _event(self, event: HistoryEvent, version: int) -> pb.ExecutionEvent:
        if isinstance(event, JoinNext):
            event = msgspec.structs.replace(event, run_expires_at=self._replay.at)
        return self._events.entry(LogEntry(version, self._replay.at, event))

    def _create(self, write: Write) -> pb.CreateExecutionRequest | None:
        """The execution that comes with an event."""
        event, at = write.event, self._replay.at
        match event:
            case ChildRequested(child, ffqn, params):
                message = self._new(absolute(self._id, child), ffqn, params, at)
                message.parent_execution_id.id = self._id
                message.parent_join_set_id.CopyFrom(messages.join_set(join_set_of(child)))
                return message
            case Scheduled(execution_id, ffqn, params, _, scheduled_at) if not write.exists:
                message = self._new(execution_id, ffqn, params, scheduled_at)
                message.scheduled_by.id = self._id
                return message
        return None

    def _new(
        self, execution_id: ExecutionId, ffqn: Any, params: Any, scheduled_at: Instant
    ) -> pb.CreateExecutionRequest:
        message = pb.CreateExecutionRequest(
            execution_id=messages.execution_id(execution_id),
            function_name=messages.function_name(ffqn),
            params=messages.json_any(params, PARAMS_URL),
            scheduled_at=messages.timestamp(scheduled_at),
            deployment_id=messages.deployment(self._catalogue.deployment_id),
            created_at=messages.timestamp(self._replay.at),
            metadata=self._created.metadata,
        )
        info = self._catalogue.active(ffqn)
        if info is not None:
            message.component_id.CopyFrom(messages.component_id(info.component, ffqn, self._catalogue))
        return message

    def _stub(
        self, event: Stubbed, events: list[pb.ExecutionEvent], version: int
    ) -> pb.CapturedWrite.AppendStubResponse:
        target, stub = self._events.stubbed(event), self._replay.stub
        assert stub is not None
        return _Write.AppendStubResponse(
            execution_id=messages.execution_id(self._id),
            version=version,
            events=events,
            parent_execution_id=messages.execution_id(parent_of(target) or self._id),
            join_set_id=messages.join_set(join_set_of(relative(target))),
            child_execution_id=messages.execution_id(target),
            result=messages.outcome(stub.outcome, stub.function),
            finished_version=stub.version,
        )

    def end(self, outcome: Outcome, version: int) -> pb.CapturedWrite:
        """The end of the execution."""
        function = self._catalogue.function(self._created.ffqn)
        finished = _Write.AppendFinished(
            execution_id=messages.execution_id(self._id),
            version=version,
            event=pb.ExecutionEvent.Finished(value=messages.outcome(outcome, function)),
        )
        parent = parent_of(self._id)
        if parent is not None:
            finished.parent_execution_id.id = parent
            finished.parent_join_set_id.CopyFrom(messages.join_set(join_set_of(relative(self._id))))
        return _Write(append_finished=finished)


# --- what clients send back ------------------------------------------------------------------------------------------


class Sent:
    """Captured writes that a client sends back, read. `InvalidArgument` when they make no sense, `NotAvailable` when they
    ask for what this version cannot do.
    """

    def __init__(self, writes: list[pb.CapturedWrite]) -> None:
        self._writes = [_known(write) for write in writes]
        bodies = [_body(write) for write in writes]
        self.version: int = bodies[0].version
        """Of the first event."""
        events = [event for body in bodies for event in _events(body)]
        self.at: Instant | None = requests.instant(events[0].created_at) if events else None
        """When the replay was made."""
        children = [child for body in bodies for child in getattr(body, "child_requests", ())]
        paused = [child.paused for child in children]
        if any(paused) and not all(paused):
            raise InvalidArgument("some executions of `captured_writes` are paused and some are not; pause all or none")
        self.pause_children = any(paused)
        """Whether what is created is to be born paused."""
        for body in bodies:
            if isinstance(body, _Write.AppendFinished) and body.HasField("parent_execution_id") != body.HasField(
                "parent_join_set_id"
            ):
                raise InvalidArgument("`parent_execution_id` and `parent_join_set_id` belong together; one is missing")
        if any(event.history_variant.join_set_request.delay_request.paused for event in events):
            raise NotAvailable("delays cannot be paused in this version; send `captured_writes` as they were shown")

    def __len__(self) -> int:
        return len(self._writes)

    def agrees_with(self, shown: list[pb.CapturedWrite]) -> bool:
        """Whether it is a beginning of what a replay shows now."""
        return len(shown) >= len(self._writes) and [_known(write) for write in shown[: len(self)]] == self._writes


def _body(write: pb.CapturedWrite) -> Any:
    kind = write.WhichOneof("write")
    if kind is None:
        raise InvalidArgument("argument `captured_writes.write` must exist")
    return getattr(write, kind)


def _events(body: Any) -> list[pb.ExecutionEvent]:
    if isinstance(body, _Write.Append):
        return [body.event]
    return [] if isinstance(body, _Write.AppendFinished) else list(body.events)


def _known(write: pb.CapturedWrite) -> pb.CapturedWrite:
    """A copy with what counts: without what a client may ask for, and without fields of ours."""
    copy = _Write()
    copy.CopyFrom(write)
    copy.DiscardUnknownFields()
    body = _body(copy)
    if hasattr(body, "backtraces"):
        del body.backtraces[:]
    for child in getattr(body, "child_requests", ()):
        child.paused = False
    _strip(copy)
    return copy


def _strip(message: Message) -> None:
    """Clears the fields of ours, at any depth."""
    for field, value in message.ListFields():
        if field.number >= _OURS:
            message.ClearField(field.name)
        elif field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        elif field.is_repeated:
            for item in value:
                _strip(item)
        else:
            _strip(value)
