"""What the engine asks of durable memory: batches of units, and reading back.

Decides the contract between the engine and every store; `store/` implements it, one conformance suite holds for all.

A **batch** is committed in one durable transaction. It is an ordered list of **units**. A unit is atomic: all of its rows
are written, or none. It carries what it expects of the executions that it touches and the units that it was decided on
top of. Units are applied in order, each seeing the ones before it; a unit whose expectations fail, or that depends on a
refused one, is refused and changes nothing; the others are applied all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from obelisk.core.backtraces import Backtrace
from obelisk.core.events import Event, LogEntry
from obelisk.core.ids import DelayRef, DeploymentId, Digest, ExecutionId, ExecutorId
from obelisk.core.instants import Instant
from obelisk.core.lines import NewLogLine
from obelisk.core.responses import Response
from obelisk.core.state import ExecutionState
from obelisk.core.values import Failure


class Expect(msgspec.Struct, frozen=True, gc=False):
    """What must hold for an execution when its unit is applied."""

    execution_id: ExecutionId
    next_version: int
    """The version that its next event gets; 0: the execution must not exist."""
    lease_epoch: int = 0
    response_count: int | None = None
    """How many responses it has; None: does not matter."""


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event to append."""

    execution_id: ExecutionId
    version: int
    created_at: Instant
    event: Event


class NewResponse(msgspec.Struct, frozen=True, gc=False):
    """A response to write. `response.seq` 0: the writer does not hold the execution, so the store gives it the next
    number and raises `response_count` of the state row (and nothing else of it).
    """

    execution_id: ExecutionId
    response: Response


class Delay(msgspec.Struct, frozen=True, gc=False):
    """A delay that is not resolved yet."""

    execution_id: ExecutionId
    delay: DelayRef
    expires_at: Instant


class CancelRequest(msgspec.Struct, frozen=True, tag="cancel"):
    """End the execution as cancelled, with all that derives from it."""


class CancelDelayRequest(msgspec.Struct, frozen=True, tag="cancel_delay"):
    """Resolve a delay as cancelled."""

    delay: DelayRef


class PauseRequest(msgspec.Struct, frozen=True, tag="pause"):
    """Let the execution stand still."""


class UnpauseRequest(msgspec.Struct, frozen=True, tag="unpause"):
    """Let a paused execution go on."""


class ResumeRequest(msgspec.Struct, frozen=True, tag="resume"):
    """Let a parked execution go on: what kept it from it is mended."""


class FailRequest(msgspec.Struct, frozen=True, tag="fail"):
    """End a parked execution as `failure`, with all that derives from it."""

    failure: Failure


class UpgradeRequest(msgspec.Struct, frozen=True, tag="upgrade"):
    """Run the execution on another component from now on. `checked`: its log was found to replay there up to this
    version (exclusive); None: without a check.
    """

    component: Digest
    checked: int | None


class AdvanceRequest(msgspec.Struct, frozen=True, tag="advance"):
    """Let a paused execution make its next `steps` host calls that write something, and stand still again. `checked`: its
    log was looked at up to this version (exclusive). `pause_children`: executions that it creates are born paused.
    """

    checked: int
    steps: int = 1
    pause_children: bool = False


RequestBody = (
    CancelRequest
    | CancelDelayRequest
    | PauseRequest
    | UnpauseRequest
    | ResumeRequest
    | FailRequest
    | UpgradeRequest
    | AdvanceRequest
)


class Request(msgspec.Struct, frozen=True):
    """A row of the inbox of an execution: what somebody who does not hold it wants of it. `id` 0: the store gives one,
    rising in the order of arrival.
    """

    execution_id: ExecutionId
    created_at: Instant
    body: RequestBody
    id: int = 0


class Unit(msgspec.Struct):
    """An atomic piece of a batch."""

    expects: list[Expect]
    after: list[int] = []
    """Indexes in the batch of the units that this one was decided on top of; all lower than its own."""
    events: list[NewEvent] = []
    responses: list[NewResponse] = []
    states: list[ExecutionState] = []
    """State rows to insert or replace; each execution at most once in a unit."""
    delays: list[Delay] = []
    delays_done: list[tuple[ExecutionId, DelayRef]] = []
    """Delays to delete."""
    requests: list[Request] = []
    """Those for an execution that has finished are dropped; when one finishes, its inbox is emptied."""
    requests_done: list[int] = []
    """Ids of requests to delete."""
    lines: list[NewLogLine] = []
    """Lines for the logs of executions, in order. One of an execution that does not exist is dropped, as is one whose place
    is taken."""


