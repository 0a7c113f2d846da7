"""The heap of durable timers: when the engine must act without being told.

Every timer stands for a row (a delay, a pending execution) or for a duty of the engine (renewing leases); it holds no
truth. Timers are never removed: one whose row is gone by the time it is due is ignored by whoever takes it.
"""

from __future__ import annotations

import heapq
from enum import StrEnum

from obelisk.core.ids import DelayRef, ExecutionId
from obelisk.core.instants import Instant


class TimerKind(StrEnum):
    """What a timer is for."""

    DELAY = "delay"
    PENDING = "pending"
    LEASE = "lease"


class Timers:
    """A heap of (due, order of arming, kind, execution, delay)."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, TimerKind, ExecutionId, DelayRef]] = []
        self._armed = 0

    def arm(self, due: Instant, kind: TimerKind, execution_id: ExecutionId, delay: DelayRef = DelayRef("")) -> None:  # noqa: B008
        """Adds a timer."""
        self._armed += 1
        heapq.heappush(self._heap, (due, self._armed, kind, execution_id, delay))

    def next_due(self) -> Instant | None:
        """When the first timer is due."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: Instant, count_max: int) -> list[tuple[TimerKind, ExecutionId, DelayRef]]:
        """Removes and returns timers that are due at `now`, earliest first; those due together in the order of arming."""
        taken: list[tuple[TimerKind, ExecutionId, DelayRef]] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(taken) < count_max:
            _, _, kind, execution_id, delay = heapq.heappop(heap)
            taken.append((kind, execution_id, delay))
        return taken
