"""The execution log: what can happen to an execution, and how an event is written.

Decides the durable form of the log. Append-only: a field is never renamed or given another meaning; a change of form
raises `FORMAT` and adds an upcast, because logs of every release must replay for ever.

An event is a JSON object tagged by `event`, written compactly: defaults are left out, ids are relative to the execution
(see `ids`), instants are microseconds. Which version and instant an event has is kept beside it (`LogEntry`).

*History events* are those that a workflow's host calls cause, marked with `history = True`: replay compares exactly these,
in order. The others (`locked`, `temporarily_failed`, …) tell how the execution was run and are skipped by replay.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Final, get_args

import msgspec

from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import (
    ChildId,
    DelayRef,
    DeploymentId,
    Digest,
    ExecutionId,
    ExecutorId,
    JoinSetId,
    RunId,
)
from obelisk.core.instants import Instant, ScheduleAt
from obelisk.core.names import FunctionName
from obelisk.core.values import NO_VALUE, ErrForm, Failure, FailureKind, Json, Outcome

FORMAT: Final = 1
"""Format version that new events are written in."""


TRACING: Final = "tracing:"
"""What the keys of metadata begin with that are W3C trace context: `tracing:traceparent`, `tracing:tracestate`."""


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", gc=False):
    history: ClassVar[bool] = False
    tag: ClassVar[str]
    """What it is called where it is written, for example `join_set_create`."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an execution was forked from: everything of `execution_id` before `version`."""

    execution_id: ExecutionId
    version: int
    began_at: Instant
    """When the first of those it goes back to was created: the workflow's clock begins there."""
    first: ExecutionId | None = None
    """The first of those it goes back to: the guest's own randomness follows from it. None: `execution_id`."""


class Created(_Event, frozen=True, tag="created"):
    """Version 0 of every log. `params` is a canonical JSON array."""

    ffqn: FunctionName
    params: Json
    component: Digest
    deployment: DeploymentId
    scheduled_at: Instant
    join_set: JoinSetId | None = None
    """The parent's join set; None for a top-level execution. The parent itself follows from the id."""
    scheduled_by: ExecutionId | None = None
    metadata: dict[str, str] = {}
    """Trace context (`tracing:traceparent`, …) and caller metadata."""
    timeout_us: int | None = None
    """Deadline of each attempt at an activity, if the caller set one; otherwise it is `exec.lock_expiry`."""
    forked_from: Origin | None = None

    @property
    def trace_context(self) -> dict[str, str]:
        """The part of the metadata that tells which trace it belongs to. Children have it too."""
        return {key: value for key, value in self.metadata.items() if key.startswith(TRACING)}


class Locked(_Event, frozen=True, tag="locked"):
    """A run starts. `lock_expires_at` is created_at + `exec.lock_expiry`. For an activity it is informative: the
    deadline starts when the attempt really starts. For a workflow it is the instant from which a wake-up writes a fresh
    `locked` first.
    """

    executor: ExecutorId
    run: RunId
    lock_expires_at: Instant
    max_retries: int | None = None
    retry_exp_backoff_us: int = 100_000
    component: Digest | None = None
    """Given when it differs from the one in `created`."""
    deployment: DeploymentId | None = None
    """Given when it differs from the one in `created`."""


class Unlocked(_Event, frozen=True, tag="unlocked"):
    """A run ended without a result and without counting as a retry: a clean stop, a pause, an upgrade."""

    backoff_expires_at: Instant
    reason: str
    http_traces: tuple[HttpTrace, ...] = ()
    """HTTP requests that the attempt sent."""


class TemporarilyFailed(_Event, frozen=True, tag="temporarily_failed"):
    """An attempt failed and will be retried."""

    backoff_expires_at: Instant
    reason: str
    detail: str = ""
    http_traces: tuple[HttpTrace, ...] = ()
    """HTTP requests that the attempt sent."""


