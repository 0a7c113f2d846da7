"""Redeploying: other components take the place of the active ones, and open executions move to them where they can.

Decides which executions move: those on a component that was replaced, each by itself, if its log replays on the new one. The
others stay on the component that they are on, and go on there. One that has finished in the meantime is neither. Does not watch files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from obelisk.api.asking import asking
from obelisk.api.errors import CallerError, HasFinished, Moved, Overloaded
from obelisk.api.ports import DeploymentRefused, Engine, Replaced
from obelisk.api.reads import Reads
from obelisk.api.replaying import Replaying
from obelisk.config import Config
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.transitions import ExecutionState

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
        found = Redeployment(replaced, [], [])
        for component in replaced:
            if component.old is not None:
                async for state in self._open(component.old):
                    await self._move(state, component.old, found)
        return found

    async def _move(self, state: ExecutionState, old: Digest, found: Redeployment) -> None:
        try:
            if await self._replaying.upgrade(state.execution_id, expected=old):
                found.moved.append(state.execution_id)
        except HasFinished:
            return  # since it was listed
        except (CallerError, Moved, Overloaded) as error:  # the others have nothing to do with it
            found.stayed.append(Stayed(state.execution_id, str(error)))

    async def _open(self, component: Digest) -> AsyncIterator[ExecutionState]:
        """All executions on the component that have not finished, newest first."""
        where = ExecutionFilter(top_level_only=False, hide_finished=True, components=(component,))
        page = Page(_PAGE)
        while True:
            states = await self._reads.run(self._engine.reader.executions, where, page, self._engine.now())
            for state in states:
                yield state
            if len(states) < _PAGE:
                return
            page = Page(_PAGE, cursor=(states[-1].created_at, states[-1].execution_id))
