"""Forking: a new execution out of the prefix of another one's log.

Decides what the copy has: the prefix' history events, under their own instants, since the workflow's clock is made of
them; the responses that belong to it; children and delays under ids of the fork. Nothing of the origin is changed, and a
log only grows, so that a prefix is a fact and needs no fence.

**Which responses belong to the prefix**: those that it consumed, and those that were there when its last event was
written. They are shared: a child that had ended is copied with its end and does not run again. Any other child, or delay,
is still open in the fork: the child is created again, and the delay keeps its instant. But where the prefix has begun to
close a join set, its open delays, activities and stubs were cancelled by that, and are so in the fork.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from obelisk.core import transitions
from obelisk.core.batch import Delay, Snapshot
from obelisk.core.events import (
    ChildRequested,
    Created,
    DelayRequested,
    Finished,
    JoinNext,
    JoinNextTry,
    LogEntry,
    Origin,
    Paused,
    TryOutcome,
)
from obelisk.core.ids import DeploymentId, JoinSetId, absolute, join_set_of
from obelisk.core.instants import Instant
from obelisk.core.ports import FunctionInfo, FunctionKind, Registry
from obelisk.core.replay import replayable
from obelisk.core.responses import ChildFinished, DelayFinished, Response, member_of
from obelisk.core.values import CANCELLED
from obelisk.engine.held import Held
from obelisk.engine.tick import OpenUnit


class Prefix(msgspec.Struct, frozen=True):
    """What a fork starts with."""

    created: Created
    origin: Origin
    history: tuple[LogEntry, ...]
    """The origin's history events, with the versions and instants that they have there."""
    shared: tuple[Response, ...]
    """Responses of the prefix, in their order."""
    open_children: tuple[ChildRequested, ...]
    open_delays: tuple[DelayRequested, ...]
    closing: frozenset[JoinSetId]
    """Join sets that it has begun to close."""

    def open_now(self, registry: Registry) -> list[ChildRequested]:
        """The open children that are created again: those that no closing has cancelled."""
        return [child for child in self.open_children if not self.is_cancelled(child, registry)]

    def is_cancelled(self, request: ChildRequested, registry: Registry) -> bool:
        """Whether closing its join set has cancelled an open child. Of one that is not deployed it is not known: it counts as
        open, so that the fork is refused.
        """
        info = registry.active(request.ffqn)
        return (
            join_set_of(request.child) in self.closing and info is not None and info.kind is not FunctionKind.WORKFLOW
        )


def prefix_of(snapshot: Snapshot, version: int) -> Prefix:
    """Everything of an execution before `version`, which is at least 1; history events after a cancellation are not its
    own and are left out.
    """
    own = replayable(snapshot.log)
    log = own[:version]
    first = log[0]
    until = log[-1].created_at
    if len(own) < len(snapshot.log):  # what it answered to its cancellation is not shared
        until = min(until, Instant(snapshot.log[len(own)].created_at - 1))
    assert isinstance(first.event, Created)
    before = first.event.forked_from
    began_at = first.created_at if before is None else before.began_at
    history = tuple(entry for entry in log if entry.event.history)
    shared = _shared(history, snapshot.responses, until)
    answered = {member_of(response) for response in shared}
    events = [entry.event for entry in history]
    return Prefix(
        first.event,
        Origin(
            snapshot.state.execution_id,
            version,
            began_at,
            None if before is None else before.first or before.execution_id,
        ),
        history,
        shared,
        tuple(event for event in events if isinstance(event, ChildRequested) and (event.child, False) not in answered),
        tuple(event for event in events if isinstance(event, DelayRequested) and (event.delay, True) not in answered),
        frozenset(event.join_set for event in events if isinstance(event, JoinNext) and event.closing),
    )


