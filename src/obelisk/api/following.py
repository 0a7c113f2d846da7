"""Following: telling a client what changes, while it changes.

Decides what is told and how often. The engine says which rows changed; what is told is such a row as it was committed, or what is
then read from the store.
Nobody is told every state in between: who looks late sees the latest. The end is always told.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from obelisk.api.errors import Stopping
from obelisk.api.executions import Executions
from obelisk.api.pace import Pace
from obelisk.api.ports import Engine, ShuttingDown, Subscription
from obelisk.api.reads import Reads
from obelisk.api.tree import Tree
from obelisk.api.views import Execution, TreeChange
from obelisk.core.ids import ExecutionId, root_of

STATUS_WAIT_S: Final = 0.02
"""How long a change of one execution waits for others that are told with it, at first. An end waits for nothing."""
STATUS_WAIT_MAX_S: Final = 0.1
"""The same once many were told: each that is told takes the interpreter from the engine, and nobody reads so fast."""
STATUSES_PER_S: Final = 200
"""How many changes are told in a second, to all followers together; with many of them a change waits longer."""
TREE_INTERVAL_S: Final = 0.05
"""The least time between two messages about a tree, those of its snapshot apart."""
TREE_PAGE: Final = 500
"""Executions in one message about a tree."""


class Following:
    """Follows executions and trees. On the event loop's thread."""

    def __init__(self, engine: Engine, executions: Executions, reads: Reads) -> None:
        self._engine = engine
        self._executions = executions
        self._reads = reads
        self._followers = 0

    async def follow(self, execution_id: ExecutionId, *, with_result: bool = False) -> AsyncGenerator[Execution, None]:
        """The execution as it is, then each change of what is visible of it, until it has finished; the last one
        `with_result` if that is wanted.

        Close it when done early. `NotFound` first, `Stopping` when the engine stops.
        """
        async with self._watch(self._engine.watch_one(execution_id)) as subscription:
            self._followers += 1
            try:
                told = await self._executions.get(execution_id, with_result=with_result)
                yield told
                count = 0
                while not told.is_finished:
                    await subscription.changed()
                    count += 1
                    own_wait_s = min(STATUS_WAIT_S * count, STATUS_WAIT_MAX_S)
                    await subscription.ended(max(own_wait_s, self._followers / STATUSES_PER_S))
                    change = subscription.latest()
                    shown = None if change is None else self._executions.told(change, with_result=with_result)
                    current = shown or await self._executions.get(execution_id, with_result=with_result)
                    if current.visible != told.visible:
                        told = current
                        yield told
            finally:
                self._followers -= 1

    async def watch(self, execution_id: ExecutionId) -> AsyncGenerator[TreeChange, None]:
        """The execution and all that derive from it: a snapshot in pieces, by creation, then what changes, until the
        execution has finished.

        Close it when done early. `NotFound` first, `Stopping` when the engine stops.
        """
        tree = Tree(self._engine, self._executions, execution_id)
        pace = Pace(1, TREE_INTERVAL_S)
        async with self._watch(self._engine.watch(root_of(execution_id))) as subscription:
            top = await self._executions.get(execution_id)
            known = await self._reads.run(tree.ids)
            for start in range(0, len(known), TREE_PAGE):
                progress = await self._reads.run(tree.read, known[start : start + TREE_PAGE])
                is_last = start + TREE_PAGE >= len(known)
                yield TreeChange(progress, self._engine.now(), snapshot_complete=is_last)
            while not top.is_finished:
                await pace.turn()
                due = await subscription.changed()
                # The top finishes last: what is read once it has finished is the end of the others too.
                top = await self._executions.get(execution_id)
                ids = sorted(filter(tree.holds, due | tree.open if top.is_finished else due))
                for start in range(0, len(ids), TREE_PAGE):
                    progress = await self._reads.run(tree.read, ids[start : start + TREE_PAGE])
                    yield TreeChange(progress, self._engine.now())

    @asynccontextmanager
    async def _watch(self, watching: AbstractAsyncContextManager[Subscription]) -> AsyncIterator[Subscription]:
        try:
            async with watching as subscription:
                yield subscription
        except ShuttingDown:
            raise Stopping from None
