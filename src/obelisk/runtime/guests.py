"""Workflow guests that went to the CPU lane: resumes them until they call, end, or have used up their CPU budget."""

from __future__ import annotations

import time
from collections.abc import Callable

from obelisk.core.ports import Step, Trapped, Yielded
from obelisk.core.values import Failure, FailureKind
from obelisk.engine.effects import RunGuest
from obelisk.engine.inputs import Input, Stepped
from obelisk.runtime.lane import Turn


class AwayGuest:
    """A job of the lane. The budget counts CPU time of the threads that poll the guest, not time spent in the queue."""

    __slots__ = ("_effect", "_offer", "_used_ns")
    has_begun = True

    def __init__(self, effect: RunGuest, offer: Callable[[Input], None]) -> None:
        self._effect = effect
        self._offer = offer
        self._used_ns = 0

    def slice(self) -> Turn:
        """Runs the next slice."""
        effect = self._effect
        begun = time.thread_time_ns()
        step: Step = effect.guest.resume()
        self._used_ns += time.thread_time_ns() - begun
        if isinstance(step, Yielded):
            if self._used_ns < effect.cpu_budget_us * 1_000:
                return Turn.MORE
            reason = f"no host call within {effect.cpu_budget_us // 1_000} ms of CPU time (exec.cpu_budget)"
            step = Trapped(Failure(FailureKind.OUT_OF_FUEL, reason))
        self._offer(Stepped(effect.execution_id, effect.generation, effect.guest, step))
        return Turn.OVER

    def abandon(self) -> None:
        """The run is lost: a restart replays it."""
        self._effect.guest.close()
