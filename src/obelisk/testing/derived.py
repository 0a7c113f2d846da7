"""Rule 6 of the engine, checked from outside: every effect is derived from durable rows.

When nothing is under way in the node that owns the store, every locked activity has its one attempt, every locked workflow
its guest on the CPU lane, every delay and every pending execution a timer or a place in the queue; no response lies
about for a blocked workflow, and no request for anybody. An engine that forgot something would not notice by itself; a
restart would.
"""

from __future__ import annotations

from typing import Final

from obelisk.core.instants import Instant
from obelisk.core.ports import FunctionKind
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.testing import invariants
from obelisk.testing.invariants import Memory, Violation
from obelisk.testing.node import Node

STANDS_STILL: Final = frozenset({Lifecycle.PAUSED, Lifecycle.PARKED})
"""Lifecycles in which nothing happens until an operator acts."""


def effects_are_derived(node: Node, store: Memory) -> int:
    """What must hold when `node.is_settled`, for a node that owns its store. How many rows were looked at."""
    engine, wall = node.engine, node.world.wall
    assert engine is not None
    due = engine.next_due()
    rows = 0
    for execution_id in invariants.everything(store):
        state = store.state(execution_id)
        assert state is not None
        rows += 1
        if state.status is Status.FINISHED:
            continue
        _is_worked_on(node, state, wall, hot=engine.hot_count)
        instants: list[Instant] = []
        waits = state.status is Status.PENDING and state.pending_at > max(wall, node.latest)
        info = node.registry.pinned(state.component, state.ffqn)
        is_run = info is None or info.kind is not FunctionKind.STUB
        if waits and is_run and state.lifecycle is Lifecycle.ACTIVE:
            instants.append(state.pending_at)
        rows += state.next_version
        snapshot = invariants.snapshot_of(store, execution_id)
        if snapshot.requests:
            raise Violation(
                f"{execution_id} has a request that nobody carries out: {snapshot.requests[0]}", execution_id
            )
        instants += [delay.expires_at for delay in snapshot.delays]
        if instants and (due is None or due > min(instants)):
            raise Violation(f"{execution_id} is due at {min(instants)}, the first timer at {due}")
    return rows


def _is_worked_on(node: Node, state: ExecutionState, wall: Instant, *, hot: int) -> None:
    execution_id, attempts = state.execution_id, node.attempts
    info = node.registry.pinned(state.component, state.ffqn)
    if info is None or state.lifecycle in STANDS_STILL:
        return
    is_due = state.status is Status.PENDING and state.pending_at <= wall
    if info.kind is FunctionKind.STUB:
        return
    if info.kind is FunctionKind.ACTIVITY:
        runs = attempts.running.get(execution_id) == state.run or execution_id in attempts.dying
        window_is_full = bool(attempts.running) or any(attempts.dying.values())
        if state.status is Status.LOCKED and not runs and not window_is_full:
            raise Violation(f"{execution_id} is locked, but its attempt {state.run} does not run")
        if is_due and not window_is_full:
            raise Violation(f"{execution_id} could be started, but is not")
        return
    memory_is_full = hot >= node.world.setting.limits.hot_max and bool(node.lane)
    if state.status is Status.LOCKED:
        if not memory_is_full and execution_id not in node.lane.values():
            raise Violation(f"{execution_id} is locked, but nobody works on it")
    elif state.status is Status.BLOCKED and state.responses_known < state.response_count:
        raise Violation(f"{execution_id} has a response that its holder does not know")
    elif is_due and not memory_is_full:
        raise Violation(f"{execution_id} could go on, but nobody works on it")
