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

from typing import Final

from obelisk.core.batch import Recovered, Refused, RefusedBy, Request, UnitOutcome
from obelisk.core.ids import DelayRef, DeploymentId, ExecutionId, ExecutorId
from obelisk.core.instants import Instant
from obelisk.core.policy import Limits
from obelisk.core.ports import Budget, Entropy, Registry
from obelisk.core.state import ExecutionState, Status
from obelisk.engine.attempts import Attempts
from obelisk.engine.births import Births
from obelisk.engine.books import Books
from obelisk.engine.effects import (
    Answer,
    AnswerKind,
    Changed,
    CheckNews,
    Claim,
    Effect,
    Load,
    Renew,
    RunGuest,
    StartAttempt,
    WakeOthers,
)
from obelisk.engine.encounters import Encounters
from obelisk.engine.ends import Ends
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
from obelisk.engine.operations import Operations
from obelisk.engine.recovery import Recovery
from obelisk.engine.tick import Draft, Tick
from obelisk.engine.timers import TimerKind
from obelisk.engine.workflows import Stepper

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
        self._budget = budget
        self._books = Books(executor, deployment, registry, entropy, self.limits, shared=shared)
        self._ends = Ends(self._books)
        self._attempts = Attempts(self._books, self._ends)
        self._births = Births(self._books, self._attempts)
        self._encounters = Encounters(self._books)
        self._operations = Operations(self._books, self._ends, self._encounters)
        self._recovery = Recovery(self._books, self._ends, self._apply)
        self._stepper = Stepper(self._books, self._births, self._ends, self._encounters, budget)

    # --- what the driver asks ----------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `decide` has something to do without any input."""
        books = self._books
        if books.again or books.runnable or books.warmth.admits:
            return True
        return books.window.waits > 0 and books.window.free > 0

    def next_due(self) -> Instant | None:
        """When `decide` must be called although nothing came in."""
        return self._books.timers.next_due()

    def held(self, execution_id: ExecutionId) -> ExecutionState | None:
        """A copy of what the engine believes about an execution that it holds; for tests and metrics only."""
        held = self._books.held.get(execution_id)
        return None if held is None else held.state.copy()

    def redeploy(self, deployment: DeploymentId) -> None:
        """Between two ticks: the registry is of another deployment from now on. It still knows all components that it knew."""
        self._books.deployment = deployment

    @property
    def open_count(self) -> int:
        """Executions held."""
        return len(self._books.held)

    @property
    def hot_count(self) -> int:
        """Workflows in memory."""
        return self._books.warmth.hot

    def recover(self, recovered: Recovered, now: Instant, suspects: frozenset[ExecutionId] = frozenset()) -> None:
        """Takes in what the engine owns from the start. Call once, before the first tick. `suspects`: they were running when a
        process died, but no crash could be counted, since they were not locked.
        """
        self._books.suspects = suspects
        self._books.again.append(Claimed(recovered))
        if self._books.shared:
            self._books.timers.arm(now, TimerKind.LEASE, _NOBODY)

    def close(self) -> None:
        """Frees every guest that is in memory. The engine is of no use afterwards."""
        for held in self._books.held.values():
            held.unload()
        self._books.held.clear()

    def decide(self, inputs: list[Input], now: Instant) -> Tick:
        """Applies `inputs` in order, then what is due, then steps workflows until the tick's limits."""
        books, draft = self._books, Draft(now, self.limits)
        self._budget.start()
        todo = books.again + inputs
        books.again = []
        for index, item in enumerate(todo):
            if draft.is_full:
                books.again += todo[index:]
                break
            self._apply(item, draft)
        for kind, execution_id, delay in books.timers.take_due(now, self.limits.tick_units_max):
            match kind:
                case TimerKind.DELAY:
                    self._on_delay_due(DelayDue(execution_id, delay), draft)
                case TimerKind.PENDING:
                    self._on_pending_due(PendingDue(execution_id), draft)
                case TimerKind.LEASE:
                    self._keep_leases(draft)
        self._attempts.start_due(draft)
        self._step_workflows(draft)
        batch_id = books.entropy.batch_id() if draft.units else ""
        return Tick(batch_id, now, draft.units, draft.notes, draft.effects, draft.starts)

    def _apply(self, item: Input, draft: Draft) -> None:
        match item:
            case AttemptFinished():
                self._attempts.on_finished(item, draft)
            case AttemptSliced(execution_id, run):
                self._books.window.first_slice_done(execution_id, run)
            case AttemptStopped():
                self._attempts.on_stopped(item, draft)
            case AttemptKilled():
                self._attempts.on_killed(item, draft)
            case Submit():
                self._births.on_submit(item, draft)
            case Operate():
                self._operations.on_operate(item, draft)
            case Fork():
                self._births.on_fork(item, draft)
            case Looked():
                self._operations.on_looked(item, draft)
            case DelayDue():
                self._on_delay_due(item, draft)
            case PendingDue():
                self._on_pending_due(item, draft)
            case CrashedTooOften():
                self._attempts.on_crashed_too_often(item, draft)
            case Stepped():
                self._on_stepped(item)
            case Loaded():
                self._recovery.on_loaded(item, draft)
            case Requested():
                self._operations.on_requested(item, draft)
            case Claimed(recovered):
                self._recovery.on_claimed(recovered, draft)
            case News(execution_ids):
                self._recovery.on_news(execution_ids, draft)

    def _on_delay_due(self, item: DelayDue, draft: Draft) -> None:
        held = self._books.held.get(item.execution_id)
        if held is None or not self._books.trusted(held, item) or held.delays.get(item.delay) is None:
            return
        unit = draft.unit([held], [item])
        self._ends.deliver(held, unit.resolve(held, item.delay, ok=True), unit)
        unit.close()

    def _on_pending_due(self, item: PendingDue, draft: Draft) -> None:
        held = self._books.held.get(item.execution_id)
        if held is None or not self._books.trusted(held, item) or held.phase is not Phase.COLD:
            return
        state = held.state
        if state.status is Status.PENDING and state.pending_at <= draft.now:  # not a timer of some earlier wait
            self._books.queue(held)

    def _keep_leases(self, draft: Draft) -> None:
        lease_us = self.limits.lease_us
        draft.effects.append(Renew(Instant(draft.now + lease_us)))
        draft.effects.append(CheckNews())
        free = self._books.window.free - self._books.window.waits
        if free > 0:
            draft.effects.append(Claim(free))
        self._books.timers.arm(Instant(draft.now + lease_us // 3), TimerKind.LEASE, _NOBODY)

    def _step_workflows(self, draft: Draft) -> None:
        """Steps workflows in turn. Those that want more get it after all the others, at the latest in the next tick."""
        books, runnable = self._books, self._books.runnable
        again: list[Held] = []
        runnable.extend(books.warmth.admitted())
        while runnable and not draft.is_full:
            held = runnable.popleft()
            if books.held.get(held.execution_id) is not held or held.phase is not Phase.READY or not held.is_trusted:
                continue  # ended, torn down or parked while it waited
            if held.machine is None and not self._warm(held, draft):
                continue
            if self._stepper.run(held, draft):
                again.append(held)
            books.warmth.after_run(held)
            if self._budget.spent():
                break
        runnable.extend(again)

    def _warm(self, held: Held, draft: Draft) -> bool:
        """Gives an execution its machine, if there is room; one that has a log is loaded first."""
        if held.snapshot is None and (held.params is None or held.state.next_version > 1):
            self._books.load(held, draft)
            return False
        return self._books.warmth.warm(held)

    def _on_stepped(self, item: Stepped) -> None:
        held = self._books.held.get(item.execution_id)
        if held is None or held.generation != item.generation or held.phase is not Phase.AWAY:
            item.guest.close()
            return
        held.step = item.step
        self._books.make_runnable(held)

    def settle(self, tick: Tick, outcomes: list[UnitOutcome]) -> list[Effect]:
        """Learns what became of the units of `tick`. Returns the effects that may leave now, in order."""
        books, effects = self._books, list(tick.effects)
        changed: list[Effect] = []
        torn: dict[ExecutionId, Held] = {}
        for unit, notes, outcome in zip(tick.units, tick.notes, outcomes, strict=True):
            if isinstance(outcome, Refused):
                torn.update((held.execution_id, held) for held in notes.touched)
                self._refused(notes.inputs, notes.effects, outcome, effects, torn)
                continue
            effects += notes.effects
            for due, kind, execution_id, delay in notes.timers:
                books.timers.arm(due, kind, execution_id, DelayRef(delay))
            if unit.requests:
                self._pass_on(unit.requests, outcome.request_ids, effects)
            changed.append(Changed(unit))
        for held in torn.values():
            if books.held.get(held.execution_id) is held:
                self._recovery.tear_down(held, effects)
        for effect in effects:
            if isinstance(effect, StartAttempt):
                books.attempts[effect.execution_id] = effect.run
            elif isinstance(effect, Load):
                books.reads[effect.execution_id] += 1
        for notes in tick.notes:
            for held in notes.touched:
                held.last_unit = -1
                if held.state.owner != self.executor:  # who has ended has no owner either
                    self._drop(held)
        return effects + changed

    def _pass_on(self, requests: list[Request], request_ids: tuple[int, ...], effects: list[Effect]) -> None:
        """Takes in the requests that are for this engine, numbered as the store has them."""
        for request, request_id in zip(requests, request_ids, strict=True):
            if request.execution_id in self._books.held or not self._books.shared:
                numbered = Request(request.execution_id, request.created_at, request.body, request_id)
                self._books.again.append(Requested(numbered))
            else:
                effects.append(WakeOthers(request.execution_id))

    def _refused(
        self,
        inputs: list[Input],
        unreleased: list[Effect],
        why: Refused,
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
            if isinstance(item, Operate) and why.by is RefusedBy.MISSING:
                effects.append(Answer(item.token, AnswerKind.NOT_FOUND))
            elif (
                isinstance(item, Submit | Fork)
                and why.by is RefusedBy.EXISTS
                and why.execution_id == item.execution_id  # and not what it scheduled in the same unit
            ):
                effects.append(Answer(item.token, AnswerKind.EXISTS))
                held = torn.pop(item.execution_id, None)
                if held is not None:
                    self._books.forget(held)
            else:
                self._books.again.append(item)

    def _drop(self, held: Held) -> None:
        """Forgets an execution that has ended, or was left to others."""
        if held.is_trusted and self._books.held.get(held.execution_id) is held:
            self._books.forget(held)