class RefusedBy(StrEnum):
    """Which expectation failed."""

    EXISTS = "exists"
    """The execution must not exist, but does."""
    MISSING = "missing"
    """The execution does not exist."""
    VERSION = "version"
    RESPONSES = "responses"
    LEASE = "lease"
    DEPENDENCY = "dependency"
    """A unit that this one was decided on top of was refused."""


class Applied(msgspec.Struct, frozen=True):
    """The unit is durable. `request_ids`: ids given to its requests, in order."""

    request_ids: tuple[int, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """The unit changed nothing."""

    by: RefusedBy
    execution_id: ExecutionId | None = None


UnitOutcome = Applied | Refused


class CommitUnknown(Exception):
    """The store cannot tell whether the batch was committed; ask `outcome_of` until it can."""


class StoreFailed(Exception):
    """The store can no longer promise durability (disk full, failed fsync, file damaged). Stop; a restart recovers."""


class Snapshot(msgspec.Struct):
    """All of one execution."""

    state: ExecutionState
    log: list[LogEntry]
    responses: list[Response]
    requests: list[Request]
    delays: list[Delay]


class BacktraceStore(Protocol):
    """Durable memory of backtraces. For any thread."""

    def keep_backtraces(self, execution_id: ExecutionId, backtraces: Sequence[Backtrace]) -> None:
        """Keeps backtraces of host calls, in place of those with the same first event; nothing for an execution that does
        not exist. A short transaction of its own, for which a commit may have to wait. `StoreFailed`.
        """
        ...


class Recovered(msgspec.Struct):
    """Executions whose lease was just taken, with their unresolved delays."""

    states: list[ExecutionState]
    delays: list[Delay]


class Underway(Protocol):
    """A batch that is being made durable: what becomes of it is decided, unless the store fails."""

    outcomes: list[UnitOutcome]
    """What `commit` will return."""

    def is_over(self) -> bool:
        """Whether it is durable by now (or the store has failed). From any thread."""
        ...

    def wait(self) -> None:
        """Returns once it is durable. `StoreFailed` if it never will be. From any thread, at any time."""
        ...


Meanwhile = Callable[[Underway], None]
"""Work that is done while a batch is being made durable: it must not use the store. What follows from the batch must not be seen
outside of this process before `wait` has returned.
"""


class Store(Protocol):
    """Durable memory as the engine sees it. One caller at a time (the engine thread). Every method may raise `StoreFailed`."""

    def commit(self, batch_id: str, units: list[Unit], meanwhile: Meanwhile | None = None) -> list[UnitOutcome]:
        """Applies `units` in one transaction and makes it durable; one outcome a unit. May raise `CommitUnknown`.

        `meanwhile`: called at most once, on this thread, while the store waits for durable memory; and only by a store that knows
        the outcomes before. All that it can raise afterwards is `StoreFailed`.
        """
        ...

    def outcome_of(self, batch_id: str) -> list[UnitOutcome] | None:
        """After `CommitUnknown`: the outcomes if the batch was committed, None if it was not (and never will be). May
        raise `CommitUnknown` again.
        """
        ...

    def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """The execution with its whole log, responses and inbox; None when it does not exist."""
        ...

    def take_over(self, owner: ExecutorId, started: frozenset[ExecutionId]) -> Recovered:
        """For a store that one process owns: takes the lease of every execution that is not finished, without an expiry,
        and counts a crash for those in `started` that are locked. Durable when it returns.
        """
        ...

    def claim(self, owner: ExecutorId, now: Instant, lease_expires_at: Instant, count_max: int) -> Recovered:
        """For a shared store: takes up to `count_max` leases that are free or expired at `now`, oldest `pending_at` first."""
        ...

    def renew(self, owner: ExecutorId, lease_expires_at: Instant) -> None:
        """Extends every lease of `owner`; touches nothing else."""
        ...

    def news(self, owner: ExecutorId) -> list[ExecutionId]:
        """Executions leased by `owner` with responses beyond `responses_known`, or with requests: the slow poll."""
        ...

    def deployment(self, config_digest: Digest, now: Instant, new_id: DeploymentId) -> DeploymentId:
        """The id of the deployment with this configuration; `new_id` becomes it when there is none yet."""
        ...
