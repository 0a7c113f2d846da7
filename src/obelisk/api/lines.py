"""Lines: reading what executions logged, and following what they log.

Decides how long a page may be, and when there is nothing more to follow; every line comes from the store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from obelisk.api.errors import Stopping
from obelisk.api.executions import no_execution
from obelisk.api.pace import Pace
from obelisk.api.ports import Engine, ShuttingDown
from obelisk.api.reads import Reads
from obelisk.core.ids import ExecutionId, root_of
from obelisk.core.lines import LineFilter, LinePage, StoredLogLine
from obelisk.core.state import Status

PAGE_MAX: Final = 200
"""Lines of one page."""
INTERVAL_S: Final = 0.02
"""The least time between two looks of a follower."""
BURST: Final = 10
"""Looks of a follower that may come sooner."""


class Lines:
    """On the event loop's thread."""

    def __init__(self, engine: Engine, reads: Reads) -> None:
        self._engine = engine
        self._reads = reads

    async def page(self, where: LineFilter, page: LinePage) -> list[StoredLogLine]:
        """A page of lines, the oldest first. `NotFound`."""

        def read() -> list[StoredLogLine]:
            found = self._engine.reader.lines(where, page)
            if not found:
                self._is_finished(where.execution_id)
            return found

        return await self._reads.run(read)

    async def follow(self, where: LineFilter, cursor: int | None) -> AsyncGenerator[list[StoredLogLine], None]:
        """Pieces of what was logged after `cursor` (None: from the beginning), and of what is logged, until the execution
        has finished.

        Close it when done early. `NotFound` first, `Stopping` when the engine stops.
        """
        try:
            async with self._engine.watch_lines(root_of(where.execution_id)) as subscription:
                pace = Pace(BURST, INTERVAL_S)
                page = LinePage(PAGE_MAX, cursor)
                while True:
                    is_finished = await self._reads.run(self._is_finished, where.execution_id)
                    if is_finished:  # its last lines may wait to be stored
                        await self._engine.lines_stored()
                    while found := await self._reads.run(self._engine.reader.lines, where, page):
                        yield found
                        page = msgspec.structs.replace(page, cursor=found[-1].cursor)
                    if is_finished:
                        return
                    await pace.turn()
                    while not any(_concerns(changed, where) for changed in await subscription.changed()):
                        pass
        except ShuttingDown:
            raise Stopping from None

    def _is_finished(self, execution_id: ExecutionId) -> bool:
        state = self._engine.reader.state(execution_id)
        if state is None:
            raise no_execution(execution_id)
        return state.status is Status.FINISHED


def _concerns(changed: ExecutionId, where: LineFilter) -> bool:
    return changed == where.execution_id or (where.derived and changed.startswith(f"{where.execution_id}."))
