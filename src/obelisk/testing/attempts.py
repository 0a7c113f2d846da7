"""Attempts at activities in a simulated process: how long they take, how they end, and what goes wrong with them.

Decides when the engine hears what of an attempt. What an attempt comes to, the subject says; whether something goes wrong,
the faults do. An injected failure is one that the activity's retries can make good.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, assert_never

from obelisk.core.events import Locked
from obelisk.core.ids import ExecutionId, RunId
from obelisk.core.values import Failure, FailureKind
from obelisk.engine.effects import KillAttempt, StartAttempt
from obelisk.engine.inputs import AttemptFinished, AttemptKilled, AttemptSliced, AttemptStopped
from obelisk.testing import invariants
from obelisk.testing.faults import AttemptFault
from obelisk.testing.invariants import Violation

if TYPE_CHECKING:
    from obelisk.testing.node import Node

_FIRST_SLICE_US: Final = 500
_LATE_US: Final = 1_000_000
_KILL_US_MAX: Final = 5_000
_STOPS: Final = "the server stops"


class Attempts:
    """All attempts of one process, in one of its lives."""

    def __init__(self, node: Node) -> None:
        self._node: Final = node
        self._world: Final = node.world
        self.running: Final[dict[ExecutionId, RunId]] = {}
        """What runs now."""
        self.dying = Counter[ExecutionId]()
        """Kills that are under way."""
        self._ends: Final[dict[RunId, tuple[AttemptFinished, ...]]] = {}
        """What will be heard of those that run."""

    def start(self, effect: StartAttempt, *, stopping: bool) -> None:
        """Starts an attempt; when the process is stopping, it is given up at once."""
        world, execution_id, run = self._world, effect.execution_id, effect.run
        snapshot = invariants.snapshot_of(world.store, execution_id)
        if not any(isinstance(entry.event, Locked) and entry.event.run == run for entry in snapshot.log):
            raise Violation(f"{run} of {execution_id} starts, but is not in the log")
        if execution_id in self.running and not self.dying[execution_id]:
            raise Violation(f"{execution_id} starts as {run} although {self.running[execution_id]} runs")
        world.tell(f"node {self._node.index}: starts {execution_id} {run}")
        world.starts[execution_id] += 1
        self.running[execution_id] = run
        if stopping:
            del self.running[execution_id]
            self._node.offer(AttemptStopped(execution_id, run, _STOPS))
            return
        self._go(effect, snapshot.state.failures)

    def _go(self, effect: StartAttempt, failures: int) -> None:
        world, execution_id, run = self._world, effect.execution_id, effect.run
        end = world.subject.attempt(effect, failures)
        finished = AttemptFinished(execution_id, run, end.result, end.final)
        timed_out = AttemptFinished(execution_id, run, Failure(FailureKind.TIMED_OUT))
        fault = world.faults.at_attempt()
        fails = {AttemptFault.FAILS, AttemptFault.TIMES_OUT, AttemptFault.TIMES_OUT_AND_ENDS}
        if fault in fails and not self._may_fail(effect, failures):
            fault = AttemptFault.NONE
        if fault is not AttemptFault.NONE:
            world.faults.book(fault)
        us = world.random.choice([1, 500, 3_000, 40_000]) * world.setting.slow
        if us > _FIRST_SLICE_US:
            self._node.later(_FIRST_SLICE_US, lambda: self._slice(execution_id, run))
        match fault:
            case AttemptFault.FAILS:
                reason = Failure(FailureKind.UNCATEGORIZED, "activity trap: injected")
                self._end_later(us, AttemptFinished(execution_id, run, reason))
            case AttemptFault.TIMES_OUT:
                self._end_later(effect.deadline_us, timed_out)
            case AttemptFault.TIMES_OUT_AND_ENDS:
                self._end_later(us, timed_out, finished)
            case AttemptFault.TWICE:
                late = world.random.randint(0, 60_000)  # the next attempt may run by then

                def end_twice() -> None:
                    self._end(execution_id, run)
                    self._node.later(late, lambda: self._node.offer(finished))

                self._ends[run] = (finished,)
                self._node.later(us, end_twice)
            case AttemptFault.LATE:
                self._end_later(_LATE_US, finished)
            case AttemptFault.NONE:
                self._end_later(us, finished)
            case _:
                assert_never(fault)

    def _may_fail(self, effect: StartAttempt, failures: int) -> bool:
        """Whether the retries still make good one failure more, and those that the activity has by itself."""
        info = self._node.registry.pinned(effect.component, effect.ffqn)
        assert info is not None
        own = self._world.setting.own_failures.get(effect.execution_id, 0)
        return failures + own < info.policy.retry.max_retries

    def _slice(self, execution_id: ExecutionId, run: RunId) -> None:
        if self.running.get(execution_id) == run:
            self._node.offer(AttemptSliced(execution_id, run))

    def _end_later(self, us: int, *ends: AttemptFinished) -> None:
        execution_id, run = ends[0].execution_id, ends[0].run
        self._ends[run] = ends
        self._node.later(us, lambda: self._end(execution_id, run))

    def _end(self, execution_id: ExecutionId, run: RunId) -> None:
        ends = self._ends.pop(run, ())
        if self.running.get(execution_id) == run:
            del self.running[execution_id]
            for end in ends:
                self._node.offer(end)

    def kill(self, effect: KillAttempt) -> None:
        """Sees to it that an attempt does nothing any more, and says so a little later; one that survives for as long
        reports its own end before. One that is not there is as good as killed.
        """
        execution_id, run = effect.execution_id, effect.run
        survives = self._world.faults.survives_kill()
        if not survives and self.running.get(execution_id) == run:
            del self.running[execution_id]
            del self._ends[run]
        self.dying[execution_id] += 1

        def killed() -> None:
            self._end(execution_id, run)
            self.dying[execution_id] -= 1
            self.dying += Counter()  # drops what is zero
            self._node.offer(AttemptKilled(execution_id, run))

        self._node.later(self._world.random.randint(1, _KILL_US_MAX), killed)

    def stop(self) -> None:
        """Gives all attempts up."""
        for execution_id, run in self.running.items():
            self._node.inbox.offer(AttemptStopped(execution_id, run, _STOPS))
        self.running.clear()
        self._ends.clear()