def _shared(history: Sequence[LogEntry], responses: Sequence[Response], until: Instant) -> tuple[Response, ...]:
    """Responses of members of the prefix, up to the last one that it consumed or that was there at `until`."""
    members: set[tuple[str, bool]] = set()
    consumed: Counter[JoinSetId] = Counter()
    for entry in history:
        match entry.event:
            case ChildRequested(child):
                members.add((child, False))
            case DelayRequested(delay):
                members.add((delay, True))
            case JoinNext(join_set) if entry is not history[-1]:  # the last one may still wait
                consumed[join_set] += 1
            case JoinNextTry(join_set, TryOutcome.FOUND):
                consumed[join_set] += 1
    last = 0
    for response in responses:
        if consumed[response.join_set] > 0 or response.created_at <= until:
            consumed[response.join_set] -= 1
            last = response.seq
    return tuple(response for response in responses if response.seq <= last and member_of(response) in members)


def forked(prefix: Prefix, info: FunctionInfo, deployment: DeploymentId, now: Instant) -> Created:
    """Version 0 of the fork."""
    return Created(
        ffqn=info.ffqn,
        params=prefix.created.params,
        component=info.component,
        deployment=deployment,
        scheduled_at=now,
        metadata=prefix.created.metadata,
        forked_from=prefix.origin,
    )


def fill(held: Held, prefix: Prefix, unit: OpenUnit, registry: Registry) -> None:
    """Writes the prefix into the log of the fork, which `unit` has just created and which stands still meanwhile: what is
    shared is there before, so that an await whose response is shared does not block.
    """
    unit.append(held, Paused())
    now = unit.draft.now
    arrived: Counter[JoinSetId] = Counter()
    requests = {entry.event.child: entry.event for entry in prefix.history if isinstance(entry.event, ChildRequested)}
    cancelled = [
        Response(0, now, join_set_of(child.child), ChildFinished(child.child, 1, CANCELLED))
        for child in prefix.open_children
        if prefix.is_cancelled(child, registry)
    ]
    cancelled += [
        Response(0, now, join_set_of(delay.delay), DelayFinished(delay.delay, ok=False))
        for delay in prefix.open_delays
        if join_set_of(delay.delay) in prefix.closing
    ]
    for response in (*prefix.shared, *cancelled):
        body = response.body
        if isinstance(body, ChildFinished):
            _copy_child(held, prefix, requests[body.child], response, unit, registry)
            body = ChildFinished(body.child, 1, body.outcome)  # version 1 of the copy is its end
        unit.respond(held, Response(0, response.created_at, response.join_set, body))
        arrived[response.join_set] += 1
    for entry in prefix.history:
        answered = False
        match entry.event:
            case JoinNext(join_set):
                answered = arrived[join_set] > 0
                arrived[join_set] -= answered
            case JoinNextTry(join_set, TryOutcome.FOUND):
                arrived[join_set] -= 1
        unit.copy(held, entry, answered=answered)
    for delay in prefix.open_delays:
        if join_set_of(delay.delay) in prefix.closing:
            continue
        unit.add_delay(held, Delay(held.execution_id, delay.delay, delay.expires_at))


def _copy_child(
    held: Held, prefix: Prefix, request: ChildRequested, response: Response, unit: OpenUnit, registry: Registry
) -> None:
    """A child that had ended: it exists in the fork too, with its end, and has nothing below it."""
    body = response.body
    assert isinstance(body, ChildFinished)
    info = registry.active(request.ffqn)
    created = Created(
        ffqn=request.ffqn,
        params=request.params,
        component=held.state.component if info is None else info.component,
        deployment=held.state.deployment,
        scheduled_at=response.created_at,
        join_set=response.join_set,
        forked_from=Origin(absolute(prefix.origin.execution_id, body.child), body.version + 1, response.created_at),
    )
    execution_id = absolute(held.execution_id, body.child)
    child = Held(transitions.create(execution_id, created, unit.draft.now, None), execution_id, None)
    unit.create(child, created)
    unit.append(child, Finished(body.outcome))
