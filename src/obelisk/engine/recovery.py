"""Recovery: believing the store again.

Decides what follows for an execution from its rows: after a start, after a lease was taken, after a unit was refused (what
is in memory is then torn down), and when a workflow is loaded because it goes on. All of it uses the same few steps, so that
none is ever exercised only in a disaster.
"""

from __future__ import annotations

from collections.abc import Callable

from obelisk.core import transitions
from obelisk.core.batch import Delay, Recovered, Snapshot
from obelisk.core.events import CancellationRequested, Created, Parked
from obelisk.core.ids import DelayRef, ExecutionId, absolute
from obelisk.core.ports import FunctionKind
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.engine.books import Books
from obelisk.engine.effects import Answer, AnswerKind, CheckNews, Effect, KillAttempt, Load
from obelisk.engine.ends import Ends
from obelisk.engine.held import Held, Phase
from obelisk.engine.inputs import AttemptKilled, CrashedTooOften, Input, Loaded, Requested
from obelisk.engine.tick import Draft
from obelisk.engine.timers import TimerKind


class Recovery:
    """Takes in what was read. `apply`: offers an input to the engine, in the tick that is being decided."""

    def __init__(self, books: Books, ends: Ends, apply: Callable[[Input, Draft], None]) -> None:
        self._books = books
        self._ends = ends
        self._apply = apply

    def on_loaded(self, item: Loaded, draft: Draft) -> None:
        """What was asked for has been read."""
        execution_id, snapshot = item.execution_id, item.snapshot
        touched = self._books.held.get(execution_id)
        if touched is not None and touched.last_unit >= 0:
            self._books.again.append(
                item
            )  # compared with what is durable, which is not known before this tick is settled
            return
        self._books.reads[execution_id] -= 1
        if self._books.reads[execution_id] > 0:
            return  # it was asked for again since; that answer counts
        del self._books.reads[execution_id]
        held = self._books.held.get(execution_id)
        if held is None or (held.is_trusted and _is_outdated(snapshot, held.state)):
            return
        if snapshot is None or snapshot.state.owner != self._books.executor:
            self._let_go(held, draft)
            return
        if not held.is_trusted:
            self._rebuild(held, snapshot, draft)
        elif snapshot.state.lease_epoch != held.state.lease_epoch:  # the lease was lost, and taken again
            _give_up_advance(held, draft.effects)
            self._books.cool(held)
            run = self._books.attempts.get(execution_id)
            if run is not None and run != snapshot.state.run:  # somebody else has begun another run since
                del self._books.attempts[execution_id]
                draft.effects.append(KillAttempt(execution_id, run))
            self._rebuild(held, snapshot, draft)
        elif not self._take_in(held, snapshot, draft):
            draft.effects.append(Load(execution_id))
            return
        elif held.phase is Phase.LOADING:
            if not _has_all(snapshot, held):
                draft.effects.append(Load(execution_id))
                return
            self._fill(held, snapshot)
        for request in snapshot.requests:
            self._apply(Requested(request), draft)

    def _let_go(self, held: Held, draft: Draft) -> None:
        """Forgets an execution that is not this engine's (any more), or never came to be."""
        if held.execution_id in self._books.attempts:
            draft.effects.append(KillAttempt(held.execution_id, self._books.attempts[held.execution_id]))
        _give_up_advance(held, draft.effects)
        held_back, held.held_back = held.held_back, []
        self._books.forget(held)
        for item in held_back:
            self._apply(item, draft)

    def _rebuild(self, held: Held, snapshot: Snapshot, draft: Draft) -> None:
        """Believes the store again after a refused unit, and offers the inputs again that waited for it."""
        held.state = snapshot.state
        held.delays = {delay.delay: delay.expires_at for delay in snapshot.delays}
        held.is_trusted = True
        held.late = []
        held.phase = Phase.COLD
        held.wants_lock = snapshot.state.status is not Status.PENDING and not self._runs_on(held)
        self._arm_delays(held)
        self._take_in(held, snapshot, draft)  # before anything else is told to it
        held.phase = Phase.COLD  # what it is to do is derived below
        held_back, held.held_back = held.held_back, []
        for item in held_back:
            self._apply(item, draft)
        is_there = self._books.held.get(held.execution_id) is held and held.state.status is not Status.FINISHED
        if is_there and held.phase is Phase.COLD and not self._runs_on(held):
            self._adopt(held, draft)

    def _runs_on(self, held: Held) -> bool:
        """Whether an attempt of this process is the current one: it was not lost with what was in memory."""
        state = held.state
        is_run = held.kind is FunctionKind.ACTIVITY and state.status is Status.LOCKED
        return is_run and self._books.attempts.get(held.execution_id) == state.run

    def _fill(self, held: Held, snapshot: Snapshot) -> None:
        """Uses a snapshot to go on with what the execution was loaded for."""
        created = snapshot.log[0].event
        assert isinstance(created, Created)
        held.begin_as(created)
        if held.state.lifecycle is Lifecycle.CANCELLING:
            ends = [entry.event for entry in snapshot.log if isinstance(entry.event, CancellationRequested)]
            held.ends_as = ends[-1].failure
        if held.kind is FunctionKind.ACTIVITY:
            self._books.window.loaded(held)
            return
        held.snapshot = snapshot
        self._books.make_runnable(held)

    def _take_in(self, held: Held, snapshot: Snapshot, draft: Draft) -> bool:
        """Takes in responses that others posted. False: it was read before some that this engine wrote since."""
        state, read = held.state, len(snapshot.responses)
        if state.responses_known < state.response_count and read < state.response_count:
            return False
        if read <= state.responses_known:
            return True
        state.response_count = read
        unit = draft.unit([held], [])
        for response in snapshot.responses[state.responses_known :]:
            transitions.arrive(state, response.join_set, draft.now)
            self._ends.deliver(held, response, None)
            self._look_at_child(held, response, draft)
        if held.phase is Phase.COLD and held.kind is FunctionKind.WORKFLOW and self._books.may_run(held):
            held.phase = Phase.LOADING  # the snapshot at hand is used
        unit.close()
        return True

    def _look_at_child(self, held: Held, response: Response, draft: Draft) -> None:
        """A child that another engine has ended may still be held here: a stub, or one whose lease was lost."""
        if isinstance(response.body, ChildFinished):
            child = self._books.find(absolute(held.execution_id, response.body.child))
            if child is not None and child.is_trusted:
                draft.effects.append(Load(child.execution_id))

    def on_claimed(self, recovered: Recovered, draft: Draft) -> None:
        """Leases were taken."""
        taken: list[Held] = []
        delays: dict[ExecutionId, list[Delay]] = {}
        for delay in recovered.delays:
            delays.setdefault(delay.execution_id, []).append(delay)
        for state in recovered.states:
            if state.execution_id in self._books.held:
                continue  # claimed again before the first claim was noticed as lost; its units will be refused
            info = self._books.registry.pinned(state.component, state.ffqn)
            held = Held(state, state.execution_id, None if info is None else info.kind)
            self._books.held[state.execution_id] = held
            taken.append(held)
            for delay in delays.get(state.execution_id, ()):
                held.delays[delay.delay] = delay.expires_at
            self._arm_delays(held)
        for held in taken:  # after all are known, since one may concern another
            self._adopt(held, draft)
        if taken:
            draft.effects.append(CheckNews())  # requests and responses that came while nobody held them

    def _arm_delays(self, held: Held) -> None:
        for delay, expires_at in held.delays.items():
            self._books.timers.arm(expires_at, TimerKind.DELAY, held.execution_id, DelayRef(delay))

    def _adopt(self, held: Held, draft: Draft) -> None:
        """Derives from the rows of an execution what is to be done about it: the effects after a restart."""
        state = held.state
        if state.lifecycle is Lifecycle.CANCELLING:
            self._adopt_cancelling(held, draft)
            return
        if state.lifecycle is not Lifecycle.ACTIVE or held.kind is FunctionKind.STUB:
            return
        if held.kind is None:
            self._ends.park(held, Parked(f"its component {state.component} is not loaded"), draft)
            return
        held.wants_lock = state.status is not Status.PENDING
        if state.status is Status.LOCKED and state.crashes >= self._books.limits.crash_max:
            self._apply(CrashedTooOften(held.execution_id), draft)
        elif state.status is Status.BLOCKED:
            if state.response_count > state.responses_known:
                draft.effects.append(Load(held.execution_id))
        else:
            self._books.take_up(held, draft)

    def _adopt_cancelling(self, held: Held, draft: Draft) -> None:
        state = held.state
        if held.kind is FunctionKind.ACTIVITY:
            if state.run is not None:  # the run was lost, so it does nothing any more
                self._apply(AttemptKilled(held.execution_id, state.run), draft)
            return
        held.kind = FunctionKind.WORKFLOW
        self._books.load(held, draft)

    def on_news(self, execution_ids: list[ExecutionId], draft: Draft) -> None:
        """Others wrote something for these executions."""
        for execution_id in execution_ids:
            if execution_id in self._books.held:
                draft.effects.append(Load(execution_id))

    def tear_down(self, held: Held, effects: list[Effect]) -> None:
        """Believes nothing of an execution any more, until it has been reloaded."""
        self._books.cool(held)
        _give_up_advance(held, effects)
        held.is_trusted = False
        held.phase = Phase.LOADING
        effects.append(Load(held.execution_id))


def _give_up_advance(held: Held, effects: list[Effect]) -> None:
    """What was in memory of an advance is lost: whoever asked for it looks again."""
    token = held.end_advance()
    if token is not None:
        effects.append(Answer(token, AnswerKind.OUTDATED, "its state was read again meanwhile"))


def _is_outdated(snapshot: Snapshot | None, state: ExecutionState) -> bool:
    """Whether `snapshot` was read before what is known for sure."""
    if snapshot is None:
        return True
    read = snapshot.state
    return (read.lease_epoch, read.next_version) < (state.lease_epoch, state.next_version)


def _has_all(snapshot: Snapshot, held: Held) -> bool:
    """Whether `snapshot`, with what came since, has every response that the state row counts."""
    read = len(snapshot.responses)
    return read + sum(response.seq > read for response in held.late) >= held.state.response_count
