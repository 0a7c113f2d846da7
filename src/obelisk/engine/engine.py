"""The engine: one tick after another.

    tick = engine.decide(inputs, now)        # no I/O: applies inputs, then steps runnable workflows
    outcomes = store.commit(tick.batch_id, tick.units)
    effects = engine.settle(tick, outcomes)  # what may leave now that it is durable

# Rules

1. Nothing leaves before the unit that it follows from is durable: effects are attached to units.
2. What is in memory is believed only until a unit that touched it is refused. Then the execution is torn down and
   reloaded, and the inputs of the unit are offered again. A completion is never lost, and never applied to another run.
3. Only the holder of an execution's lease appends to its log. Others put responses and requests into its inbox.
4. Inputs are applied in the order in which they were admitted; `seq` of responses follows it. A completion that is
   admitted with the timeout of the same attempt comes first.
5. A tick is bounded. Whoever reaches a limit goes on in the next tick, in turn.

The engine does not know time (`now` is an argument), threads or stores, and runs no activity.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from obelisk.core import ids, transitions
from obelisk.core.batch import (
    Applied,
    Delay,
    Recovered,
    Refused,
    RefusedBy,
    Request,
    Snapshot,
    UnitOutcome,
)
from obelisk.core.events import (
    CancellationRequested,
    ChildRequested,
    Created,
    Event,
    Finished,
    Locked,
    Parked,
    Paused,
    Scheduled,
    TemporarilyFailed,
    TemporarilyTimedOut,
    Unlocked,
    Unpaused,
)
from obelisk.core.ids import DelayRef, DeploymentId, ExecutionId, ExecutorId, RunId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.policy import Limits, RetryPolicy
from obelisk.core.ports import Budget, Entropy, FunctionInfo, FunctionKind, Registry
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.retry import is_retryable, retry_at
from obelisk.core.transitions import ExecutionState, Lifecycle, Status
from obelisk.core.values import Err, Failure, FailureKind, Outcome
from obelisk.engine import forking
from obelisk.engine.effects import (
    Answer,
    AnswerKind,
    Changed,
    CheckNews,
    Claim,
    Effect,
    KillAttempt,
    Load,
    Look,
    Renew,
    RunGuest,
    StartAttempt,
    WakeOthers,
)
from obelisk.engine.encounters import Encounters, same_result, unheld_stub
from obelisk.engine.held import Held, Phase
from obelisk.engine.inbox import ClientCall
from obelisk.engine.inputs import (
    AttemptFinished,
    AttemptKilled,
    AttemptSliced,
    AttemptStopped,
    Claimed,
    CrashedTooOften,
    DelayDue,
    Fork,
    GiveResult,
    Input,
    Loaded,
    Looked,
    News,
    Operate,
    PendingDue,
    Requested,
    Stepped,
    Submit,
)
from obelisk.engine.operations import Operations, Refusal, discard, posted
from obelisk.engine.tick import Draft, OpenUnit, Tick
from obelisk.engine.timers import TimerKind, Timers
from obelisk.engine.warmth import Warmth
from obelisk.engine.window import StartWindow
from obelisk.engine.workflows import CANCELLED, Stepper

_NOBODY: Final = ExecutionId("")


class Engine:
    """The engine of one process. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        executor: ExecutorId,
        deployment: DeploymentId,
        registry: Registry,
        entropy: Entropy,
        budget: Budget,
        limits: Limits | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """`shared`: whether other engines use the same store; leases then expire and pending work is up for grabs."""
        self.executor: Final = executor
        self.limits: Final = limits or Limits()
        self._deployment = deployment
        self._registry = registry
        self._entropy = entropy
        self._budget = budget
        self._shared = shared
        self._held: dict[ExecutionId, Held] = {}
        self._again: list[Input] = []
        """Inputs to apply first in the next tick."""
        self._runnable: deque[Held] = deque()
        """Workflows to be stepped, in turn."""
        self._window = StartWindow(self.limits.start_window)
        self._warmth = Warmth(self.limits.hot_max, registry.typed_params)
        self._attempts: dict[ExecutionId, RunId] = {}
        """The last attempt that the runtime was told to start. One that has ended stays until its end is durable: its
        completion may have to be offered again, and until then the execution must not look lost."""
        self._reads: Counter[ExecutionId] = Counter()
        """Answers to `Load` that are still to come; only the last one counts."""
        self._timers = Timers()
        self._looks: dict[ExecutionId, list[Operate]] = {}
        """Results from clients for executions that the store is asked about."""
        self.encounters: Final = Encounters(self, registry)
        self._operations = Operations(self, registry, deployment)
        self._stepper = Stepper(executor, registry, entropy, budget, self.limits, self)

    # --- what the driver asks ----------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `decide` has something to do without any input."""
        may_start = self._window.waits > 0 and self._window.free > 0
        may_step = bool(self._runnable) or self._warmth.admits
        return bool(self._again) or may_step or may_start

    def next_due(self) -> Instant | None:
        """When `decide` must be called although nothing came in."""
        return self._timers.next_due()

    def held(self, execution_id: ExecutionId) -> ExecutionState | None:
        """A copy of what the engine believes about an execution that it holds; for tests and metrics only."""
        held = self._held.get(execution_id)
        return None if held is None else held.state.copy()

    @property
    def open_count(self) -> int:
        """Executions held."""
        return len(self._held)

    @property
    def hot_count(self) -> int:
        """Workflows in memory."""
        return self._warmth.hot

    def recover(self, recovered: Recovered, now: Instant) -> None:
        """Takes in what the engine owns from the start. Call once, before the first tick."""
        self._again.append(Claimed(recovered))
        if self._shared:
            self._timers.arm(now, TimerKind.LEASE, _NOBODY)

    def close(self) -> None:
        """Frees every guest that is in memory. The engine is of no use afterwards."""
        for held in self._held.values():
            held.unload()
        self._held.clear()

    # --- deciding ----------------------------------------------------------------------------------------------------

    def decide(self, inputs: list[Input], now: Instant) -> Tick:
        """Applies `inputs` in order, then what is due, then steps workflows until the tick's limits."""
        draft = Draft(now, self.limits)
        self._budget.start()
        todo = self._again + inputs
        self._again = []
        for index, item in enumerate(todo):
            if draft.is_full:
                self._again += todo[index:]
                break
            self._apply(item, draft)
        for kind, execution_id, delay in self._timers.take_due(now, self.limits.tick_units_max):
            match kind:
                case TimerKind.DELAY:
                    self._apply(DelayDue(execution_id, delay), draft)
                case TimerKind.PENDING:
                    self._apply(PendingDue(execution_id), draft)
                case TimerKind.LEASE:
                    self._keep_leases(draft)
        self._start_attempts(draft)
        self._step_workflows(draft)
        return Tick(self._entropy.batch_id() if draft.units else "", now, draft.units, draft.notes, draft.effects)

    def _apply(self, item: Input, draft: Draft) -> None:
        match item:
            case AttemptFinished():
                self._on_attempt_finished(item, draft)
            case AttemptSliced(execution_id, run):
                self._window.first_slice_done(execution_id, run)
            case AttemptStopped():
                self._on_attempt_stopped(item, draft)
            case AttemptKilled():
                self._on_attempt_killed(item, draft)
            case Submit():
                self._on_submit(item, draft)
            case Operate():
                self._on_operate(item, draft)
            case Fork():
                self._on_fork(item, draft)
            case Looked():
                self._on_looked(item, draft)
            case DelayDue():
                self._on_delay_due(item, draft)
            case PendingDue(execution_id):
                self._on_pending_due(execution_id, item, draft)
            case CrashedTooOften():
                self._on_crashed_too_often(item, draft)
            case Stepped():
                self._on_stepped(item)
            case Loaded():
                self._on_loaded(item, draft)
            case Requested():
                self._on_requested(item, draft)
            case Claimed(recovered):
                self._on_claimed(recovered, draft)
            case News(execution_ids):
                self._on_news(execution_ids, draft)

    def _trusted(self, held: Held, item: Input) -> bool:
        """Whether the entry may be used; if not, `item` is kept until it has been reloaded."""
        if not held.is_trusted:
            held.held_back.append(item)
        return held.is_trusted

    # submissions

    def _on_submit(self, item: Submit, draft: Draft) -> None:
        info = self._registry.active(item.ffqn)
        if info is None:
            draft.effects.append(Answer(item.token, AnswerKind.FUNCTION_NOT_FOUND))
            return
        existing = self._held.get(item.execution_id)
        if existing is not None:
            if not self._trusted(existing, item):
                return  # its creation may be what was refused
            answer = Answer(item.token, AnswerKind.EXISTS)
            if existing.last_unit >= 0:  # perhaps created in this very tick, so not durable yet
                notes = draft.notes[existing.last_unit]
                notes.effects.append(answer)
                notes.inputs.append(item)
            else:
                draft.effects.append(answer)
            return
        created = Created(
            ffqn=item.ffqn,
            params=item.params,
            component=info.component,
            deployment=self._deployment,
            scheduled_at=draft.now if item.scheduled_at is None else item.scheduled_at,
            metadata=item.metadata,
        )
        unit = draft.unit([], [item])
        self._create(item.execution_id, created, info, unit, paused=item.paused)
        unit.effect(Answer(item.token, AnswerKind.CREATED))
        unit.close()

    def _create(
        self,
        execution_id: ExecutionId,
        created: Created,
        info: FunctionInfo,
        unit: OpenUnit,
        *,
        paused: bool = False,
    ) -> None:
        """Adds an execution to `unit`, locked at once if it is an activity that may start."""
        now = unit.draft.now
        state = transitions.create(execution_id, created, now, self.executor)
        if self._shared:
            state.lease_expires_at = Instant(now + self.limits.lease_us)
        held = Held(state, info.kind)
        held.params = created.params
        held.timeout_us = created.timeout_us
        unit.create(held, created)
        unit.draft.bytes += len(created.params)
        self._held[execution_id] = held
        if info.kind is FunctionKind.STUB:
            return
        if paused:
            unit.append(held, Paused())
        elif state.pending_at > now:
            unit.notes.timers.append((state.pending_at, TimerKind.PENDING, execution_id, ""))
        elif info.kind is FunctionKind.WORKFLOW:
            self._make_runnable(held)
        elif self._window.is_open:
            self._lock_and_start(held, info, unit)
        elif self._shared:
            state.owner, state.lease_expires_at = None, None  # whoever has room takes it
        else:
            self._window.wait(held)

    def create_child(self, parent: Held, request: ChildRequested, unit: OpenUnit) -> None:
        """Creates the child that `parent` requested, in the same unit."""
        info = self._registry.active(request.ffqn)
        assert info is not None, "the stepper parks a workflow that calls what is not deployed"
        created = Created(
            ffqn=request.ffqn,
            params=request.params,
            component=info.component,
            deployment=self._deployment,
            scheduled_at=unit.draft.now,
            join_set=ids.join_set_of(request.child),
            timeout_us=request.timeout_us,
        )
        paused = parent.advance is not None and parent.advance.pause_children
        self._create(ids.absolute(parent.execution_id, request.child), created, info, unit, paused=paused)

    def create_scheduled(self, by: Held, event: Scheduled, unit: OpenUnit) -> None:
        """Creates the top-level execution that `by` scheduled, in the same unit."""
        info = self._registry.active(event.ffqn)
        assert info is not None, "the stepper parks a workflow that calls what is not deployed"
        created = Created(
            ffqn=event.ffqn,
            params=event.params,
            component=info.component,
            deployment=self._deployment,
            scheduled_at=event.scheduled_at,
            scheduled_by=by.execution_id,
            timeout_us=event.timeout_us,
        )
        self._create(event.execution_id, created, info, unit)

    def _on_fork(self, item: Fork, draft: Draft) -> None:
        existing = self._held.get(item.execution_id)
        info = self._registry.pinned(item.component, item.origin.state.ffqn)
        if existing is not None or info is None:
            refusal = Refusal(AnswerKind.EXISTS) if existing else Refusal(AnswerKind.FUNCTION_NOT_FOUND)
            self._operations.answer(item.token, refusal, existing, draft)
            return
        prefix = forking.prefix_of(item.origin, item.version)
        created = forking.forked(prefix, info, self._deployment, draft.now)
        state = transitions.create(item.execution_id, created, draft.now, self.executor)
        if self._shared:
            state.lease_expires_at = Instant(draft.now + self.limits.lease_us)
        held = Held(state, info.kind)
        held.params = created.params
        unit = draft.unit([], [item])
        unit.create(held, created)
        unit.draft.bytes += len(created.params)
        self._held[item.execution_id] = held
        forking.fill(held, prefix, unit, self._registry)
        for request in prefix.open_children:
            self.create_child(held, request, unit)
        if not item.paused:
            unit.append(held, Unpaused())
        unit.effect(Answer(item.token, AnswerKind.CREATED))
        unit.close()
        self.take_up(held, draft)

    # activities

    def _lock_and_start(self, held: Held, info: FunctionInfo, unit: OpenUnit) -> None:
        now = unit.draft.now
        policy = info.policy
        run = self._entropy.run_id(now)
        unit.append(
            held,
            Locked(
                self.executor,
                run,
                Instant(now + policy.lock_expiry_us),
                policy.retry.max_retries,
                policy.retry.exp_backoff_us,
            ),
        )
        held.wants_lock = False
        held.phase = Phase.COLD
        self._window.take(held.execution_id, run)
        assert held.params is not None
        unit.effect(
            StartAttempt(
                held.execution_id,
                run,
                held.state.component,
                held.state.ffqn,
                held.params,
                held.timeout_us or policy.lock_expiry_us,
            )
        )

    def _start_attempts(self, draft: Draft) -> None:
        """Lets activities that are due into the start window."""
        while not draft.is_full and (held := self._window.next()) is not None:
            is_there = self._held.get(held.execution_id) is held and held.phase is Phase.READY
            if not is_there or not self._may_run(held):
                continue  # ended, or torn down, while it waited
            if held.params is None:
                self._window.load(held)
                self._load(held, draft)
                continue
            info = self._registry.pinned(held.state.component, held.state.ffqn)
            assert info is not None, "only executions whose component is loaded become ready"
            unit = draft.unit([held], [])
            self._lock_and_start(held, info, unit)
            unit.close()

    def _current(self, execution_id: ExecutionId, run: RunId, item: Input) -> Held | None:
        """The execution whose current attempt is `run`; None when the attempt is a past one, or must wait."""
        self._window.first_slice_done(execution_id, run)
        held = self._held.get(execution_id)
        if held is None or not self._trusted(held, item):
            return None
        state = held.state
        if state.status is not Status.LOCKED or state.run != run or held.wants_lock:
            return None
        return held

    def _on_attempt_finished(self, item: AttemptFinished, draft: Draft) -> None:
        held = self._current(item.execution_id, item.run, item)
        if held is None:
            return
        state, result = held.state, item.result
        if state.lifecycle is Lifecycle.CANCELLING:
            self._end_cancelled(held, item, draft)  # what it came to does not matter: that was decided before
            return
        info = self._registry.pinned(state.component, state.ffqn)
        retry = RetryPolicy(max_retries=0) if info is None else info.policy.retry
        again_at = None
        if not item.final and is_retryable(retry, result):
            again_at = retry_at(retry, held.execution_id, state.failures, draft.now)
        if again_at is None:
            if self.parent_is_ready(held, item):
                unit = draft.unit([held], [item])
                self.finish(held, result, unit)
                unit.close()
            return
        unit = draft.unit([held], [item])
        unit.append(held, _temporary(result, again_at))
        unit.notes.timers.append((again_at, TimerKind.PENDING, held.execution_id, ""))
        unit.close()

    def _on_attempt_stopped(self, item: AttemptStopped, draft: Draft) -> None:
        held = self._current(item.execution_id, item.run, item)
        if held is None:
            return
        if held.state.lifecycle is Lifecycle.CANCELLING:
            self._end_cancelled(held, item, draft)
            return
        unit = draft.unit([held], [item])
        unit.append(held, Unlocked(draft.now, item.reason))
        unit.close()

    def _on_attempt_killed(self, item: AttemptKilled, draft: Draft) -> None:
        self._window.first_slice_done(item.execution_id, item.run)
        held = self._held.get(item.execution_id)
        if held is None or not self._trusted(held, item):
            return
        state = held.state
        is_cancelled = state.status is Status.LOCKED and state.lifecycle is Lifecycle.CANCELLING
        if is_cancelled and state.run == item.run and held.kind is FunctionKind.ACTIVITY:
            self._end_cancelled(held, item, draft)

    def _end_cancelled(self, held: Held, item: Input, draft: Draft) -> None:
        """An activity that is being cancelled does nothing any more."""
        if self.parent_is_ready(held, item):
            unit = draft.unit([held], [item])
            self.finish(held, held.ends_as or CANCELLED, unit)
            unit.close()

    # ends

    def _parent_of(self, held: Held) -> Held | None:
        parent_id = ids.parent_of(held.execution_id)
        return None if parent_id is None else self._held.get(parent_id)

    def parent_is_ready(self, held: Held, item: Input) -> bool:
        """Whether the parent's memory may be used now; if not, `item` is kept until it may."""
        parent = self._parent_of(held)
        return parent is None or self._trusted(parent, item)

    def can_finish(self, held: Held) -> bool:
        """Whether the parent's memory may be used now."""
        parent = self._parent_of(held)
        return parent is None or parent.is_trusted

    def finish(self, held: Held, outcome: Outcome, unit: OpenUnit) -> None:
        """Appends `finished` to an execution of `unit` and tells the parent in the same unit."""
        version = unit.append(held, Finished(outcome))
        state = held.state
        for delay in held.delays:
            unit.unit.delays_done.append((held.execution_id, delay))
        held.delays.clear()
        if state.join_set is None:
            return
        child = ids.relative(held.execution_id)
        response = Response(0, unit.draft.now, state.join_set, ChildFinished(child, version, outcome))
        parent = self._parent_of(held)
        if parent is not None:
            unit.touch(parent)
            self.deliver(parent, unit.respond(parent, response), unit)
            return
        parent_id = ids.parent_of(held.execution_id)
        assert parent_id is not None
        unit.post(parent_id, response)
        unit.effect(WakeOthers(parent_id))

    def find(self, execution_id: ExecutionId) -> Held | None:
        """What the engine holds of an execution."""
        return self._held.get(execution_id)

    def deliver(self, held: Held, response: Response, unit: OpenUnit | None) -> None:
        """Gives a response to an execution that `unit` touches, and wakes it if it was waiting for it."""
        if held.machine is not None:
            held.machine.deliver(response)
        elif held.phase is Phase.LOADING or held.snapshot is not None:
            held.late.append(response)
        if not self._may_run(held):
            return
        if held.phase is Phase.BLOCKED:
            self._make_runnable(held)
        elif held.phase is Phase.COLD and held.kind is FunctionKind.WORKFLOW and unit is not None:
            held.phase = Phase.LOADING
            unit.effect(Load(held.execution_id))

    # timers

    def _on_delay_due(self, item: DelayDue, draft: Draft) -> None:
        held = self._held.get(item.execution_id)
        if held is None or not self._trusted(held, item) or held.delays.get(item.delay) is None:
            return
        unit = draft.unit([held], [item])
        self.deliver(held, unit.resolve(held, item.delay, ok=True), unit)
        unit.close()

    def _on_pending_due(self, execution_id: ExecutionId, item: Input, draft: Draft) -> None:
        held = self._held.get(execution_id)
        if held is None or not self._trusted(held, item) or held.phase is not Phase.COLD:
            return
        state = held.state
        if state.status is Status.PENDING and state.pending_at <= draft.now:  # not a timer of some earlier wait
            self._queue(held)

    def _keep_leases(self, draft: Draft) -> None:
        lease_us = self.limits.lease_us
        draft.effects.append(Renew(Instant(draft.now + lease_us)))
        draft.effects.append(CheckNews())
        free = self._window.free - self._window.waits
        if free > 0:
            draft.effects.append(Claim(free))
        self._timers.arm(Instant(draft.now + lease_us // 3), TimerKind.LEASE, _NOBODY)

    # workflows

    def _make_runnable(self, held: Held) -> None:
        held.phase = Phase.READY
        self._warmth.wakes(held)
        self._runnable.append(held)

    def _step_workflows(self, draft: Draft) -> None:
        """Steps workflows in turn. Those that want more get it after all the others, at the latest in the next tick."""
        again: list[Held] = []
        self._runnable.extend(self._warmth.admitted())
        while self._runnable and not draft.is_full:
            held = self._runnable.popleft()
            if self._held.get(held.execution_id) is not held or held.phase is not Phase.READY or not held.is_trusted:
                continue  # ended, torn down or parked while it waited
            if held.machine is None and not self._warm(held, draft):
                continue
            if self._stepper.run(held, draft):
                again.append(held)
            self._warmth.after_run(held)
            if self._budget.spent():
                break
        self._runnable.extend(again)

    def _warm(self, held: Held, draft: Draft) -> bool:
        """Gives an execution its machine, if there is room; one that has a log is loaded first."""
        if held.snapshot is None and (held.params is None or held.state.next_version > 1):
            self._load(held, draft)
            return False
        return self._warmth.warm(held)

    def _on_stepped(self, item: Stepped) -> None:
        held = self._held.get(item.execution_id)
        if held is None or held.generation != item.generation or held.phase is not Phase.AWAY:
            item.guest.close()
            return
        held.step = item.step
        self._make_runnable(held)

    def kind_of_child(self, child: ExecutionId, ffqn: FunctionName) -> FunctionKind | None:
        """What a child is, as far as it is known."""
        held = self._held.get(child)
        if held is not None:
            return held.kind
        info = self._registry.active(ffqn)
        return None if info is None else info.kind

    def park(self, held: Held, reason: str, detail: str, draft: Draft) -> None:
        """Parks an execution: visible, not finished, and not run until it is resumed."""
        unit = draft.unit([held], [])
        unit.append(held, Parked(reason, detail))
        unit.close()
        held.unload()

    # requests

    def _on_requested(self, item: Requested, draft: Draft) -> None:
        request = item.request
        held = self._held.get(request.execution_id)
        if held is not None and not self._trusted(held, item):
            return
        if held is None or held.state.status is Status.FINISHED:
            if not self._shared:  # it has ended already, so that nothing is left to do
                discard(request.id, draft)
            return
        self._operations.of_inbox(item, held, draft)

    def _on_operate(self, item: Operate, draft: Draft) -> None:
        held = self._held.get(item.execution_id)
        if held is not None:
            if self._trusted(held, item):
                self._operations.of_client(item, held, draft)
        elif not self._shared:  # everything that has not ended is held
            draft.effects.append(Answer(item.token, AnswerKind.FINISHED))
        elif isinstance(item.body, GiveResult):
            self._looks.setdefault(item.execution_id, []).append(item)
            draft.effects.append(Look(item.execution_id))
        else:
            posted(item, draft)

    def _on_looked(self, item: Looked, draft: Draft) -> None:
        for held in self.encounters.looked(item.execution_id, item.snapshot):
            self._make_runnable(held)
        for operate in self._looks.pop(item.execution_id, []):
            if item.execution_id in self._held:
                self._on_operate(operate, draft)
            else:
                self._give_result(operate, item.snapshot, draft)

    def _give_result(self, item: Operate, snapshot: Snapshot | None, draft: Draft) -> None:
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
        info = self._registry.pinned(snapshot.state.component, snapshot.state.ffqn)
        if info is None or info.kind is not FunctionKind.STUB:
            message = f"{snapshot.state.ffqn} is no stub activity"
            draft.effects.append(Answer(item.token, AnswerKind.REFUSED, message))
            return
        target = unheld_stub(snapshot)
        if self.parent_is_ready(target, item):
            unit = draft.unit([target], [item])
            self.finish(target, outcome, unit)
            unit.effect(Answer(item.token, AnswerKind.DONE))
            unit.close()

    # loading, recovering, news

    def _load(self, held: Held, draft: Draft) -> None:
        held.phase = Phase.LOADING
        draft.effects.append(Load(held.execution_id))

    def _on_loaded(self, item: Loaded, draft: Draft) -> None:
        execution_id, snapshot = item.execution_id, item.snapshot
        touched = self._held.get(execution_id)
        if touched is not None and touched.last_unit >= 0:
            self._again.append(item)  # compared with what is durable, which is not known before this tick is settled
            return
        self._reads[execution_id] -= 1
        if self._reads[execution_id] > 0:
            return  # it was asked for again since; that answer counts
        del self._reads[execution_id]
        held = self._held.get(execution_id)
        if held is None or (held.is_trusted and _is_outdated(snapshot, held.state)):
            return
        if snapshot is None or snapshot.state.owner != self.executor:
            self._let_go(held, draft)
            return
        if not held.is_trusted:
            self._rebuild(held, snapshot, draft)
        elif snapshot.state.lease_epoch != held.state.lease_epoch:  # the lease was lost, and taken again
            self._warmth.cool(held)
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
        if held.execution_id in self._attempts:
            draft.effects.append(KillAttempt(held.execution_id, self._attempts[held.execution_id]))
        held_back, held.held_back = held.held_back, []
        self._forget(held)
        for item in held_back:
            self._apply(item, draft)

    def _forget(self, held: Held) -> None:
        self._warmth.cool(held)
        self._held.pop(held.execution_id, None)
        self._window.drop(held.execution_id)
        self._attempts.pop(held.execution_id, None)

    def _rebuild(self, held: Held, snapshot: Snapshot, draft: Draft) -> None:
        """Believes the store again after a refused unit, and offers the inputs again that waited for it."""
        held.state = snapshot.state
        held.delays = {delay.delay: delay.expires_at for delay in snapshot.delays}
        held.is_trusted = True
        held.late = []
        held.phase = Phase.COLD
        self._take_in(held, snapshot, draft)  # before anything else is told to it
        held.phase = Phase.COLD  # what it is to do is derived below
        held_back, held.held_back = held.held_back, []
        for item in held_back:
            self._apply(item, draft)
        state = held.state
        if self._held.get(held.execution_id) is not held or held.phase is not Phase.COLD:
            return
        runs_on = state.status is Status.LOCKED and self._attempts.get(held.execution_id) == state.run
        if held.kind is FunctionKind.ACTIVITY and runs_on:
            return
        self._adopt(held, draft)

    def _fill(self, held: Held, snapshot: Snapshot) -> None:
        """Uses a snapshot to go on with what the execution was loaded for."""
        created = snapshot.log[0].event
        assert isinstance(created, Created)
        held.params = created.params
        held.timeout_us = created.timeout_us
        if held.state.lifecycle is Lifecycle.CANCELLING:
            ends = [entry.event for entry in snapshot.log if isinstance(entry.event, CancellationRequested)]
            held.ends_as = ends[-1].failure
        if held.kind is FunctionKind.ACTIVITY:
            self._window.loaded(held)
            return
        held.snapshot = snapshot
        self._make_runnable(held)

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
            self.deliver(held, response, None)
        if held.phase is Phase.COLD and held.kind is FunctionKind.WORKFLOW and self._may_run(held):
            held.phase = Phase.LOADING  # the snapshot at hand is used
        unit.close()
        return True

    def _on_claimed(self, recovered: Recovered, draft: Draft) -> None:
        taken: list[Held] = []
        delays: dict[ExecutionId, list[Delay]] = {}
        for delay in recovered.delays:
            delays.setdefault(delay.execution_id, []).append(delay)
        for state in recovered.states:
            if state.execution_id in self._held:
                continue  # claimed again before the first claim was noticed as lost; its units will be refused
            info = self._registry.pinned(state.component, state.ffqn)
            held = Held(state, None if info is None else info.kind)
            self._held[state.execution_id] = held
            taken.append(held)
            for delay in delays.get(state.execution_id, ()):
                held.delays[delay.delay] = delay.expires_at
        for held in taken:  # after all are known, since one may concern another
            self._adopt(held, draft)
        if taken:
            draft.effects.append(CheckNews())  # requests and responses that came while nobody held them

    def _adopt(self, held: Held, draft: Draft) -> None:
        """Derives from the rows of an execution what is to be done about it: the effects after a restart."""
        state = held.state
        for delay, expires_at in held.delays.items():
            self._timers.arm(expires_at, TimerKind.DELAY, held.execution_id, DelayRef(delay))
        if state.lifecycle is Lifecycle.CANCELLING:
            self._adopt_cancelling(held, draft)
            return
        if state.lifecycle is not Lifecycle.ACTIVE or held.kind is FunctionKind.STUB:
            return
        if held.kind is None:
            self.park(held, f"its component {state.component} is not loaded", "", draft)
            return
        held.wants_lock = state.status is not Status.PENDING
        if state.status is Status.LOCKED and state.crashes >= self.limits.crash_max:
            self._apply(CrashedTooOften(held.execution_id), draft)
        elif state.status is Status.BLOCKED:
            if state.response_count > state.responses_known:
                draft.effects.append(Load(held.execution_id))
        else:
            self.take_up(held, draft)

    def _adopt_cancelling(self, held: Held, draft: Draft) -> None:
        state = held.state
        if held.kind is FunctionKind.ACTIVITY:
            if state.run is not None:  # the run was lost, so it does nothing any more
                self._apply(AttemptKilled(held.execution_id, state.run), draft)
            return
        held.kind = FunctionKind.WORKFLOW
        held.phase = Phase.LOADING
        draft.effects.append(Load(held.execution_id))

    def _on_crashed_too_often(self, item: CrashedTooOften, draft: Draft) -> None:
        """The process died during each of the execution's last runs: it is given up."""
        held = self._held.get(item.execution_id)
        if held is None or not self._trusted(held, item) or held.state.status is not Status.LOCKED:
            return
        reason = f"the process died {held.state.crashes} times while this ran"
        if held.kind is FunctionKind.WORKFLOW:
            self.park(held, reason, "", draft)
        elif self.parent_is_ready(held, item):
            unit = draft.unit([held], [item])
            self.finish(held, Failure(FailureKind.UNCATEGORIZED, reason), unit)
            unit.close()

    def _may_run(self, held: Held) -> bool:
        """Whether something is to be done about it now: it runs, closes what it has started, or is advanced."""
        state = held.state
        if state.status not in {Status.PENDING, Status.LOCKED}:
            return False
        match state.lifecycle:
            case Lifecycle.ACTIVE:
                return True
            case Lifecycle.CANCELLING:
                return held.kind is FunctionKind.WORKFLOW
            case Lifecycle.PAUSED:
                return held.advance is not None
            case Lifecycle.PARKED:
                return False

    def take_up(self, held: Held, draft: Draft) -> None:
        """Puts an execution that may run into its queue, or arms the timer for when it may."""
        state = held.state
        if state.status is Status.PENDING and state.pending_at > draft.now:
            self._timers.arm(state.pending_at, TimerKind.PENDING, held.execution_id)
        else:
            self._queue(held)

    def _queue(self, held: Held) -> None:
        if not self._may_run(held):
            return
        if held.kind is FunctionKind.WORKFLOW:
            self._make_runnable(held)
        elif held.kind is FunctionKind.ACTIVITY:
            self._window.wait(held)

    def cool(self, held: Held) -> None:
        """Drops what is in memory of an execution, and its place in the start window."""
        self._warmth.cool(held)
        self._window.drop(held.execution_id)

    def _on_news(self, execution_ids: list[ExecutionId], draft: Draft) -> None:
        for execution_id in execution_ids:
            if execution_id in self._held:
                draft.effects.append(Load(execution_id))

    # --- settling ----------------------------------------------------------------------------------------------------

    def settle(self, tick: Tick, outcomes: list[UnitOutcome]) -> list[Effect]:
        """Learns what became of the units of `tick`. Returns the effects that may leave now, in order."""
        effects = list(tick.effects)
        torn: dict[ExecutionId, Held] = {}
        for unit, notes, outcome in zip(tick.units, tick.notes, outcomes, strict=True):
            for held in notes.touched:
                held.last_unit = -1
            match outcome:
                case Applied(request_ids):
                    effects += notes.effects
                    for due, kind, execution_id, delay in notes.timers:
                        self._timers.arm(due, kind, execution_id, DelayRef(delay))
                    for request, request_id in zip(unit.requests, request_ids, strict=True):
                        numbered = Request(request.execution_id, request.created_at, request.body, request_id)
                        self._pass_on(numbered, effects)
                    effects += [Changed(state) for state in unit.states]
                case Refused(by):
                    torn.update((held.execution_id, held) for held in notes.touched)
                    self._refused(notes.inputs, notes.effects, by, effects, torn)
        for effect in effects:
            if isinstance(effect, StartAttempt):
                self._attempts[effect.execution_id] = effect.run
        for held in torn.values():
            if self._held.get(held.execution_id) is held:
                self._tear_down(held, effects)
        self._reads.update(effect.execution_id for effect in effects if isinstance(effect, Load))
        for notes in tick.notes:
            for held in notes.touched:
                self._drop_if_over(held)
        return effects

    def _pass_on(self, request: Request, effects: list[Effect]) -> None:
        if request.execution_id in self._held or not self._shared:
            self._again.append(Requested(request))
        else:
            effects.append(WakeOthers(request.execution_id))

    def _refused(
        self,
        inputs: list[Input],
        unreleased: list[Effect],
        by: RefusedBy,
        effects: list[Effect],
        torn: dict[ExecutionId, Held],
    ) -> None:
        asked_again = {item.token for item in inputs if isinstance(item, ClientCall)}
        for effect in unreleased:
            if isinstance(effect, RunGuest):
                effect.guest.close()
            elif isinstance(effect, Answer) and effect.token not in asked_again:
                effects.append(Answer(effect.token, AnswerKind.OUTDATED, "its state was read again meanwhile"))
        for item in inputs:
            if isinstance(item, Operate) and by is RefusedBy.MISSING:
                effects.append(Answer(item.token, AnswerKind.NOT_FOUND))
            elif isinstance(item, Submit | Fork) and by is RefusedBy.EXISTS:
                effects.append(Answer(item.token, AnswerKind.EXISTS))
                held = torn.pop(item.execution_id, None)
                if held is not None:
                    self._forget(held)
            else:
                self._again.append(item)

    def _tear_down(self, held: Held, effects: list[Effect]) -> None:
        """Believes nothing of an execution any more, until it has been reloaded."""
        self._warmth.cool(held)
        self._window.drop(held.execution_id)
        advance, held.advance = held.advance, None
        if advance is not None and advance.token is not None:
            effects.append(Answer(advance.token, AnswerKind.OUTDATED, "its state was read again meanwhile"))
        held.is_trusted = False
        held.phase = Phase.LOADING
        effects.append(Load(held.execution_id))

    def _drop_if_over(self, held: Held) -> None:
        """Forgets executions that have ended, and those that were left to others."""
        is_over = held.state.status is Status.FINISHED or held.state.owner != self.executor
        if held.is_trusted and is_over and self._held.get(held.execution_id) is held:
            self._forget(held)


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


def _temporary(result: Outcome, again_at: Instant) -> Event:
    """The event of an attempt that failed and is tried again."""
    match result:
        case Failure(FailureKind.TIMED_OUT):
            return TemporarilyTimedOut(again_at)
        case Failure(_, reason, detail):
            return TemporarilyFailed(again_at, reason, detail)
        case Err(value):
            return TemporarilyFailed(again_at, "activity returned error", bytes(value).decode())
        case _:
            raise AssertionError("only failures are temporary")
