"""Operations: what somebody outside wants of one execution: cancel it, pause it, let it go on, give its result.

Decides what each of them means for the log, and when it is refused. They come from clients of this engine (who are
answered once it is durable) or out of the execution's inbox, where a parent, or an engine that does not hold the execution,
has put them. Whoever holds the execution carries them out, in the order of arrival.

    cancel     running activity: told first, `finished` once it does nothing any more; any other activity: ended at once;
               workflow: its guest is dropped, all that it started is cancelled and awaited, then it is `finished`
    fail       a parked execution ends as a failure, in the same way
    pause      a workflow, or an activity that does not run, stands still; responses are taken in all the same
    advance    a paused workflow makes a few more host calls
    upgrade    it goes on on another component; if it was parked, it is resumed
"""

from __future__ import annotations

import msgspec

from obelisk.core.batch import (
    AdvanceRequest,
    CancelDelayRequest,
    CancelRequest,
    FailRequest,
    PauseRequest,
    Request,
    RequestBody,
    ResumeRequest,
    Snapshot,
    UnpauseRequest,
    UpgradeRequest,
)
from obelisk.core.events import (
    CancellationRequested,
    ComponentUpgraded,
    Event,
    Finished,
    Paused,
    Resumed,
    Unlocked,
    Unpaused,
)
from obelisk.core.ids import DelayRef, ExecutionId
from obelisk.core.ports import FunctionKind
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import CANCELLED, Failure, Outcome
from obelisk.engine.books import Books
from obelisk.engine.effects import Answer, AnswerKind, KillAttempt, Load, Look
from obelisk.engine.encounters import Encounters, same_result, unheld_stub
from obelisk.engine.ends import Ends
from obelisk.engine.held import Advance, Held, Phase
from obelisk.engine.inputs import GiveResult, Input, Looked, Operate, Requested
from obelisk.engine.tick import Draft, OpenUnit


class Refusal(msgspec.Struct, frozen=True):
    """Nothing is done."""

    kind: AnswerKind
    message: str = ""


class _Cause(msgspec.Struct, frozen=True):
    """Who wants it."""

    item: Input
    token: int | None = None
    request_id: int | None = None


