"""The state row: what is known of an execution without reading its log.

Decides which facts it has and what they are called. How they follow from events is decided in `transitions`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from obelisk.core.ids import DeploymentId, Digest, ExecutionId, ExecutorId, JoinSetId, RunId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName


class Status(StrEnum):
    """What an execution is doing."""

    PENDING = "pending"
    LOCKED = "locked"
    BLOCKED = "blocked"
    FINISHED = "finished"


class Lifecycle(StrEnum):
    """Whether an execution may go on."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    PARKED = "parked"


class ExecutionState(msgspec.Struct, gc=False):
    """The state row: one mutable record per execution. Times are instants (microseconds), counts are from 0."""

    execution_id: ExecutionId
    ffqn: FunctionName
    component: Digest
    deployment: DeploymentId
    created_at: Instant
    first_scheduled_at: Instant
    join_set: JoinSetId | None
    """The parent's join set; None for a top-level execution."""
    updated_at: Instant
    status: Status = Status.PENDING
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    next_version: int = 1
    response_count: int = 0
    """Responses in the store, as far as this row's writer knew; the last `seq`."""
    responses_known: int = 0
    """Responses that the holder of the execution had taken in when it last wrote; fewer when others posted since."""
    pending_at: Instant = Instant(0)
    """When pending: not to be started before. Otherwise meaningless."""
    run: RunId | None = None
    executor: ExecutorId | None = None
    lock_expires_at: Instant = Instant(0)
    blocked_on: JoinSetId | None = None
    closing: bool = False
    """When blocked: whether the join set is being closed."""
    failures: int = 0
    """Temporary failures and timeouts so far."""
    crashes: int = 0
    """Crashes of the process during its runs since its last event other than `locked`."""
    finished_at: Instant | None = None
    finish_kind: str | None = None
    """`ok`, `err`, or a `FailureKind`."""
    priority: int = 0
    owner: ExecutorId | None = None
    """Who holds the lease: the only one that may append to the log. None: free to be claimed."""
    lease_epoch: int = 0
    """Raised whenever the lease changes hands; the fence against owners that were thought dead."""
    lease_expires_at: Instant | None = None
    """None: never, which is so where one process owns the store."""

    def copy(self) -> ExecutionState:
        """A snapshot, for a unit of a batch."""
        return self.__copy__()  # type: ignore[no-any-return, attr-defined]
