"""Stepping workflows: drives one guest against its machine and turns what it wants into units.

Decides when a run begins with a fresh `locked`, when a guest is left alone until the next tick, and what a block, an end
or a divergence means for the log. It does not decide which workflow runs next (`engine`), nor what a call means
(`core.machine`).
"""

from __future__ import annotations

from typing import Final, Protocol

from obelisk.core import ids
from obelisk.core.batch import CancelRequest, Delay, Request
from obelisk.core.calls import Log
from obelisk.core.events import ChildRequested, DelayRequested, Locked
from obelisk.core.ids import ChildId, DelayRef, ExecutorId
from obelisk.core.instants import Instant
from obelisk.core.machine import Answered, Blocked, Cancel, Decision, Diverged, Ended, Machine, Write, Writes
from obelisk.core.names import FunctionName
from obelisk.core.policy import Blocking, ExecutionPolicy, Limits
from obelisk.core.ports import (
    Budget,
    Called,
    Entropy,
    FunctionKind,
    Guest,
    Registry,
    Returned,
    Step,
    Trapped,
    Yielded,
)
from obelisk.core.responses import DelayFinished, Response
from obelisk.core.transitions import Status
from obelisk.core.values import Outcome
from obelisk.engine.effects import Effect, EmitLog, RunGuest
from obelisk.engine.held import Held, Phase
from obelisk.engine.tick import Draft, OpenUnit

_CALLS_PER_BUDGET_CHECK: Final = 16


class Family(Protocol):
    """What stepping needs of the rest of the engine: whatever concerns other executions."""

    def create_child(self, parent: Held, request: ChildRequested, unit: OpenUnit) -> None:
        """Creates the child that `parent` requested, in the same unit."""
        ...

    def finish(self, held: Held, outcome: Outcome, unit: OpenUnit) -> None:
        """Appends `finished` and tells the parent, in the same unit."""
        ...

    def can_finish(self, held: Held) -> bool:
        """Whether the parent's memory may be used now."""
        ...

    def kind_of_child(self, child: ids.ExecutionId, ffqn: FunctionName) -> FunctionKind | None:
        """What the child is, as far as it is known."""
        ...

    def park(self, held: Held, reason: str, detail: str, draft: Draft) -> None:
        """Parks the execution."""
        ...


class Stepper:
    """Runs workflows, one call of `run` at a time."""

    def __init__(
        self,
        executor: ExecutorId,
        registry: Registry,
        entropy: Entropy,
        budget: Budget,
        limits: Limits,
        family: Family,
    ) -> None:
        self.executor = executor
        self.registry = registry
        self.entropy = entropy
        self.budget = budget
        self.limits = limits
        self.family = family

    def run(self, held: Held, draft: Draft) -> bool:
        """Runs `held`, which is ready, until it blocks, ends, yields or has had its share; whether it wants more."""
        return _Run(self, held, draft).go()


