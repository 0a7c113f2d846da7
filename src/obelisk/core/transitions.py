"""The states of an execution: *the* table, and the row that is derived by it.

# Theory of operation

An execution is what its log and its responses say; nothing else is true. The **state row** is a projection of the two,
kept so that lists, queues and recovery need not read logs. It is derived here and nowhere else, by folding events into
it, one at a time, in order; a store only writes down what this module derived.

A state has two halves. The **status** says what the execution is doing:

    pending    it waits for its turn, or for `pending_at`
    locked     a run is working on it
    blocked    its workflow awaits a response of the join set `blocked_on`
    finished   it has ended; nothing follows

The **lifecycle** says whether it may go on at all: `active`; `parked`, when it cannot be run as it is (its log does not
replay on its component, say: see the event); `paused`, because an operator wants to look at it;
`cancelling`, when it is to end and what it started must end before.

An execution that is not active is never `locked` by a run. A paused workflow may still be advanced, a host call at a
time: its history events are then written without a lock. A cancelling one has no guest any more: the history events
that follow close its join sets. An activity that is cancelled while an attempt runs stays `locked` until it is known
that the attempt does nothing any more.

`TRANSITIONS` maps (status, lifecycle, event) to the next status and lifecycle. What is not in it is illegal: that is a
bug of the engine, never of a user, and raises `IllegalTransition`.

Two things that look like events but are not in any log take part, under names in angle brackets: `<response>`, the
arrival of the response that a blocked execution awaits, and `<answered>`, a `join_next` whose response is already there
(it does not block).

A response that arrives while the run's lock still stands wakes that run: the execution goes on as `locked`. Once the
lock has expired it becomes `pending`, and a fresh `locked` comes first when it is taken up again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from obelisk.core.events import (
    ComponentUpgraded,
    Created,
    Event,
    Finished,
    JoinNext,
    Locked,
    Parked,
    Resumed,
    TemporarilyFailed,
    TemporarilyTimedOut,
    Unlocked,
)
from obelisk.core.ids import ExecutionId, ExecutorId, JoinSetId
from obelisk.core.instants import Instant
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import Err, Failure, Ok, Outcome


class IllegalTransition(Exception):
    """The engine tried to append an event that the execution's state does not allow: a bug in the engine."""


RESPONSE: Final = "<response>"
ANSWERED: Final = "<answered>"
_WORKING: Final = (
    "persist",
    "join_set_create",
    "child_request",
    "child_rejected",
    "delay_request",
    "join_next_too_many",
    "join_next_try",
    "schedule",
    "schedule_rejected",
    "stub",
    ANSWERED,
)
_P, _L, _B, _F = Status.PENDING, Status.LOCKED, Status.BLOCKED, Status.FINISHED
_ACTIVE, _PAUSED, _PARKED = Lifecycle.ACTIVE, Lifecycle.PAUSED, Lifecycle.PARKED
_CANCELLING: Final = Lifecycle.CANCELLING

TRANSITIONS: Final[dict[tuple[Status, Lifecycle, str], tuple[Status, Lifecycle]]] = {
    (_P, _ACTIVE, "locked"): (_L, _ACTIVE),
    (_L, _ACTIVE, "locked"): (_L, _ACTIVE),  # the run before was lost in a crash
    **{(_L, _ACTIVE, event): (_L, _ACTIVE) for event in _WORKING},
    (_L, _ACTIVE, "join_next"): (_B, _ACTIVE),
    (_B, _ACTIVE, RESPONSE): (_L, _ACTIVE),  # or pending, when the lock has expired: see `respond`
    (_L, _ACTIVE, "unlocked"): (_P, _ACTIVE),
    (_L, _ACTIVE, "temporarily_failed"): (_P, _ACTIVE),
    (_L, _ACTIVE, "temporarily_timed_out"): (_P, _ACTIVE),
    (_L, _ACTIVE, "finished"): (_F, _ACTIVE),
    (_P, _ACTIVE, "finished"): (_F, _ACTIVE),  # of a stub activity, or crashed too often
    (_P, _ACTIVE, "parked"): (_P, _PARKED),
    (_L, _ACTIVE, "parked"): (_P, _PARKED),
    (_B, _ACTIVE, "parked"): (_B, _PARKED),
    (_P, _PARKED, "resumed"): (_P, _ACTIVE),
    (_B, _PARKED, "resumed"): (_B, _ACTIVE),
    (_B, _PARKED, RESPONSE): (_P, _PARKED),
    (_P, _ACTIVE, "paused"): (_P, _PAUSED),
    (_B, _ACTIVE, "paused"): (_B, _PAUSED),
    (_P, _PAUSED, "unpaused"): (_P, _ACTIVE),
    (_B, _PAUSED, "unpaused"): (_B, _ACTIVE),
    (_B, _PAUSED, RESPONSE): (_P, _PAUSED),
    **{(_P, _PAUSED, event): (_P, _PAUSED) for event in _WORKING},  # it is advanced
    (_P, _PAUSED, "join_next"): (_B, _PAUSED),
    (_P, _PAUSED, "parked"): (_P, _PARKED),
    (_P, _PAUSED, "finished"): (_F, _ACTIVE),
    **{
        (status, lifecycle, "component_upgrade_finished"): (status, lifecycle)
        for status in (_P, _B)
        for lifecycle in (_ACTIVE, _PAUSED, _PARKED)
    },
    **{
        (status, lifecycle, "cancellation_requested"): (status, _CANCELLING)
        for status in (_P, _B)
        for lifecycle in (_ACTIVE, _PAUSED, _PARKED)
    },
    (_L, _ACTIVE, "cancellation_requested"): (_L, _CANCELLING),
    **{(status, _CANCELLING, "join_next"): (_B, _CANCELLING) for status in (_P, _L)},
    **{(status, _CANCELLING, ANSWERED): (status, _CANCELLING) for status in (_P, _L)},
    (_B, _CANCELLING, RESPONSE): (_P, _CANCELLING),
    **{(status, _CANCELLING, "finished"): (_F, _ACTIVE) for status in (_P, _L)},
}


