"""The clock of a process: the only place that asks the system for the time of day."""

from __future__ import annotations

import time

from obelisk.core.instants import Instant


class Clock:
    """Wall-clock instants that never go back within the process, whatever the system's clock does."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> Instant:
        """Microseconds since 1970 UTC."""
        now = time.time_ns() // 1_000
        if now < self._last:
            return Instant(self._last)
        self._last = now
        return Instant(now)


class TickBudget:
    """How long a tick may go on deciding, on the monotonic clock. Implements `core.ports.Budget`."""

    def __init__(self, deciding_us_max: int) -> None:
        self._max_ns = deciding_us_max * 1_000
        self._ends = 0

    def start(self) -> None:
        """A tick begins."""
        self._ends = time.monotonic_ns() + self._max_ns

    def spent(self) -> bool:
        """Whether the tick should end."""
        return time.monotonic_ns() >= self._ends
