"""Inputs: everything that can make the engine act. Facts from outside, applied in the order in which a tick admits them."""

from __future__ import annotations

import msgspec

from obelisk.core.batch import Recovered, Request, RequestBody, Snapshot
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import DelayRef, Digest, ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import Guest, Step
from obelisk.core.values import Err, Failure, Json, Ok


class Submit(msgspec.Struct, frozen=True):
    """A client wants a new top-level execution. Answered by an `Answer` with the same `token`."""

    token: int
    execution_id: ExecutionId
    ffqn: FunctionName
    params: Json
    """Canonical, and checked against the function's type."""
    scheduled_at: Instant | None = None
    """None: at once."""
    metadata: dict[str, str] = {}
    paused: bool = False
    """Whether it is born paused."""
    until_end: bool = False
    """Whoever submits it waits for its end, and need not be told that it was created: that is the one answer left out."""


class GiveResult(msgspec.Struct, frozen=True):
    """A client has the result of an execution of a stub activity; it fits the function's type."""

    outcome: Ok | Err


class Operate(msgspec.Struct, frozen=True):
    """A client wants something of an existing execution. Answered by an `Answer` with the same `token`."""

    token: int
    execution_id: ExecutionId
    body: RequestBody | GiveResult


class Fork(msgspec.Struct, frozen=True):
    """A client wants a copy of an execution that goes on from an earlier point. `origin` was read by the client and found
    to replay, as far as `version` (exclusive), on `component`. Answered by an `Answer` with the same `token`.
    """

    token: int
    execution_id: ExecutionId
    """Of the new execution, top-level."""
    origin: Snapshot
    version: int
    component: Digest
    paused: bool = False


class AttemptSliced(msgspec.Struct, frozen=True):
    """An attempt has had its first slice of CPU and has not ended with it."""

    execution_id: ExecutionId
    run: RunId


class AttemptFinished(msgspec.Struct, frozen=True):
    """An attempt at an activity ended. `final`: the failure cannot be helped by trying again."""

    execution_id: ExecutionId
    run: RunId
    result: Ok | Err | Failure
    final: bool = False
    http_traces: tuple[HttpTrace, ...] = ()
    """What it sent over HTTP; kept with its end."""


class AttemptStopped(msgspec.Struct, frozen=True):
    """An attempt was given up by a clean stop; it counts as nothing."""

    execution_id: ExecutionId
    run: RunId
    reason: str
    http_traces: tuple[HttpTrace, ...] = ()
    """What it had sent over HTTP."""


class AttemptKilled(msgspec.Struct, frozen=True):
    """An attempt that was to be killed does nothing any more (it may have ended before)."""

    execution_id: ExecutionId
    run: RunId
    http_traces: tuple[HttpTrace, ...] = ()
    """What it had sent over HTTP."""


class Stepped(msgspec.Struct, frozen=True):
    """A guest that went to the CPU lane reached its next step (never `Yielded`). `generation` tells which guest it was."""

    execution_id: ExecutionId
    generation: int
    guest: Guest
    step: Step


class Loaded(msgspec.Struct, frozen=True):
    """What the store has of an execution; None: nothing."""

    execution_id: ExecutionId
    snapshot: Snapshot | None


class Looked(msgspec.Struct, frozen=True):
    """The answer to `Look`; None: there is no such execution."""

    execution_id: ExecutionId
    snapshot: Snapshot | None


class Requested(msgspec.Struct, frozen=True):
    """A request lies in an execution's inbox."""

    request: Request


class Claimed(msgspec.Struct, frozen=True):
    """Leases that were just taken, of executions that were free or whose owner is gone."""

    recovered: Recovered


class News(msgspec.Struct, frozen=True):
    """Others wrote responses or requests for these executions; a hint, the store is the truth."""

    execution_ids: list[ExecutionId]


class DelayDue(msgspec.Struct, frozen=True):
    """A delay has expired. Made by the engine out of its own timers."""

    execution_id: ExecutionId
    delay: DelayRef


class PendingDue(msgspec.Struct, frozen=True):
    """A pending execution may start. Made by the engine out of its own timers."""

    execution_id: ExecutionId


class CrashedTooOften(msgspec.Struct, frozen=True):
    """The process died during each of an execution's last runs. Made by the engine out of the state row."""

    execution_id: ExecutionId


Input = (
    Submit
    | Operate
    | Fork
    | Looked
    | AttemptSliced
    | AttemptFinished
    | AttemptStopped
    | AttemptKilled
    | Stepped
    | Loaded
    | Requested
    | Claimed
    | News
    | DelayDue
    | PendingDue
    | CrashedTooOften
)