def create(execution_id: ExecutionId, event: Created, at: Instant, owner: ExecutorId | None) -> ExecutionState:
    """The state after version 0."""
    return ExecutionState(
        execution_id=execution_id,
        ffqn=event.ffqn,
        component=event.component,
        deployment=event.deployment,
        created_at=at,
        first_scheduled_at=event.scheduled_at,
        join_set=event.join_set,
        updated_at=at,
        pending_at=event.scheduled_at,
        owner=owner,
    )


def append(state: ExecutionState, event: Event, at: Instant, *, answered: bool = False) -> int:
    """Folds `event`, appended at `at`, into `state` and returns the version that it gets.

    `answered`: for a `join_next`, that its response is already there. `IllegalTransition` when the table forbids it.
    """
    taken_as = ANSWERED if answered else event.tag
    try:
        state.status, state.lifecycle = TRANSITIONS[state.status, state.lifecycle, taken_as]
    except KeyError:
        raise IllegalTransition(
            f"{event.tag} is not allowed for {state.execution_id}, which is {state.status} and {state.lifecycle}"
        ) from None
    version = state.next_version
    state.next_version = version + 1
    state.updated_at = at
    if taken_as in _FOLDS:
        _FOLDS[taken_as](state, event, at)
    if taken_as != "locked":  # a lock is no progress: crashes stay counted
        state.crashes = 0
    return version


def _lock(state: ExecutionState, event: Locked, at: Instant) -> None:
    state.run, state.executor, state.lock_expires_at = event.run, event.executor, event.lock_expires_at
    if event.component is not None:
        state.component = event.component
    if event.deployment is not None:
        state.deployment = event.deployment


def _block(state: ExecutionState, event: JoinNext, at: Instant) -> None:
    state.blocked_on, state.closing = event.join_set, event.closing
    state.lock_expires_at = min(state.lock_expires_at, event.run_expires_at)


def _finish(state: ExecutionState, event: Finished, at: Instant) -> None:
    state.finished_at, state.finish_kind = at, finish_kind(event.outcome)
    state.blocked_on, state.owner, state.lease_expires_at = None, None, None
    state.pending_at = state.lock_expires_at = Instant(0)  # they mean nothing now, and a zero takes no room


def _fail_for_now(state: ExecutionState, event: TemporarilyFailed | TemporarilyTimedOut, at: Instant) -> None:
    state.pending_at = event.backoff_expires_at
    state.failures += 1


def _unlock(state: ExecutionState, event: Unlocked, at: Instant) -> None:
    state.pending_at = event.backoff_expires_at


def _stand(state: ExecutionState, event: Parked | Resumed, at: Instant) -> None:
    state.pending_at = at


def _upgrade(state: ExecutionState, event: ComponentUpgraded, at: Instant) -> None:
    state.component, state.deployment = event.component, event.deployment


_FOLDS: Final[dict[str, Callable[[ExecutionState, Any, Instant], None]]] = {
    "locked": _lock,
    "join_next": _block,
    "finished": _finish,
    "temporarily_failed": _fail_for_now,
    "temporarily_timed_out": _fail_for_now,
    "unlocked": _unlock,
    "parked": _stand,
    "resumed": _stand,
    "component_upgrade_finished": _upgrade,
}
"""What an event changes beside status and lifecycle; most change nothing else."""


def respond(state: ExecutionState, join_set: JoinSetId, at: Instant) -> int:
    """Folds a new response for `join_set`, written at `at`, into `state` and returns the `seq` that it gets."""
    if state.responses_known == state.response_count:  # otherwise one before it is still to be taken in
        state.responses_known += 1
    state.response_count += 1
    _wake(state, join_set, at)
    return state.response_count


def arrive(state: ExecutionState, join_set: JoinSetId, at: Instant) -> None:
    """The holder takes in a response that is counted already; wakes the execution if it is blocked on `join_set`."""
    state.responses_known += 1
    _wake(state, join_set, at)


def _wake(state: ExecutionState, join_set: JoinSetId, at: Instant) -> None:
    if state.status is not Status.BLOCKED or state.blocked_on != join_set:
        return
    state.status, state.lifecycle = TRANSITIONS[state.status, state.lifecycle, RESPONSE]
    state.blocked_on, state.closing = None, False
    if state.status is Status.LOCKED and at >= state.lock_expires_at:
        state.status = Status.PENDING
    state.pending_at = at
    state.updated_at = at
    state.crashes = 0


def finish_kind(outcome: Outcome) -> str:
    """`ok`, `err`, or the kind of the failure."""
    match outcome:
        case Ok():
            return "ok"
        case Err():
            return "err"
        case Failure(kind):
            return str(kind)
