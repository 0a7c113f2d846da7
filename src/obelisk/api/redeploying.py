"""Redeploying: other components take the place of the active ones, and open executions move to them where they can.

Decides which executions move: those on a component that is not the active one any more, whether it was replaced just now or
earlier, each by itself, if its log replays on the new one. The
others stay on the component that they are on, and go on there. One that has finished in the meantime is neither. Does not watch files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Final

import msgspec

from obelisk.api.asking import asking
from obelisk.api.errors import CallerError, HasFinished, Moved, NotFound, Overloaded
from obelisk.api.ports import DeploymentRefused, Engine, Replaced
from obelisk.api.reads import Reads
from obelisk.api.replaying import Replaying
from obelisk.config import Config
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.state import ExecutionState

__all__ = ["DeploymentRefused", "Redeploying", "Redeployment", "Stayed"]

_PAGE: Final = 100


class Stayed(msgspec.Struct, frozen=True):
    """An execution that goes on on its old component, and why."""

    execution_id: ExecutionId
    reason: str


class Redeployment(msgspec.Struct, frozen=True):
    """What a redeployment came to."""

    replaced: list[Replaced]
    moved: list[ExecutionId]
    """Executions that are on the new component now."""
    stayed: list[Stayed]


class Redeploying:
    """On the event loop's thread."""

    def __init__(self, engine: Engine, replaying: Replaying, reads: Reads) -> None:
        self._engine = engine
        self._replaying = replaying
        self._reads = reads

    async def redeploy(self, config: Config) -> Redeployment:
        """Makes the components of `config` the active ones and moves what can be moved. `DeploymentRefused`, and then
        nothing has changed, or `Stopping`.
        """
        with asking():
            replaced = await self._engine.redeploy(config)
        return await self._moved(replaced) if replaced else Redeployment([], [], [])

    async def move(self) -> Redeployment:
        """Moves what can be moved to the active components, which may be others than when this process began."""
        return await self._moved([])

    async def _moved(self, replaced: list[Replaced]) -> Redeployment:
        found = Redeployment(replaced, [], [])
        gone = {component.old for component in replaced}
        async for state in self._open():
            if self._is_behind(state, gone):
                await self._move(state, found)
        return found

    def _is_behind(self, state: ExecutionState, gone: Collection[Digest | None]) -> bool:
        """Whether it is on another component than the active one; where there is none, on one that went just now."""
        try:
            return self._replaying.active(state.ffqn).component != state.component
        except NotFound:
            return state.component in gone

    async def _move(self, state: ExecutionState, found: Redeployment) -> None:
        try:
            if await self._replaying.upgrade(state.execution_id, expected=state.component):
                found.moved.append(state.execution_id)
        except HasFinished:
            return  # since it was listed
        except (CallerError, Moved, Overloaded) as error:  # the others have nothing to do with it
            found.stayed.append(Stayed(state.execution_id, str(error)))

    async def _open(self) -> AsyncIterator[ExecutionState]:
        """All executions that have not finished, newest first."""
        where = ExecutionFilter(top_level_only=False, hide_finished=True)
        page = Page(_PAGE)
        while True:
            states = await self._reads.run(self._engine.reader.executions, where, page, self._engine.now())
            for state in states:
                yield state
            if len(states) < _PAGE:
                return
            page = Page(_PAGE, cursor=(states[-1].created_at, states[-1].execution_id))
