"""Trees: an execution and all that derive from it, as a change stream shows them.

Reads only, on whatever thread calls; remembers what cannot change any more, so that it is read once.
"""

from __future__ import annotations

from typing import Final

from obelisk.api.executions import Executions
from obelisk.api.ports import Engine
from obelisk.api.views import Progress
from obelisk.core.events import Locked
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.state import ExecutionState, Status

_PAGE: Final = 1_000


class Tree:
    """What a watcher knows of one tree. One caller at a time."""

    def __init__(self, engine: Engine, executions: Executions, top: ExecutionId) -> None:
        self._engine = engine
        self._executions = executions
        self._top = top
        self._first_started_at: dict[ExecutionId, Instant] = {}
        self.open: set[ExecutionId] = set()
        """Those that had not finished when they were last read."""

    def holds(self, execution_id: ExecutionId) -> bool:
        """Whether the execution belongs to the tree."""
        return execution_id == self._top or execution_id.startswith(f"{self._top}.")

    def ids(self) -> list[ExecutionId]:
        """All that there are now, oldest first."""
        where = ExecutionFilter(top_level_only=False, root=self._top)
        cursor: ExecutionId | None = None
        found: list[ExecutionId] = []
        while True:
            page = Page(length=_PAGE, cursor=cursor)
            states = self._engine.reader.executions(where, page, self._engine.now())
            found += [state.execution_id for state in states]
            if len(states) < _PAGE:
                return found[::-1]
            cursor = found[-1]

    def read(self, execution_ids: list[ExecutionId]) -> list[Progress]:
        """Those of `execution_ids` that exist, as they are now."""
        progress = []
        for state in self._engine.reader.states(execution_ids):
            if state.status is Status.FINISHED:
                self.open.discard(state.execution_id)
            else:
                self.open.add(state.execution_id)
            progress.append(Progress(self._executions.shown(state), self._started(state)))
        return progress

    def _started(self, state: ExecutionState) -> Instant | None:
        execution_id = state.execution_id
        known = self._first_started_at.get(execution_id)
        if known is None and state.run is not None:
            version = 1  # nearly always right: only an execution that was parked before it ran has others before
            while known is None and version < state.next_version:
                for entry in self._engine.reader.events(execution_id, version, 1):
                    if isinstance(entry.event, Locked):
                        known = self._first_started_at[execution_id] = entry.created_at
                version += 1
        return known
