"""Facts: what spans are made of, taken out of units that were committed.

Decides which events matter and how little of each is kept: parameters and results are not. Runs on the engine thread, so it
does next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from obelisk.core.batch import Applied, Unit, UnitOutcome
from obelisk.core.calls import LogLine
from obelisk.core.events import (
    Created,
    Finished,
    Locked,
    TemporarilyFailed,
    TemporarilyTimedOut,
    Unlocked,
    kind_of,
)
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import Digest, ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.state import ExecutionState
from obelisk.core.values import Err, Failure

ENDS: Final = (Finished, TemporarilyFailed, TemporarilyTimedOut, Unlocked)
"""Events with which a run ends."""
_End = Finished | TemporarilyFailed | TemporarilyTimedOut | Unlocked
_REASON_MAX: Final = 1_000
"""Characters of the reason of a failure."""


class Born(msgspec.Struct, frozen=True, gc=False):
    """An execution was created."""

    execution_id: ExecutionId
    ffqn: FunctionName
    at: Instant
    trace_context: Mapping[str, str]
    scheduled_by: ExecutionId | None = None
    forked_from: ExecutionId | None = None


class Began(msgspec.Struct, frozen=True, gc=False):
    """A run began."""

    execution_id: ExecutionId
    at: Instant
    run: RunId


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A run ended; if `is_finished`, the execution with it."""

    execution_id: ExecutionId
    version: int
    at: Instant
    is_finished: bool
    result: str
    """`ok`, `err`, the kind of a failure, or of the event."""
    error: str | None
    """Why it failed, if it did."""
    http_traces: tuple[HttpTrace, ...]
    state: ExecutionState
    """As the unit left it."""


class Said(msgspec.Struct, frozen=True, gc=False):
    """A component has logged a line, or written one to a stream."""

    execution_id: ExecutionId
    run: RunId | None
    component: Digest
    at: Instant
    line: LogLine


Fact = Born | Began | Ended | Said


def facts_of(units: Sequence[Unit], outcomes: Sequence[UnitOutcome]) -> Iterator[Fact]:
    """What happened, in order. Of refused units nothing."""
    for unit, outcome in zip(units, outcomes, strict=True):
        if not isinstance(outcome, Applied):
            continue
        for each in unit.events:
            event = each.event
            if isinstance(event, Locked):
                yield Began(each.execution_id, each.created_at, event.run)
            elif isinstance(event, Created):
                yield born(each.execution_id, each.created_at, event)
            elif isinstance(event, ENDS):
                state = next(state for state in unit.states if state.execution_id == each.execution_id)
                yield _ended(each.execution_id, each.version, each.created_at, event, state)


def born(execution_id: ExecutionId, at: Instant, event: Created) -> Born:
    """What is kept of version 0."""
    origin = event.forked_from
    return Born(
        execution_id,
        event.ffqn,
        at,
        event.trace_context,
        event.scheduled_by,
        None if origin is None else origin.execution_id,
    )


def _ended(execution_id: ExecutionId, version: int, at: Instant, event: _End, state: ExecutionState) -> Ended:
    result, error = kind_of(event), None
    match event:
        case Finished(Failure(kind, reason)):
            result, error = str(kind), reason
        case Finished(Err()):
            result, error = "err", "the function returned an error"
        case Finished():
            result = "ok"
        case TemporarilyFailed(_, reason):
            error = reason
        case TemporarilyTimedOut():
            error = "the attempt ran out of time"
    is_finished = isinstance(event, Finished)
    return Ended(
        execution_id,
        version,
        at,
        is_finished,
        result,
        None if error is None else error[:_REASON_MAX],
        event.http_traces,
        state,
    )
