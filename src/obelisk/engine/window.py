"""The start window: how many attempts may be locked with their first slice of CPU still due.

Decides which activities may be locked now. Those that are due wait in order; one whose parameters are not in memory is
loaded first, which takes a place of the window too, so that a restart does not load everything at once.
"""

from __future__ import annotations

from collections import deque

from obelisk.core.ids import ExecutionId, RunId
from obelisk.engine.held import Held, Phase


class StartWindow:
    """A queue, and the places that are taken."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[Held] = deque()
        self._loaded: deque[Held] = deque()
        """Those that were loaded meanwhile: they waited before all of `_waiting`."""
        self._starting: dict[ExecutionId, RunId] = {}
        self._loading: set[ExecutionId] = set()

    @property
    def free(self) -> int:
        """Places that are free; never below 0."""
        return max(self._size - len(self._starting) - len(self._loading), 0)

    @property
    def is_open(self) -> bool:
        """Whether one more may start, and nobody waits for it."""
        return not self.waits and self.free > 0

    @property
    def waits(self) -> int:
        """How many wait."""
        return len(self._waiting) + len(self._loaded)

    def wait(self, held: Held) -> None:
        """The activity is due; it starts when it is its turn."""
        held.phase = Phase.READY
        self._waiting.append(held)

    def next(self) -> Held | None:
        """Whose turn it is; None when the window is closed or nobody waits."""
        queue = self._loaded or self._waiting
        return queue.popleft() if queue and self.free > 0 else None

    def load(self, held: Held) -> None:
        """It is loaded before it can start."""
        self._loading.add(held.execution_id)

    def loaded(self, held: Held) -> None:
        """It has its parameters now."""
        held.phase = Phase.READY
        self._loading.discard(held.execution_id)
        self._loaded.append(held)

    def take(self, execution_id: ExecutionId, run: RunId) -> None:
        """An attempt is locked; its first slice is due."""
        self._starting[execution_id] = run

    def first_slice_done(self, execution_id: ExecutionId, run: RunId) -> None:
        """Gives the place free that this attempt had, if it still had it."""
        if self._starting.get(execution_id) == run:
            del self._starting[execution_id]

    def drop(self, execution_id: ExecutionId) -> None:
        """The execution is over, or torn down: whatever place it had is free."""
        self._starting.pop(execution_id, None)
        self._loading.discard(execution_id)