class _Run:
    """One turn of one workflow."""

    def __init__(self, stepper: Stepper, held: Held, draft: Draft) -> None:
        self._s = stepper
        self._held = held
        self._draft = draft
        self._now = draft.now
        info = stepper.registry.pinned(held.state.component, held.state.ffqn)
        assert info is not None, "only executions whose component is loaded are ready"
        self._policy: ExecutionPolicy = info.policy
        assert held.machine is not None
        self._machine: Machine = held.machine
        self._needs_lock = False
        self._lock_expires_at = Instant(0)
        self._look_at_lock()
        self._calls = 0

    def _look_at_lock(self) -> None:
        """Whether what comes next begins with a fresh `locked`."""
        state = self._held.state
        self._needs_lock = state.status is Status.PENDING or self._held.wants_lock
        self._lock_expires_at = (
            Instant(self._now + self._policy.lock_expiry_us) if self._needs_lock else state.lock_expires_at
        )
        interrupts = self._policy.blocking is Blocking.INTERRUPT
        self._machine.run_expires_at = self._now if interrupts else self._lock_expires_at

    def go(self) -> bool:
        held, machine = self._held, self._machine
        decision = self._begin()
        while True:
            match decision:
                case Answered(reply):
                    if self._has_had_its_share():
                        held.reply = reply
                        return self._flush()
                    decision = self._advance(self._guest().send(reply))
                case Blocked():
                    if not self._flush():
                        return False
                    if held.state.status is not Status.BLOCKED:  # a delay that was due, or cancelled, came in at once
                        self._look_at_lock()
                        decision = machine.poll(self._now)
                        if not isinstance(decision, Blocked) or machine.writes.items:
                            continue
                        # Woken by the end of a member that another engine had taken over and ended before: the unit that
                        # says so will be refused, and this execution be torn down.
                    held.phase = Phase.BLOCKED
                    if self._policy.blocking is Blocking.INTERRUPT:
                        held.unload()
                    return False
                case Ended(outcome):
                    if not self._s.family.can_finish(held):
                        return True  # asked again in the next turn: polling an ended machine says the same
                    if self._flush(outcome):
                        held.unload()
                    return False
                case Diverged(divergence):
                    reason = f"nondeterminism detected at version {divergence.version}"
                    self._s.family.park(held, reason, divergence.detail, self._draft)
                    return False
                case None:  # it yielded
                    effect = RunGuest(held.execution_id, held.generation, self._guest(), self._policy.cpu_budget_us)
                    if self._flush(away=effect):
                        held.phase = Phase.AWAY
                    return False
                case _:
                    raise AssertionError(f"a live machine does not decide {decision}")

    def _begin(self) -> Decision | None:
        """Takes up where the last turn left off."""
        held = self._held
        if held.step is not None:
            step, held.step = held.step, None
            return self._advance(step)
        if held.reply is not None:
            reply, held.reply = held.reply, None
            return Answered(reply)
        if not held.has_begun:
            assert held.params is not None
            held.guest = self._s.registry.guest(held.state.component, held.state.ffqn, held.execution_id)
            held.generation += 1
            held.has_begun = True
            return self._advance(held.guest.start(held.params))
        return self._machine.poll(self._now)

    def _guest(self) -> Guest:
        assert self._held.guest is not None
        return self._held.guest

    def _advance(self, step: Step) -> Decision | None:
        """What a step of the guest means; None when it went away."""
        match step:
            case Called(call):
                self._calls += 1
                return self._machine.step(call, self._now)
            case Returned(outcome):
                self._drop_guest()
                return self._machine.end(outcome, self._now)
            case Trapped(failure):
                self._drop_guest()
                return self._machine.end(failure, self._now)
            case Yielded():
                return None

    def _drop_guest(self) -> None:
        """The guest is over; its machine may still have join sets to close."""
        self._guest().close()
        self._held.guest = None

    def _has_had_its_share(self) -> bool:
        if len(self._machine.writes.items) >= self._s.limits.tick_events_per_execution_max:
            return True
        return self._calls > 0 and self._calls % _CALLS_PER_BUDGET_CHECK == 0 and self._s.budget.spent()

    def _undeployed(self) -> str | None:
        """The function of a new child that no active component exports; None when all is well."""
        for item in self._machine.writes.items:
            if isinstance(item, Write) and isinstance(item.event, ChildRequested):
                ffqn = item.event.ffqn
                if self._s.registry.active(ffqn) is None:
                    return ffqn
        return None

    def _flush(self, outcome: Outcome | None = None, away: RunGuest | None = None) -> bool:
        """Turns the machine's writes into a unit. False: a new child cannot be created, so the execution was parked.

        `outcome`: how the execution ends with this unit. `away`: where its guest goes once the unit is durable.
        """
        held, machine, draft = self._held, self._machine, self._draft
        missing = self._undeployed()
        if missing is not None:
            self._s.family.park(held, f"no active component exports {missing}, which it calls", "", draft)
            return False
        writes = machine.take_writes()
        lines: list[Log] = []
        if self._needs_lock or outcome is not None or any(isinstance(item, Write) for item in writes.items):
            unit = draft.unit([held], [])
            self._fill(unit, writes, lines, outcome)
            if away is not None:
                unit.effect(away)
            unit.close()
        else:
            lines = [item for item in writes.items if isinstance(item, Log)]
            if away is not None:
                self._decided_on().append(away)
        if len(lines) < self._s.limits.tick_events_per_execution_max:
            machine.writes.items[:0] = lines  # they leave with the event that follows them
        else:  # a flood without events
            self._decided_on().extend(self._emit(line) for line in lines)
        return True

    def _decided_on(self) -> list[Effect]:
        """Where an effect goes that comes with no event: to the unit that it was decided on top of, if there is one."""
        held, draft = self._held, self._draft
        return draft.notes[held.last_unit].effects if held.last_unit >= 0 else draft.effects

    def _fill(self, unit: OpenUnit, writes: Writes, lines: list[Log], outcome: Outcome | None) -> None:
        """`lines` is left with the log lines that no event follows yet."""
        held = self._held
        if self._needs_lock:
            unit.append(held, Locked(self._s.executor, self._s.entropy.run_id(self._now), self._lock_expires_at))
            self._needs_lock = False
            held.wants_lock = False
        due: list[DelayRef] = []
        for item in writes.items:
            if isinstance(item, Log):
                lines.append(item)
                continue
            self._release(lines, unit)
            self._append(item, unit, due)
        for delay in due:
            self._resolve(delay, unit, ok=True)
        for cancel in writes.cancels:
            self._cancel(cancel, unit)
        if outcome is not None:
            self._release(lines, unit)
            self._s.family.finish(held, outcome, unit)

    def _append(self, write: Write, unit: OpenUnit, due: list[DelayRef]) -> None:
        held, event = self._held, write.event
        unit.append(held, event, answered=write.answered)
        match event:
            case ChildRequested():
                self._s.family.create_child(held, event, unit)
            case DelayRequested(delay, _, expires_at):
                if expires_at > self._now:
                    unit.add_delay(held, Delay(held.execution_id, delay, expires_at))
                else:
                    due.append(delay)

    def _release(self, lines: list[Log], unit: OpenUnit) -> None:
        for line in lines:
            unit.effect(self._emit(line))
        lines.clear()

    def _emit(self, line: Log) -> EmitLog:
        held = self._held
        version = held.state.next_version
        ordinal = held.logged[1] + 1 if held.logged[0] == version else 0
        held.logged = (version, ordinal)
        return EmitLog(held.execution_id, version, ordinal, self._now, line.level, line.message)

    def _cancel(self, cancel: Cancel, unit: OpenUnit) -> None:
        """Cancels a member of a closing join set, if it is a delay or an activity."""
        held = self._held
        if cancel.ffqn is None:
            delay = DelayRef(cancel.member)
            if held.delays.pop(delay, None) is not None:
                unit.unit.delays_done.append((held.execution_id, delay))
                self._resolve(delay, unit, ok=False)
            return
        child = ids.absolute(held.execution_id, ChildId(cancel.member))
        if self._s.family.kind_of_child(child, cancel.ffqn) is FunctionKind.ACTIVITY:
            unit.request(Request(child, self._now, CancelRequest()))

    def _resolve(self, delay: DelayRef, unit: OpenUnit, *, ok: bool) -> None:
        response = Response(0, self._now, ids.join_set_of(delay), DelayFinished(delay, ok))
        self._machine.deliver(unit.respond(self._held, response))