class TemporarilyTimedOut(_Event, frozen=True, tag="temporarily_timed_out"):
    """An attempt ran into its deadline and will be retried."""

    backoff_expires_at: Instant
    http_traces: tuple[HttpTrace, ...] = ()
    """HTTP requests that the attempt sent."""


class Finished(_Event, frozen=True, tag="finished"):
    """The end; always the last event of a log."""

    outcome: Outcome
    http_traces: tuple[HttpTrace, ...] = ()
    """HTTP requests that an activity's last attempt sent."""


class Parked(_Event, frozen=True, tag="parked"):
    """The execution cannot go on as it is: its log does not replay on its component, the component is not loaded or cannot
    call what it calls any more, it took the process down too often, or it trapped and is to wait for a mended component. It
    is not finished: its parent keeps waiting, and it goes on after `resumed`.
    """

    reason: str
    detail: str = ""
    kind: FailureKind | None = None
    """As what it ends when an operator gives it up; None: uncategorized."""


class Resumed(_Event, frozen=True, tag="resumed"):
    """A parked execution may go on."""


class Paused(_Event, frozen=True, tag="paused"):
    """An operator wants it to stand still: responses are taken in, nothing is run."""


class Unpaused(_Event, frozen=True, tag="unpaused"):
    """A paused execution may go on."""


class CancellationRequested(_Event, frozen=True, tag="cancellation_requested"):
    """It is to end: what it runs is stopped, what it started is cancelled, then `finished` follows. History events after
    this one close its join sets; no guest caused them.
    """

    failure: Failure | None = None
    """As what it ends; None: as cancelled."""


class ComponentUpgraded(_Event, frozen=True, tag="component_upgrade_finished"):
    """From here on it runs on another component. `forced`: without a check that its log replays there."""

    component: Digest
    deployment: DeploymentId
    forced: bool = False


# --- history events --------------------------------------------------------------------------------------------------


class _History(_Event, frozen=True):
    history: ClassVar[bool] = True


class Persist(_History, frozen=True, tag="persist"):
    """A random value, recorded so that replay returns the same one. `value` is the JSON of what the guest got."""

    kind: PersistKind
    value: Json


class PersistRandomU64(msgspec.Struct, frozen=True, tag="random_u64"):
    """Bounds of a random number, both inclusive."""

    min: int
    max_inclusive: int


class PersistRandomString(msgspec.Struct, frozen=True, tag="random_string"):
    """Bounds of a random string's length."""

    min_length: int
    max_length_exclusive: int


class PersistExecutionId(msgspec.Struct, frozen=True, tag="execution_id"):
    """A generated top-level id."""


PersistKind = PersistRandomU64 | PersistRandomString | PersistExecutionId


class RejectReason(StrEnum):
    """Why something that was given as JSON could not be done."""

    FUNCTION_NOT_FOUND = "function_not_found"
    TYPE_CHECK_ERROR = "type_check_error"


class JoinSetCreated(_History, frozen=True, tag="join_set_create"):
    """A join set, also the one-off one of a direct call or sleep."""

    join_set: JoinSetId


class ChildRequested(_History, frozen=True, tag="child_request"):
    """A child was submitted; its `created` is in the same unit."""

    child: ChildId
    ffqn: FunctionName
    params: Json
    given: Json = NO_VALUE
    """What a guest that calls by JSON wrote, in normal form, where that differs from `params`; then this is compared."""
    form: ErrForm = ErrForm.NONE
    """Of a child that was called by JSON: how its function declares errors."""
    timeout_us: int | None = None


class ChildRejected(_History, frozen=True, tag="child_rejected"):
    """A child that was given as JSON could not be created. Recorded, so that a later deployment cannot change the answer.
    It takes its number in the join set, and is no member of it.
    """

    child: ChildId
    ffqn: FunctionName
    params: Json
    """As the guest wrote them, in normal form."""
    reason: RejectReason
    message: str = ""
    timeout_us: int | None = None


class DelayRequested(_History, frozen=True, tag="delay_request"):
    """A delay was submitted. Replay compares the intent, not the instant that it led to."""

    delay: DelayRef
    schedule_at: ScheduleAt
    expires_at: Instant


