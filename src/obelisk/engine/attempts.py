"""Attempts: when an activity is locked and started, and what the end of an attempt means.

Decides whether an attempt that failed is followed by another. A completion counts for the attempt that it names, and only
while that is the current one. An activity that is being cancelled ends as cancelled, whatever its attempt came to.
"""

from __future__ import annotations

from obelisk.core.events import Event, Locked, Parked, TemporarilyFailed, TemporarilyTimedOut, Unlocked
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.policy import RetryPolicy
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.core.retry import is_retryable, retry_at
from obelisk.core.state import Lifecycle, Status
from obelisk.core.values import CANCELLED, Err, Failure, FailureKind, Outcome
from obelisk.engine.books import Books
from obelisk.engine.effects import StartAttempt
from obelisk.engine.ends import Ends
from obelisk.engine.held import Held, Phase
from obelisk.engine.inputs import AttemptFinished, AttemptKilled, AttemptStopped, CrashedTooOften, Input
from obelisk.engine.tick import Draft, OpenUnit
from obelisk.engine.timers import TimerKind


class Attempts:
    """Starts attempts, and hears of them."""

    def __init__(self, books: Books, ends: Ends) -> None:
        self._books = books
        self._ends = ends

    def lock_and_start(self, held: Held, info: FunctionInfo, unit: OpenUnit) -> None:
        """Appends `locked`, in a unit that touches the execution; the attempt starts once that is durable."""
        now = unit.draft.now
        policy = info.policy
        run = self._books.entropy.run_id(now)
        unit.append(
            held,
            Locked(
                self._books.executor,
                run,
                Instant(now + policy.lock_expiry_us),
                policy.retry.max_retries,
                policy.retry.exp_backoff_us,
            ),
        )
        held.wants_lock = False
        held.phase = Phase.COLD
        self._books.window.take(held.execution_id, run)
        assert held.params is not None
        unit.draft.starts += 1
        unit.effect(
            StartAttempt(
                held.execution_id,
                run,
                held.state.component,
                held.state.ffqn,
                held.params,
                held.timeout_us or policy.lock_expiry_us,
                held.trace_context,
            )
        )

    def start_due(self, draft: Draft) -> None:
        """Lets activities that are due into the start window."""
        while not draft.is_full and (held := self._books.window.next()) is not None:
            is_there = self._books.held.get(held.execution_id) is held and held.phase is Phase.READY
            if not is_there or not self._books.may_run(held):
                continue  # ended, or torn down, while it waited
            if held.params is None:
                self._books.window.load(held)
                self._books.load(held, draft)
                continue
            info = self._books.registry.pinned(held.state.component, held.state.ffqn)
            assert info is not None, "only executions whose component is loaded become ready"
            unit = draft.unit([held], [])
            self.lock_and_start(held, info, unit)
            unit.close()

    def _current(self, execution_id: ExecutionId, run: RunId, item: Input) -> Held | None:
        """The execution whose current attempt is `run`; None when the attempt is a past one, or must wait."""
        self._books.window.first_slice_done(execution_id, run)
        held = self._books.held.get(execution_id)
        if held is None or not self._books.trusted(held, item):
            return None
        state = held.state
        if state.status is not Status.LOCKED or state.run != run or held.wants_lock:
            return None
        return held

    def on_finished(self, item: AttemptFinished, draft: Draft) -> None:
        """An attempt ended: the execution finishes, or is tried again."""
        held = self._current(item.execution_id, item.run, item)
        if held is None:
            return
        state, result = held.state, item.result
        if state.lifecycle is Lifecycle.CANCELLING:
            self._end_cancelled(held, item, draft)  # what it came to does not matter: that was decided before
            return
        info = self._books.registry.pinned(state.component, state.ffqn)
        retry = RetryPolicy(max_retries=0) if info is None else info.policy.retry
        again_at = None
        if not item.final and is_retryable(retry, result):
            again_at = retry_at(retry, held.execution_id, state.failures, draft.now)
        if again_at is None:
            if self._books.parent_is_ready(held, item):
                unit = draft.unit([held], [item])
                self._ends.finish(held, result, unit, item.http_traces)
                unit.close()
            return
        unit = draft.unit([held], [item])
        unit.append(held, _temporary(result, again_at, item.http_traces))
        unit.notes.timers.append((again_at, TimerKind.PENDING, held.execution_id, ""))
        unit.close()

    def on_stopped(self, item: AttemptStopped, draft: Draft) -> None:
        """An attempt was given up by a clean stop."""
        held = self._current(item.execution_id, item.run, item)
        if held is None:
            return
        if held.state.lifecycle is Lifecycle.CANCELLING:
            self._end_cancelled(held, item, draft)
            return
        unit = draft.unit([held], [item])
        unit.append(held, Unlocked(draft.now, item.reason, item.http_traces))
        unit.close()

    def on_killed(self, item: AttemptKilled, draft: Draft) -> None:
        """An attempt does nothing any more."""
        self._books.window.first_slice_done(item.execution_id, item.run)
        held = self._books.held.get(item.execution_id)
        if held is None or not self._books.trusted(held, item):
            return
        state = held.state
        is_cancelled = state.status is Status.LOCKED and state.lifecycle is Lifecycle.CANCELLING
        if is_cancelled and state.run == item.run and held.kind is FunctionKind.ACTIVITY:
            self._end_cancelled(held, item, draft)

    def _end_cancelled(self, held: Held, item: AttemptFinished | AttemptStopped | AttemptKilled, draft: Draft) -> None:
        """An activity that is being cancelled does nothing any more."""
        if self._books.parent_is_ready(held, item):
            unit = draft.unit([held], [item])
            self._ends.finish(held, held.ends_as or CANCELLED, unit, item.http_traces)
            unit.close()

    def on_crashed_too_often(self, item: CrashedTooOften, draft: Draft) -> None:
        """The process died during each of the execution's last runs: it is given up."""
        held = self._books.held.get(item.execution_id)
        if held is None or not self._books.trusted(held, item) or held.state.status is not Status.LOCKED:
            return
        reason = f"the process died {held.state.crashes} times while this ran"
        if held.kind is FunctionKind.WORKFLOW:
            self._ends.park(held, Parked(reason), draft)
        elif self._books.parent_is_ready(held, item):
            unit = draft.unit([held], [item])
            self._ends.finish(held, Failure(FailureKind.UNCATEGORIZED, reason), unit)
            unit.close()


def _temporary(result: Outcome, again_at: Instant, traces: tuple[HttpTrace, ...]) -> Event:
    """The event of an attempt that failed and is tried again."""
    match result:
        case Failure(FailureKind.TIMED_OUT):
            return TemporarilyTimedOut(again_at, traces)
        case Failure(_, reason, detail):
            return TemporarilyFailed(again_at, reason, detail, traces)
        case Err(value):
            return TemporarilyFailed(again_at, "activity returned error", bytes(value).decode(), traces)
        case _:
            raise AssertionError("only failures are temporary")
