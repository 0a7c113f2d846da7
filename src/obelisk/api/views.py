"""What the use cases answer with: rows and log entries of the core, beside what else is needed to show them."""

from __future__ import annotations

import msgspec

from obelisk.api.ports import FunctionView
from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Snapshot
from obelisk.core.decisions import Write
from obelisk.core.events import Created, LogEntry
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.core.reading import FinalResult
from obelisk.core.responses import Response
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import Err, FailureKind, Ok, Outcome


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
    is_program: bool = False
    """Whether that is a program of the host."""
    parked_reason: str = ""
    parked_detail: str = ""
    parked_kind: FailureKind | None = None
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
                return "parked", self.parked_reason, self.parked_detail
            case _, Lifecycle.PAUSED | Lifecycle.CANCELLING:
                return (state.lifecycle,)
            case Status.PENDING, _:
                return "pending", state.pending_at
            case Status.LOCKED, _:
                return "locked", state.run, state.lock_expires_at
            case _:
                return "blocked", state.blocked_on, state.lock_expires_at, state.closing


class GivenResult(msgspec.Struct, frozen=True):
    """The result that a workflow would give for an execution of a stub activity."""

    outcome: Ok | Err
    version: int
    """Of the `finished` that it is, or would be."""
    function: FunctionView | None


class Replay(msgspec.Struct, frozen=True):
    """What a workflow came to when it was run against its log."""

    snapshot: Snapshot
    """The execution as it was then."""
    component: Digest
    """What it was run on."""
    at: Instant
    """When its next host calls were made, for want of a better instant."""
    steps: tuple[tuple[Write, ...], ...] = ()
    """What it would write next, by host call."""
    stub: GivenResult | None = None
    """Of the last step, where that gives a result for another execution."""
    end: Outcome | None = None
    """How it would end after these steps, or ended."""
    problem: str = ""
    """Where it left its log, and how; several lines. Empty: it did not."""

    @property
    def execution_id(self) -> ExecutionId:
        """Whose log it was."""
        return self.snapshot.state.execution_id

    @property
    def next_version(self) -> int:
        """The version that its next event gets."""
        return self.snapshot.state.next_version

    @property
    def is_finished(self) -> bool:
        """Whether the execution had ended."""
        return self.snapshot.state.status is Status.FINISHED


class Advanced(msgspec.Struct, frozen=True):
    """A paused execution went on by what was asked for."""

    execution: Execution


class Mismatch(msgspec.Struct, frozen=True):
    """It went on since the client looked at it: its next event gets this version now."""

    next_version: int


class BacktraceOf(msgspec.Struct, frozen=True):
    """A backtrace of an execution of `ffqn`."""

    ffqn: FunctionName
    backtrace: Backtrace
    recorded_on: Digest | None = None
    """The component that it ran on then, when that is another one, which is not loaded any more."""


class Persisting(msgspec.Struct, frozen=True):
    """How far the making of all backtraces of an execution has come."""

    count: int
    """How many are kept now that were not before."""
    version: int
    """Events before this one have been gone through, of those before `end`."""
    end: int
    gone: int = 0
    """Events without a backtrace, since the component that left them is not loaded any more."""


class Log(msgspec.Struct, frozen=True):
    """A part of an execution's log."""

    execution_id: ExecutionId
    created: Created
    """Version 0, whether or not it is among the entries."""
    entries: list[LogEntry]
    max_version: int
    """The last version that there is."""
    backtraces: list[tuple[int, int]] = []
    """Of which host calls backtraces are kept: the first event of each, and the one after its last."""


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
