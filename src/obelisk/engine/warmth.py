"""Warmth: which workflows are in memory, and who makes room for whom.

Decides the hot cap: at most `hot_max` workflows have their machine (and guest) in memory. Whoever needs room gets that of
the workflow that has been blocked for the longest time; when nobody is blocked, it waits in the crowd until somebody is.
"""

from __future__ import annotations

from collections import deque

from obelisk.core.ids import ExecutionId
from obelisk.core.machine import Machine, Typing
from obelisk.core.policy import Limits
from obelisk.engine.held import Held, Phase
from obelisk.engine.lines import Lines


class Warmth:
    """Books of who is hot. Every machine is given and taken through this."""

    def __init__(self, limits: Limits, typing: Typing) -> None:
        self.hot = 0
        """Workflows in memory."""
        self._limits = limits
        self._hot_max = limits.hot_max
        self._typing = typing
        self._idle: dict[ExecutionId, Held] = {}
        """Blocked workflows in memory, least recently blocked first: candidates for eviction."""
        self._crowd: deque[Held] = deque()
        """Workflows that may run, but for which there is no room: everybody in memory is running."""

    @property
    def admits(self) -> bool:
        """Whether somebody of the crowd could come in."""
        return bool(self._crowd) and self._room > 0

    @property
    def _room(self) -> int:
        return max(self._hot_max - self.hot, 0) + len(self._idle)

    def admitted(self) -> list[Held]:
        """Takes as many out of the crowd as there is room for."""
        if not self._crowd:
            return []
        return [self._crowd.popleft() for _ in range(min(self._room, len(self._crowd)))]

    def warm(self, held: Held) -> bool:
        """Builds the machine of a workflow out of its snapshot, or a new one. Without room: puts it into the crowd."""
        if self.hot >= self._hot_max:
            if not self._idle:
                self._crowd.append(held)
                return False
            self.cool(self._idle[next(iter(self._idle))])
        if held.snapshot is None:
            held.machine = Machine(held.execution_id, typing=self._typing, began_at=held.state.created_at)
            held.lines = Lines((), self._limits)
        else:
            log, responses = held.snapshot.log, held.snapshot.responses
            late = [response for response in held.late if response.seq > len(responses)]
            held.machine = Machine(held.execution_id, log, responses + late, typing=self._typing)
            held.lines = Lines(log, self._limits)
            held.snapshot = None
            held.late = []
        self.hot += 1
        return True

    def cool(self, held: Held) -> None:
        """Unloads guest and machine, if any."""
        if held.machine is not None:
            self.hot -= 1
        self._idle.pop(held.execution_id, None)
        held.unload()

    def wakes(self, held: Held) -> None:
        """The workflow is blocked no more: it cannot be evicted until it is again."""
        self._idle.pop(held.execution_id, None)

    def after_run(self, held: Held) -> None:
        """Books whether a workflow that has just run is still in memory, and whether it may be evicted."""
        if held.machine is None:
            self.hot -= 1
            self._idle.pop(held.execution_id, None)
        elif held.phase is Phase.BLOCKED:
            self._idle[held.execution_id] = held
