"""Attempts: runs activities, a slice here and the rest on the CPU lane, and reports how they end.

Decides where an attempt's first slice runs (on the engine thread while the function has shown to be short, else on the
lane) and when an attempt is out of time. The deadline counts the time in which the attempt runs: CPU time of whatever
thread runs it. While it queues for a slot, or the machine is busy with something else, the clock stands still. It does not
decide whether a failed attempt is tried again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from obelisk.core.calls import LogLine
from obelisk.core.ids import Digest, ExecutionId, RunId
from obelisk.core.names import FunctionName
from obelisk.core.values import Failure, FailureKind
from obelisk.engine.effects import KillAttempt, StartAttempt
from obelisk.engine.inputs import AttemptFinished, AttemptKilled, AttemptSliced, AttemptStopped, Input
from obelisk.runtime.lane import CpuLane
from obelisk.runtime.logs import component_line
from obelisk.runtime.marks import Marks
from obelisk.wasm.activity import ActivityRun, ActivityStep, Finished, LogSink
from obelisk.wasm.guest import PoolIsFull

_log: Final = logging.getLogger(__name__)
_SHORT_NS: Final = 2_000_000
"""An attempt that takes less than this in all proves that its function is short (again)."""


class Activities(Protocol):
    """Makes runs of activities."""

    def attempt(self, component: Digest, ffqn: FunctionName, log_line: LogSink) -> ActivityRun:
        """One attempt at an activity."""
        ...


class Attempts:
    """All attempts of a process. `start` and `kill` are called by the engine thread only."""

    def __init__(self, activities: Activities, lane: CpuLane, marks: Marks, offer: Callable[[Input], None]) -> None:
        self._activities = activities
        self._lane = lane
        self._offer = offer
        self._marks = marks
        self._long: set[tuple[Digest, FunctionName]] = set()
        """Functions whose first slice runs on the lane, since they were seen to take longer than one."""
        self._running: dict[ExecutionId, _Attempt] = {}
        self._stopping = False

    def start(self, effect: StartAttempt) -> None:
        """Runs the first slice, or queues it."""
        attempt = _Attempt(self, effect)
        self._running[effect.execution_id] = attempt
        if self._stopping:
            attempt.abandon()
        elif (effect.component, effect.ffqn) in self._long:
            self._lane.submit(attempt)
        elif attempt.slice():
            self._long.add((effect.component, effect.ffqn))
            self._lane.submit(attempt)

    def kill(self, effect: KillAttempt) -> None:
        """Stops an attempt; what is reported is that it does nothing any more, whatever it came to."""
        attempt = self._running.get(effect.execution_id)
        if attempt is not None and attempt.run == effect.run:
            attempt.killed = True  # by whoever runs it, at its next slice
        else:
            self._offer(AttemptKilled(effect.execution_id, effect.run))

    def stop(self) -> None:
        """From now on attempts are given up. The lane must have been stopped."""
        self._stopping = True

    @property
    def count(self) -> int:
        """Attempts that have not ended."""
        return len(self._running)


class _Attempt:
    """One attempt: a job of the lane."""

    __slots__ = ("_effect", "_owner", "_run", "_slot", "_used_ns", "has_begun", "killed")

    def __init__(self, owner: Attempts, effect: StartAttempt) -> None:
        self._owner = owner
        self._effect = effect
        self._run: ActivityRun | None = None
        self._used_ns = 0
        self._slot = -1
        self.has_begun = False
        self.killed = False

    @property
    def run(self) -> RunId:
        return self._effect.run

    def slice(self) -> bool:
        effect = self._effect
        if self.killed:
            self._over(None)
            return False
        begun = time.thread_time_ns()
        first = not self.has_begun
        try:
            step = self._step(first)
        except PoolIsFull:
            return True  # nothing was started: ask again when it is this attempt's turn
        except Exception as error:  # noqa: BLE001 - a bug of ours must not take the engine down
            _log.exception("an attempt at %s failed in the host", effect.ffqn)
            step = Finished(Failure(FailureKind.UNCATEGORIZED, f"internal error: {error}"))
        self._used_ns += time.thread_time_ns() - begun
        if isinstance(step, Finished):
            if self._used_ns < _SHORT_NS:
                self._owner._long.discard((effect.component, effect.ffqn))
            self._over(AttemptFinished(effect.execution_id, effect.run, step.outcome, step.permanent))
            return False
        if self._used_ns >= effect.deadline_us * 1_000:
            reason = f"the attempt ran for longer than {effect.deadline_us // 1_000} ms (exec.lock_expiry)"
            self._over(AttemptFinished(effect.execution_id, effect.run, Failure(FailureKind.TIMED_OUT, reason)))
            return False
        if first:
            self._owner._offer(AttemptSliced(effect.execution_id, effect.run))
        return True

    def _step(self, first: bool) -> ActivityStep:
        effect, owner = self._effect, self._owner
        if not first:
            assert self._run is not None
            return self._run.resume()
        if self._slot < 0:
            self._slot = owner._marks.set(effect.execution_id)
        execution_id = effect.execution_id

        def log_line(line: LogLine) -> None:
            component_line(line, execution_id, effect.run)

        run = owner._activities.attempt(effect.component, effect.ffqn, log_line)
        try:
            step = run.start(effect.params)
        except BaseException:
            run.close()
            raise
        self._run = run
        self.has_begun = True
        return step

    def _over(self, report: Input | None) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None
        owner = self._owner
        owner._marks.clear(self._slot)
        self._slot = -1
        if owner._running.get(self._effect.execution_id) is self:
            del owner._running[self._effect.execution_id]
        if self.killed:
            owner._offer(AttemptKilled(self._effect.execution_id, self._effect.run))
        elif report is not None:
            owner._offer(report)

    def abandon(self) -> None:
        effect = self._effect
        self._over(AttemptStopped(effect.execution_id, effect.run, "the server is stopping"))