class Operations:
    """Carries out what is wanted of executions that this engine holds."""

    def __init__(self, books: Books, ends: Ends, encounters: Encounters) -> None:
        self._books = books
        self._ends = ends
        self._encounters = encounters
        self._looks: dict[ExecutionId, list[Operate]] = {}
        """Results from clients for executions that the store is asked about."""

    def on_requested(self, item: Requested, draft: Draft) -> None:
        """A request that lies in the inbox of an execution."""
        request = item.request
        held = self._books.held.get(request.execution_id)
        if held is not None and not self._books.trusted(held, item):
            return
        if held is None or held.state.status is Status.FINISHED:
            if not self._books.shared:  # it has ended already, so that nothing is left to do
                _discard(request.id, draft)
            return
        self._carry_out(held, request.body, _Cause(item, request_id=request.id), draft)

    def on_operate(self, item: Operate, draft: Draft) -> None:
        """A client's operation on an execution."""
        held = self._books.held.get(item.execution_id)
        if held is not None:
            if self._books.trusted(held, item):
                self._carry_out(held, item.body, _Cause(item, token=item.token), draft)
        elif not self._books.shared:  # everything that has not ended is held
            draft.effects.append(Answer(item.token, AnswerKind.FINISHED))
        elif isinstance(item.body, GiveResult):
            self._looks.setdefault(item.execution_id, []).append(item)
            draft.effects.append(Look(item.execution_id))
        else:
            _post(item, draft)

    def on_looked(self, item: Looked, draft: Draft) -> None:
        """What the store has of an execution that somebody asked for."""
        for held in self._encounters.looked(item.execution_id, item.snapshot):
            self._books.make_runnable(held)
        for operate in self._looks.pop(item.execution_id, []):
            if item.execution_id in self._books.held:
                self.on_operate(operate, draft)
            else:
                self._give_unheld_result(operate, item.snapshot, draft)

    def _give_unheld_result(self, item: Operate, snapshot: Snapshot | None, draft: Draft) -> None:
        """A client's result for an execution of a stub activity that another engine holds, if any does."""
        assert isinstance(item.body, GiveResult)
        outcome = item.body.outcome
        if snapshot is None:
            draft.effects.append(Answer(item.token, AnswerKind.NOT_FOUND))
            return
        last = snapshot.log[-1].event
        if isinstance(last, Finished):
            kind = AnswerKind.ALREADY if same_result(last.outcome, outcome) else AnswerKind.CONFLICT
            draft.effects.append(Answer(item.token, kind))
            return
        if not self._encounters.is_stub(snapshot.state):
            draft.effects.append(Answer(item.token, AnswerKind.REFUSED, _no_stub(snapshot.state)))
            return
        target = unheld_stub(snapshot)
        if self._books.parent_is_ready(target, item):
            unit = draft.unit([target], [item])
            self._ends.give_result(target, outcome, unit)
            unit.effect(Answer(item.token, AnswerKind.DONE))
            unit.close()

    def _answer(self, token: int, answer: Refusal, held: Held, draft: Draft) -> None:
        """Tells a client what follows from rows that may have been written in this very tick."""
        draft.effects_on(held).append(Answer(token, answer.kind, answer.message))

    def _carry_out(self, held: Held, body: RequestBody | GiveResult, cause: _Cause, draft: Draft) -> None:
        if held.state.status is Status.FINISHED:
            refusal: Refusal | None = Refusal(AnswerKind.FINISHED, "it has ended")
        else:
            match body:
                case CancelRequest():
                    refusal = self._end(held, None, cause, draft)
                case FailRequest(failure):
                    refusal = self._fail(held, failure, cause, draft)
                case CancelDelayRequest(delay):
                    refusal = self._cancel_delay(held, delay, cause, draft)
                case PauseRequest():
                    refusal = self._pause(held, cause, draft)
                case UnpauseRequest():
                    refusal = self._unpause(held, cause, draft)
                case ResumeRequest():
                    refusal = self._resume(held, cause, draft)
                case UpgradeRequest():
                    refusal = self._upgrade(held, body, cause, draft)
                case AdvanceRequest():
                    refusal = self._advance(held, body, cause, draft)
                case GiveResult(outcome):
                    refusal = self._give_result(held, outcome, cause, draft)
        if refusal is None:
            return
        if cause.request_id is not None:
            _discard(cause.request_id, draft)
        if cause.token is not None:
            self._answer(cause.token, refusal, held, draft)

    def _open(self, held: Held, cause: _Cause, draft: Draft, *, answered: bool = True) -> OpenUnit:
        """The unit that does what is wanted, and says so."""
        unit = draft.unit([held], [cause.item])
        if cause.request_id is not None:
            unit.unit.requests_done.append(cause.request_id)
        if answered and cause.token is not None:
            unit.effect(Answer(cause.token, AnswerKind.DONE))
        return unit

    # --- ending ------------------------------------------------------------------------------------------------------

    def _end(self, held: Held, failure: Failure | None, cause: _Cause, draft: Draft) -> Refusal | None:
        state = held.state
        if state.lifecycle is Lifecycle.CANCELLING:
            return Refusal(AnswerKind.ALREADY, "it is being cancelled")
        if held.kind in {FunctionKind.ACTIVITY, FunctionKind.STUB}:
            runs = state.status is Status.LOCKED and not held.wants_lock
            if not runs and not self._books.parent_is_ready(held, cause.item):
                return None
            unit = self._open(held, cause, draft)
            unit.append(held, CancellationRequested(failure))
            if runs:
                assert state.run is not None
                unit.effect(KillAttempt(held.execution_id, state.run))
            else:
                self._ends.finish(held, failure or CANCELLED, unit)
            unit.close()
            return None
        unit = self._open(held, cause, draft)
        unit.append(held, CancellationRequested(failure))
        unit.effect(Load(held.execution_id))
        unit.close()
        held.kind = FunctionKind.WORKFLOW  # what it is when its component is not loaded does not matter any more
        self._stop(held, draft)
        held.phase = Phase.LOADING
        return None

    def _fail(self, held: Held, failure: Failure, cause: _Cause, draft: Draft) -> Refusal | None:
        if held.state.lifecycle is not Lifecycle.PARKED:
            return Refusal(
                AnswerKind.REFUSED, f"cannot fail, execution is {_is(held)}, not parked; it can be cancelled"
            )
        return self._end(held, failure, cause, draft)

    def _cancel_delay(self, held: Held, delay: DelayRef, cause: _Cause, draft: Draft) -> Refusal | None:
        if delay not in held.delays:
            return Refusal(AnswerKind.ALREADY, "the delay is over")
        unit = self._open(held, cause, draft)
        self._ends.deliver(held, unit.resolve(held, delay, ok=False), unit)
        unit.close()
        return None

    def _give_result(self, held: Held, outcome: Outcome, cause: _Cause, draft: Draft) -> Refusal | None:
        if held.state.lifecycle is Lifecycle.CANCELLING:
            return Refusal(AnswerKind.REFUSED, "it takes no result any more, it is being cancelled")
        if not self._encounters.is_stub(held.state):
            return Refusal(AnswerKind.REFUSED, _no_stub(held.state))
        if self._books.parent_is_ready(held, cause.item):
            unit = self._open(held, cause, draft)
            self._ends.give_result(held, outcome, unit)
            unit.close()
        return None

    # --- standing still, and going on --------------------------------------------------------------------------------

    def _pause(self, held: Held, cause: _Cause, draft: Draft) -> Refusal | None:
        state = held.state
        if state.lifecycle is Lifecycle.PAUSED:
            return Refusal(AnswerKind.ALREADY, "cannot pause, execution is already paused")
        if state.lifecycle is not Lifecycle.ACTIVE:
            return Refusal(AnswerKind.REFUSED, f"cannot pause, execution is {_is(held)}")
        if held.kind is FunctionKind.STUB:
            return Refusal(AnswerKind.REFUSED, "cannot pause, nothing here runs a stub activity")
        if held.kind is FunctionKind.ACTIVITY and state.status is Status.LOCKED and not held.wants_lock:
            return Refusal(AnswerKind.REFUSED, "cannot pause, the activity is running; it can be cancelled")
        unit = self._open(held, cause, draft)
        self._unlock(held, "paused", unit)
        unit.append(held, Paused())
        unit.close()
        self._stop(held, draft)
        return None

    def _unpause(self, held: Held, cause: _Cause, draft: Draft) -> Refusal | None:
        if held.state.lifecycle is not Lifecycle.PAUSED:
            return Refusal(AnswerKind.REFUSED, "cannot unpause, execution is not paused")
        self._append_and_go_on(held, [Unpaused()], cause, draft)
        return None

    def _resume(self, held: Held, cause: _Cause, draft: Draft) -> Refusal | None:
        if held.state.lifecycle is not Lifecycle.PARKED:
            return Refusal(AnswerKind.REFUSED, f"cannot resume, execution is {_is(held)}, not parked")
        info = self._books.registry.pinned(held.state.component, held.state.ffqn)
        if info is None:
            return Refusal(AnswerKind.REFUSED, f"cannot resume, its component {held.state.component} is not loaded")
        held.kind = info.kind
        self._append_and_go_on(held, [Resumed()], cause, draft)
        return None

    def _upgrade(self, held: Held, body: UpgradeRequest, cause: _Cause, draft: Draft) -> Refusal | None:
        state = held.state
        if state.lifecycle is Lifecycle.CANCELLING:
            return Refusal(AnswerKind.REFUSED, "cannot upgrade, execution is being cancelled")
        info = self._books.registry.pinned(body.component, state.ffqn)
        if info is None or (held.kind is not None and info.kind is not held.kind):
            return Refusal(AnswerKind.REFUSED, f"cannot upgrade, {body.component} is not loaded or has no {state.ffqn}")
        if held.kind is FunctionKind.ACTIVITY and state.status is Status.LOCKED and not held.wants_lock:
            return Refusal(AnswerKind.REFUSED, "cannot upgrade, the activity is running")
        if state.component == body.component:
            return Refusal(AnswerKind.ALREADY, "it is on that component")
        if body.checked is not None and body.checked != state.next_version:
            return Refusal(AnswerKind.OUTDATED, f"its log has grown to version {state.next_version}")
        events: list[Event] = [ComponentUpgraded(body.component, self._books.deployment, forced=body.checked is None)]
        if state.lifecycle is Lifecycle.PARKED:
            events.append(Resumed())
        held.kind = info.kind
        self._append_and_go_on(held, events, cause, draft, reason="upgrade")
        return None

    def _advance(self, held: Held, body: AdvanceRequest, cause: _Cause, draft: Draft) -> Refusal | None:
        state = held.state
        if state.lifecycle is not Lifecycle.PAUSED or held.kind is not FunctionKind.WORKFLOW:
            what = f"execution is {_is(held)}" if held.kind is FunctionKind.WORKFLOW else "it is no workflow"
            return Refusal(AnswerKind.REFUSED, f"cannot advance, {what}; a paused workflow can be advanced")
        if held.advance is not None:
            return Refusal(AnswerKind.REFUSED, "cannot advance, it is being advanced")
        if body.checked != state.next_version:
            return Refusal(AnswerKind.OUTDATED, f"its log has grown to version {state.next_version}")
        if state.status is not Status.PENDING:
            return Refusal(AnswerKind.REFUSED, f"cannot advance, it waits for a response of {state.blocked_on}")
        if body.steps < 1:
            return Refusal(AnswerKind.REFUSED, "cannot advance by less than one step")
        if cause.request_id is not None:
            _discard(cause.request_id, draft)
        held.advance = Advance(cause.token, body.steps, body.pause_children)
        self._books.load(held, draft)
        return None

    # --- steps of the above ------------------------------------------------------------------------------------------

    def _append_and_go_on(self, held: Held, events: list[Event], cause: _Cause, draft: Draft, reason: str = "") -> None:
        unit = self._open(held, cause, draft)
        if reason:
            self._unlock(held, reason, unit)
        for event in events:
            unit.append(held, event)
        unit.close()
        self._stop(held, draft)
        self._books.take_up(held, draft)

    def _unlock(self, held: Held, reason: str, unit: OpenUnit) -> None:
        if held.state.status is Status.LOCKED:
            unit.append(held, Unlocked(unit.draft.now, reason))

    def _stop(self, held: Held, draft: Draft) -> None:
        """Drops what is in memory: whatever it does next, it does from its log."""
        token = held.end_advance()
        if token is not None:
            self._answer(token, Refusal(AnswerKind.OUTDATED, "something else was done to it meanwhile"), held, draft)
        held.wants_lock = held.wants_lock and held.state.status is Status.BLOCKED
        self._books.cool(held)


def _discard(request_id: int, draft: Draft) -> None:
    """Takes a request out of the inbox."""
    unit = draft.unit([], [])
    unit.unit.requests_done.append(request_id)
    unit.close()


def _post(item: Operate, draft: Draft) -> None:
    """Puts a client's operation into the inbox of an execution that another engine holds."""
    assert not isinstance(item.body, GiveResult)
    unit = draft.unit([], [item])
    unit.request(Request(item.execution_id, draft.now, item.body))
    unit.effect(Answer(item.token, AnswerKind.REQUESTED))
    unit.close()


def _no_stub(state: ExecutionState) -> str:
    return f"{state.ffqn} is no stub activity; only those are given a result"


def _is(held: Held) -> str:
    """What a refusal calls the state of an execution."""
    state = held.state
    return str(state.status if state.lifecycle is Lifecycle.ACTIVE else state.lifecycle)
