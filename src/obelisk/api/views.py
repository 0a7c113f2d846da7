"""What the use cases answer with: rows and log entries of the core, beside what else is needed to show them."""

from __future__ import annotations

import msgspec

from obelisk.api.ports import FunctionView
from obelisk.core.events import Created, LogEntry
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.ports import FunctionKind
from obelisk.core.reading import FinalResult
from obelisk.core.responses import Response
from obelisk.core.transitions import ExecutionState, Lifecycle, Status


class Result(msgspec.Struct, frozen=True):
    """How an execution ended."""

    final: FinalResult
    function: FunctionView | None
    """The function as deployed now, for the types of its payloads."""


class Execution(msgspec.Struct, frozen=True):
    """An execution as lists and followers see it."""

    state: ExecutionState
    kind: FunctionKind | None
    """What runs it; None when its component is not deployed any more."""
    parked_reason: str = ""
    result: Result | None = None
    """How it ended, where that was asked for."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.state.status is Status.FINISHED

    @property
    def visible(self) -> tuple[object, ...]:
        """Everything of the state that a follower is told about; equal when there is nothing new to tell."""
        state = self.state
        match state.status, state.lifecycle:
            case Status.FINISHED, _:
                return "finished", state.finished_at
            case _, Lifecycle.PARKED:
                return "parked", self.parked_reason
            case Status.PENDING, _:
                return "pending", state.lifecycle, state.pending_at
            case Status.LOCKED, _:
                return "locked", state.lifecycle, state.run, state.lock_expires_at
            case _:
                return "blocked", state.lifecycle, state.blocked_on, state.lock_expires_at, state.closing


class Log(msgspec.Struct, frozen=True):
    """A part of an execution's log."""

    execution_id: ExecutionId
    created: Created
    """Version 0, whether or not it is among the entries."""
    entries: list[LogEntry]
    max_version: int
    """The last version that there is."""


class Responses(msgspec.Struct, frozen=True):
    """A part of an execution's responses."""

    execution_id: ExecutionId
    responses: list[Response]
    functions: dict[ExecutionId, FunctionView]
    """Of the children among the responses, where they are deployed."""
    max_seq: int
    """The last number that there is; 0: none."""


class Progress(msgspec.Struct, frozen=True):
    """An execution of a watched tree."""

    execution: Execution
    first_started_at: Instant | None
    """When it was first locked; None: not yet."""


class TreeChange(msgspec.Struct, frozen=True):
    """One piece of a change stream."""

    progress: list[Progress]
    at: Instant
    """When it was put together."""
    snapshot_complete: bool = False