class JoinNext(_History, frozen=True, tag="join_next"):
    """The next response of the set is awaited; the n-th one consumes the n-th response of that set."""

    join_set: JoinSetId
    run_expires_at: Instant
    """Until when the run may stay hot; not compared."""
    ffqn: FunctionName | None = None
    closing: bool = False


class JoinNextTooMany(_History, frozen=True, tag="join_next_too_many"):
    """Awaited past the number of members: answered `all-processed`, for ever."""

    join_set: JoinSetId
    ffqn: FunctionName | None = None


class TryOutcome(StrEnum):
    """What `join-next-try` found."""

    FOUND = "found"
    PENDING = "pending"
    ALL_PROCESSED = "all_processed"


class JoinNextTry(_History, frozen=True, tag="join_next_try"):
    """The next response of the set was asked for without waiting; `found` consumes it."""

    join_set: JoinSetId
    outcome: TryOutcome


class Scheduled(_History, frozen=True, tag="schedule"):
    """A top-level execution was scheduled; its `created` is in the same unit. Replay compares the intent, not the instant
    that it led to.
    """

    execution_id: ExecutionId
    ffqn: FunctionName
    params: Json
    schedule_at: ScheduleAt
    scheduled_at: Instant
    given: Json = NO_VALUE
    """See `ChildRequested`."""
    timeout_us: int | None = None


class ScheduleRejected(_History, frozen=True, tag="schedule_rejected"):
    """What was to be scheduled, given as JSON, could not be; see `ChildRejected`."""

    execution_id: ExecutionId
    ffqn: FunctionName
    params: Json
    schedule_at: ScheduleAt
    reason: RejectReason
    message: str = ""
    timeout_us: int | None = None


class StubResult(StrEnum):
    """What became of a result for an execution of a stub activity."""

    OK = "ok"
    EXECUTION_NOT_FOUND = "execution_not_found"
    TYPE_CHECK_ERROR = "type_check_error"
    CONFLICT = "conflict"


class Stubbed(_History, frozen=True, tag="stub"):
    """A result was given for an execution of a stub activity, which has its `finished` before this is written."""

    target: str
    """Relative if it derives from this execution (`g:1_2`, `g:1_2.o:1-x_1`), otherwise absolute."""
    retval_hash: str
    """`sha256:` and the hash of the result as the guest gave it."""
    result: StubResult
    message: str = ""


HistoryEvent = (
    Persist
    | JoinSetCreated
    | ChildRequested
    | ChildRejected
    | DelayRequested
    | JoinNext
    | JoinNextTooMany
    | JoinNextTry
    | Scheduled
    | ScheduleRejected
    | Stubbed
)
Event = (
    Created
    | Locked
    | Unlocked
    | TemporarilyFailed
    | TemporarilyTimedOut
    | Finished
    | Parked
    | Resumed
    | Paused
    | Unpaused
    | CancellationRequested
    | ComponentUpgraded
    | HistoryEvent
)


for _event in get_args(Event):
    _event.tag = str(_event.__struct_config__.tag)


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One row of a log: versions are 0, 1, 2, … without a gap."""

    version: int
    created_at: Instant
    event: Event


class UnknownEventFormat(Exception):
    """The log was written by a newer release: start that one, or a newer one."""


encode_event: Final[Callable[[Event], bytes]] = msgspec.json.Encoder().encode
"""The event as JSON in the current `FORMAT`."""
_decoder: Final = msgspec.json.Decoder(Event)


def decode_event(data: bytes, format: int = FORMAT) -> Event:
    """Reads an event of any known format. `UnknownEventFormat` for a newer one."""
    if format != FORMAT:
        raise UnknownEventFormat(f"event format {format} is not known to this release, which knows 1 to {FORMAT}")
    event: Event = _decoder.decode(data)
    return event


def kind_of(event: Event) -> str:
    """The event's tag, for example `join_set_create`."""
    return event.tag
