"""Effects: what the engine wants done once the units that they follow from are durable.

Each effect names the durable fact that it is derived from, so that a restart can derive it again; see the docstrings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from obelisk.core.batch import Unit
from obelisk.core.calls import LogLine
from obelisk.core.events import Finished
from obelisk.core.ids import Digest, ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.policy import Forward
from obelisk.core.ports import Guest
from obelisk.core.reading import Change
from obelisk.core.values import Json


class StartAttempt(msgspec.Struct, frozen=True):
    """Run an activity. From: `locked` without an end. Report `AttemptSliced` and `AttemptFinished`."""

    execution_id: ExecutionId
    run: RunId
    component: Digest
    ffqn: FunctionName
    params: Json
    deadline_us: int
    """From the first slice; the clock stands still while the attempt queues for a CPU slot."""
    trace_context: Mapping[str, str] = {}
    """The part of the execution's metadata that tells the trace it belongs to; see `core.events.Created`."""


class KillAttempt(msgspec.Struct, frozen=True):
    """Stop an attempt and forget its result; report `AttemptKilled` once it does nothing any more, also when there is no
    such attempt. From: `cancellation_requested` of an execution that is still locked; or a lease that was lost.
    """

    execution_id: ExecutionId
    run: RunId


class RunGuest(msgspec.Struct, frozen=True):
    """Resume a workflow's guest on the CPU lane until it stops yielding; report `Stepped`. From: `locked` without an end."""

    execution_id: ExecutionId
    generation: int
    guest: Guest
    cpu_budget_us: int


class Load(msgspec.Struct, frozen=True):
    """Read an execution; report `Loaded`. From: its state row."""

    execution_id: ExecutionId


class Look(msgspec.Struct, frozen=True):
    """Read an execution that this engine does not hold; report `Looked`. From: its rows."""

    execution_id: ExecutionId


class AnswerKind(StrEnum):
    """What became of a submission, or of what a client wanted of an execution."""

    CREATED = "created"
    EXISTS = "exists"
    FUNCTION_NOT_FOUND = "function_not_found"

    DONE = "done"
    """It is so, durably (a cancellation: it is requested, and the end follows)."""
    ALREADY = "already"
    """It was so before; nothing was changed."""
    REQUESTED = "requested"
    """Another engine holds the execution and will see to it."""
    NOT_FOUND = "not_found"
    """There is no such execution."""
    FINISHED = "finished"
    """It has ended before."""
    REFUSED = "refused"
    """Its state does not allow it; `message` says why."""
    CONFLICT = "conflict"
    """It has another result already."""
    OUTDATED = "outdated"
    """It went on since the client looked at it: look again."""


class Answer(msgspec.Struct, frozen=True):
    """Tell the client what became of its call. From: the rows that it left, `created` or a request; a client that missed it
    asks again by id.
    """

    token: int
    kind: AnswerKind
    message: str = ""


class EmitLog(msgspec.Struct, frozen=True):
    """A log line, or output, of a workflow, which is stored if it is to be; tell those who watch, and those who want it at
    once. From: the unit that it is in. `version` and `ordinal` are its place, see `engine.lines`.
    """

    execution_id: ExecutionId
    version: int
    ordinal: int
    created_at: Instant
    line: LogLine
    run: RunId | None
    component: Digest
    forward: Forward | None
    """Of output: where it goes."""


class Changed(msgspec.Struct, frozen=True):
    """State rows changed; for those who watch. From: the rows themselves, those of `unit`."""

    unit: Unit

    def rows(self) -> list[Change]:
        """Each row, and how its execution ended, if that is in this unit."""
        ends = {new.execution_id: new.event.outcome for new in self.unit.events if isinstance(new.event, Finished)}
        return [Change(state, ends.get(state.execution_id)) for state in self.unit.states]


class WakeOthers(msgspec.Struct, frozen=True):
    """Tell the other engines of the store that this execution has news. From: the response or request; they poll anyway."""

    execution_id: ExecutionId


class Claim(msgspec.Struct, frozen=True):
    """Take leases that are free; report `Claimed`. From: rows without an owner."""

    count_max: int


class Renew(msgspec.Struct, frozen=True):
    """Extend this engine's leases. From: rows that it owns."""

    lease_expires_at: Instant


class CheckNews(msgspec.Struct, frozen=True):
    """The slow poll; report `News`. From: rows with unknown responses or requests."""


Effect = (
    StartAttempt
    | KillAttempt
    | RunGuest
    | Load
    | Look
    | Answer
    | EmitLog
    | Changed
    | WakeOthers
    | Claim
    | Renew
    | CheckNews
)
