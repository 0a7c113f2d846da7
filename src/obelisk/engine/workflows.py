"""Stepping workflows: drives one guest against its machine and turns what it wants into units.

Decides when a run begins with a fresh `locked`, when a guest is left alone until the next tick, what a block, an end, a
trap or a divergence means for the log, and when a workflow that is advanced stands still again. One that is being
cancelled has no guest: its machine closes what is open. It does not decide which workflow runs next (`engine`), what a
call means (`core.machine`), nor what becomes of other executions (`births`, `ends`, `encounters`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.core import ids
from obelisk.core.batch import CancelRequest, Delay, Request
from obelisk.core.calls import LogLine
from obelisk.core.decisions import Answered, Blocked, Cancel, Decision, Diverged, Ended, Unsettled, Write, Writes
from obelisk.core.events import ChildRequested, DelayRequested, Locked, Parked, Scheduled
from obelisk.core.ids import ChildId, DelayRef
from obelisk.core.instants import Instant
from obelisk.core.lines import cut, size_of
from obelisk.core.machine import Machine
from obelisk.core.policy import Blocking, ExecutionPolicy, OnTrap
from obelisk.core.ports import (
    Budget,
    Called,
    FunctionKind,
    Guest,
    Returned,
    Step,
    Trapped,
    Yielded,
)
from obelisk.core.state import Lifecycle, Status
from obelisk.core.values import CANCELLED, Failure, FailureKind, Outcome
from obelisk.engine.births import Births
from obelisk.engine.books import Books
from obelisk.engine.effects import Answer, AnswerKind, EmitLog, RunGuest
from obelisk.engine.encounters import ElsewhereResult, Encounter, Encounters, Existence, Undecidable, Wait
from obelisk.engine.ends import Ends
from obelisk.engine.held import Advance, Held, Phase
from obelisk.engine.lines import Lines
from obelisk.engine.tick import Draft, OpenUnit

_CALLS_PER_BUDGET_CHECK: Final = 16
_CREATES: Final = (ChildRequested, Scheduled)
"""Events with which an execution comes to be."""


class _Parks(msgspec.Struct, frozen=True):
    """The workflow trapped, and is to wait until that is mended."""

    failure: Failure


class Stepper:
    """Runs workflows, one call of `run` at a time."""

    def __init__(self, books: Books, births: Births, ends: Ends, encounters: Encounters, budget: Budget) -> None:
        self.books = books
        self.births = births
        self.ends = ends
        self.encounters = encounters
        self.budget = budget

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
        info = stepper.books.registry.pinned(held.state.component, held.state.ffqn)
        assert info is not None or self._is_cancelling, "only executions whose component is loaded are ready"
        self._policy: ExecutionPolicy = ExecutionPolicy() if info is None else info.policy
        assert held.machine is not None
        self._machine: Machine = held.machine
        assert held.lines is not None
        self._lines: Lines = held.lines
        self._look_at_lock()
        self._calls = 0
        self._counted = 0
        """New events of this turn that were counted as steps of an advance."""

    @property
    def _is_cancelling(self) -> bool:
        return self._held.state.lifecycle is Lifecycle.CANCELLING

    def _look_at_lock(self) -> None:
        """Whether what comes next begins with a fresh `locked`."""
        state = self._held.state
        is_run = state.lifecycle is Lifecycle.ACTIVE  # otherwise it is advanced, or closed, without a lock
        self._needs_lock = is_run and (state.status is Status.PENDING or self._held.wants_lock)
        self._lock_expires_at = (
            Instant(self._now + self._policy.lock_expiry_us) if self._needs_lock else state.lock_expires_at
        )
        interrupts = self._policy.blocking is Blocking.INTERRUPT
        self._machine.run_expires_at = self._now if interrupts else self._lock_expires_at

    def go(self) -> bool:
        held, machine = self._held, self._machine
        if self._needs_lock and held.execution_id in self._s.books.suspects:
            return self._flush()  # it runs in a later tick: if the process dies again, that counts
        decision = self._begin()
        while True:
            has_advanced = held.advance is not None and self._has_advanced(held.advance)
            match decision:
                case Answered(reply):
                    if has_advanced:
                        return self._flush() and self._stand_still()
                    if self._has_had_its_share():
                        held.reply = reply
                        return self._flush()
                    decision = self._take_step(self._guest().send(reply))
                case Blocked():
                    if not self._flush():
                        return False
                    if held.state.status is not Status.BLOCKED and not has_advanced:
                        # A delay that was due, or cancelled, came in at once.
                        self._look_at_lock()
                        decision = machine.poll(self._now)
                        if not isinstance(decision, Blocked) or machine.writes.items:
                            continue
                        # Woken by the end of a member that another engine had taken over and ended before: the unit that
                        # says so will be refused, and this execution be torn down.
                    if held.advance is not None:
                        return self._stand_still()
                    held.phase = Phase.BLOCKED
                    if self._policy.blocking is Blocking.INTERRUPT and not self._is_cancelling:
                        held.unload()
                    return False
                case Unsettled(call):
                    if not self._flush():
                        return False
                    encounter = self._s.encounters.resolve(held, call, self._draft)
                    there = self._s.books.find(call.execution_id)
                    rests_on = -1 if there is None else there.last_unit
                    settled = self._settle(encounter)
                    if isinstance(settled, bool):
                        return settled
                    if rests_on >= 0:
                        if not self._flush(rests_on=rests_on):
                            return False
                        self._counted = -1  # what was written is not in the machine any more, and counts
                    decision = settled
                case Ended(outcome):
                    if not self._s.books.can_finish(held):
                        return True  # asked again in the next turn: polling an ended machine says the same
                    if self._flush(outcome):
                        self._answer_advance()
                        held.unload()
                    return False
                case Diverged(divergence):
                    reason = f"nondeterminism detected at version {divergence.version}"
                    self._park(Parked(reason, divergence.detail, FailureKind.NONDETERMINISM_DETECTED))
                    return False
                case _Parks(failure):
                    if self._flush(heard=True):
                        kind = None if failure.kind is FailureKind.UNCATEGORIZED else failure.kind
                        self._park(Parked(failure.reason, failure.detail, kind))
                    return False
                case None:  # it yielded
                    effect = RunGuest(held.execution_id, held.generation, self._guest(), self._policy.cpu_budget_us)
                    if self._flush(away=effect, heard=True):
                        held.phase = Phase.AWAY
                    return False
                case _:
                    raise AssertionError(f"a live machine does not decide {decision}")

    def _begin(self) -> Decision | _Parks | None:
        """Takes up where the last turn left off."""
        held = self._held
        if self._is_cancelling and not held.has_begun:
            held.has_begun = True
            return self._machine.abandon(held.ends_as or CANCELLED, self._now)
        if held.asks is not None:
            asks, held.asks = held.asks, None
            return Unsettled(asks)
        if held.step is not None:
            step, held.step = held.step, None
            return self._take_step(step)
        if held.reply is not None:
            reply, held.reply = held.reply, None
            return Answered(reply)
        if not held.has_begun:
            assert held.params is not None
            held.guest = self._s.books.registry.guest(held.state.component, held.state.ffqn, held.execution_id)
            held.generation += 1
            held.has_begun = True
            return self._take_step(held.guest.start(held.params))
        return self._machine.poll(self._now)

    def _guest(self) -> Guest:
        assert self._held.guest is not None
        return self._held.guest

    # --- being advanced ----------------------------------------------------------------------------------------------

    def _has_advanced(self, advance: Advance) -> bool:
        """Counts what the last host call wrote as a step of an advance; whether that was its last step."""
        written = self._machine.news
        if written > self._counted:
            advance.steps -= 1
        self._counted = written
        return advance.steps <= 0

    def _stand_still(self) -> bool:
        """The advance is over: nothing more is done until somebody wants it."""
        self._answer_advance()
        self._held.unload()
        return False

    def _answer_advance(self) -> None:
        token = self._held.end_advance()
        if token is not None:
            self._draft.effects_on(self._held).append(Answer(token, AnswerKind.DONE))

    # --- the guest ---------------------------------------------------------------------------------------------------

    def _take_step(self, step: Step) -> Decision | _Parks | None:
        """What a step of the guest means; None when it went away."""
        match step:
            case Called(call):
                self._calls += 1
                if isinstance(call, LogLine):  # what is much too long is not kept until it leaves
                    call = cut(call, self._s.books.limits.log_run_bytes_max)
                    if self._lines.hears:
                        self._hear(call)
                return self._machine.step(call, self._now)
            case Returned(outcome):
                self._drop_guest()
                return self._machine.end(outcome, self._now)
            case Trapped(failure):
                self._drop_guest()
                if self._policy.on_trap is OnTrap.PARK and not self._machine.replaying:
                    return _Parks(failure)
                return self._machine.end(failure, self._now)
            case Yielded():
                return None

    def _hear(self, line: LogLine) -> None:
        """Perhaps it says it again."""
        if self._machine.replaying:
            self._lines.heard(line, self._policy.logs)
        else:
            self._lines.hears = False

    def _drop_guest(self) -> None:
        """The guest is over; its machine may still have join sets to close."""
        self._guest().close()
        self._held.guest = None

    def _settle(self, encounter: Encounter) -> Decision | bool:
        """Goes on with what was found out about another execution; a bool when it was not: whether to ask again soon."""
        held, machine = self._held, self._machine
        match encounter:
            case Wait(again):
                self._counted = 0
                return again
            case ElsewhereResult():
                decision = machine.settle_stub(encounter.result, encounter.message, self._now)
                if encounter.target is not None:
                    assert encounter.outcome is not None
                    writes = machine.take_writes()
                    unit = self._draft.unit([held, encounter.target], [])
                    self._fill(unit, writes, None)
                    self._s.ends.give_result(encounter.target, encounter.outcome, unit)
                    unit.close()
                    self._counted = -1  # what was written is not in the machine any more, and counts
                return decision
            case Undecidable(reason):
                self._park(Parked(reason))
                return False
            case Existence():
                return machine.settle_schedule(encounter.conflict, self._now, exists=encounter.exists)

    def _park(self, why: Parked) -> None:
        self._s.ends.park(self._held, why, self._draft)
        self._answer_advance()

    def _has_had_its_share(self) -> bool:
        if len(self._machine.writes.items) >= self._s.books.limits.tick_events_per_execution_max:
            return True
        return self._calls > 0 and self._calls % _CALLS_PER_BUDGET_CHECK == 0 and self._s.budget.spent()

    def _undeployed(self) -> str | None:
        """The function of a new child that no active component exports; None when all is well."""
        for item in self._machine.writes.items:
            if isinstance(item, Write) and isinstance(item.event, _CREATES):
                ffqn = item.event.ffqn
                if self._s.books.registry.active(ffqn) is None:
                    return ffqn
        return None

    def _flush(
        self,
        outcome: Outcome | None = None,
        away: RunGuest | None = None,
        rests_on: int = -1,
        *,
        heard: bool = False,
    ) -> bool:
        """Turns the machine's writes into a unit. False: a new child cannot be created, so the execution was parked.

        `outcome`: how the execution ends with this unit. `away`: where its guest goes once the unit is durable.
        `rests_on`: a unit of this tick on whose rows they were decided. `heard`: what it has logged leaves now; otherwise
        what no event follows yet may wait for one.
        """
        held, machine, draft = self._held, self._machine, self._draft
        missing = self._undeployed()
        if missing is not None:
            self._park(Parked(f"no active component exports {missing}, which it calls"))
            return False
        self._counted = 0
        said = len(machine.writes.items) - machine.news
        leaves = said > 0 and (heard or said >= self._s.books.limits.tick_events_per_execution_max)
        if self._needs_lock or outcome is not None or machine.news or machine.writes.cancels or leaves:
            is_alone = rests_on < 0 and (outcome is None or held.state.join_set is None)
            unit = draft.on_top(held) if is_alone else draft.unit([held], [])
            if rests_on >= 0:
                unit.rest_on(rests_on)
            lines = self._fill(unit, machine.take_writes(), outcome)
            if leaves:
                self._release(lines, unit)
            machine.writes.items += lines  # they leave with the event that follows them
            if away is not None:
                unit.effect(away)
            unit.close()
        elif away is not None:
            draft.effects_on(held).append(away)
        return True

    def _fill(self, unit: OpenUnit, writes: Writes, outcome: Outcome | None) -> list[LogLine]:
        """Returns the log lines that no event follows yet."""
        held = self._held
        if self._needs_lock:
            unit.append(
                held, Locked(self._s.books.executor, self._s.books.entropy.run_id(self._now), self._lock_expires_at)
            )
            self._needs_lock = False
            held.wants_lock = False
        lines: list[LogLine] = []
        due: list[DelayRef] = []
        for item in writes.items:
            if isinstance(item, Write):
                if lines:
                    self._release(lines, unit)
                self._append(item, unit, due)
            else:
                lines.append(item)
        for delay in due:
            self._machine.deliver(unit.resolve(held, delay, ok=True))
        for cancel in writes.cancels:
            self._cancel(cancel, unit)
        if outcome is not None:
            self._release(lines, unit)
            self._emit(self._lines.end(held.state, self._policy.logs, self._now, unit.unit), unit)
            self._s.ends.finish(held, outcome, unit)
        return lines

    def _append(self, write: Write, unit: OpenUnit, due: list[DelayRef]) -> None:
        held, event = self._held, write.event
        self._lines.event_at(unit.append(held, event, answered=write.answered))
        match event:
            case ChildRequested():
                self._s.births.create_child(held, event, unit)
            case Scheduled() if not write.exists:
                self._s.births.create_scheduled(held, event, unit)
            case DelayRequested(delay, _, expires_at):
                if expires_at > self._now:
                    unit.add_delay(held, Delay(held.execution_id, delay, expires_at))
                else:
                    due.append(delay)

    def _release(self, lines: list[LogLine], unit: OpenUnit) -> None:
        for line in lines:
            self._emit(self._lines.say(line, self._held.state, self._policy.logs, self._now, unit.unit), unit)
        lines.clear()

    def _emit(self, said: list[EmitLog], unit: OpenUnit) -> None:
        for each in said:
            unit.effect(each)
            unit.draft.bytes += size_of(each.line)
        unit.draft.rows += len(said)

    def _cancel(self, cancel: Cancel, unit: OpenUnit) -> None:
        """Cancels a member of a closing join set, if it is a delay, an activity or a stub; workflows are awaited, but for
        those of an execution that is cancelled itself.
        """
        held = self._held
        if cancel.ffqn is None:
            delay = DelayRef(cancel.member)
            if delay in held.delays:
                self._machine.deliver(unit.resolve(held, delay, ok=False))
            return
        child = ids.absolute(held.execution_id, ChildId(cancel.member))
        kind = self._s.books.kind_of_child(child, cancel.ffqn)
        if self._is_cancelling or kind in {FunctionKind.ACTIVITY, FunctionKind.STUB}:
            unit.request(Request(child, self._now, CancelRequest()))
