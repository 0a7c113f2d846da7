"""Inputs: everything that can make the engine act. Facts from outside, applied in the order in which a tick admits them."""

from __future__ import annotations

import msgspec

from obelisk.core.batch import Recovered, Request, Snapshot
from obelisk.core.ids import DelayRef, ExecutionId, RunId
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


class AttemptStopped(msgspec.Struct, frozen=True):
    """An attempt was given up by a clean stop; it counts as nothing."""

    execution_id: ExecutionId
    run: RunId
    reason: str


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
    | AttemptSliced
    | AttemptFinished
    | AttemptStopped
    | Stepped
    | Loaded
    | Requested
    | Claimed
    | News
    | DelayDue
    | PendingDue
    | CrashedTooOften
)
