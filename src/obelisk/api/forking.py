"""Forking: a new execution that goes on from an earlier point of another one.

Decides what of a log can be taken over: what a workflow itself did, up to a version of the client's choice, if it replays
on the component that is deployed now. The copy is the engine's work.
"""

from __future__ import annotations

import msgspec

from obelisk.api.asking import asking
from obelisk.api.errors import Conflict, InvalidArgument, ReplayFailed
from obelisk.api.ports import AnswerKind, Engine
from obelisk.api.reads import Reads
from obelisk.api.replaying import KINDS, Replaying
from obelisk.core.batch import Snapshot
from obelisk.core.ids import ExecutionId, is_top_level
from obelisk.core.ports import FunctionKind
from obelisk.core.replay import replayable


class Forked(msgspec.Struct, frozen=True):
    """A fork."""

    execution_id: ExecutionId
    version: int
    """All before it was taken over."""
    created: bool
    """False: it was there already."""


class Forking:
    """On the event loop's thread."""

    def __init__(self, engine: Engine, replaying: Replaying, reads: Reads) -> None:
        self._engine = engine
        self._replaying = replaying
        self._reads = reads

    async def fork(
        self,
        origin_id: ExecutionId,
        version: int | None = None,
        new_id: ExecutionId | None = None,
        *,
        paused: bool = False,
    ) -> Forked:
        """Creates an execution (`new_id`, or a fresh id) that has everything of `origin_id` before `version` (None: all)
        behind it, and goes on from there on the component that is deployed now. The origin is left as it is. The same
        again, with the same `new_id`, is no error.

        `InvalidArgument`, `NotFound`, `Conflict`, `ReplayFailed`, `Overloaded` or `Stopping`.
        """
        if new_id is not None and not is_top_level(new_id):
            raise InvalidArgument(f"{new_id} is a derived id; a fork is a top-level execution")
        origin = await self._replaying.snapshot(origin_id)
        info = self._replaying.active(origin.state.ffqn)
        if info.kind is not FunctionKind.WORKFLOW:
            instead = ", submit it anew" if info.kind is FunctionKind.ACTIVITY else ""
            raise InvalidArgument(
                f"only workflows can be forked; {origin_id} is an execution of {KINDS[info.kind]}{instead}"
            )
        version = _version(origin, version)
        try:
            await self._replaying.check_before(version, origin, info)
        except ReplayFailed as error:
            raise ReplayFailed(
                f"{error}\n{origin_id} does not replay on {info.component} up to version {version}: fork it at the version"
                " that is named above or an earlier one, or deploy a component that it replays on"
            ) from None
        execution_id = new_id or self._engine.new_execution_id()
        with asking():
            answer = await self._engine.fork(execution_id, origin, version, info.component, paused=paused)
        match answer.kind:
            case AnswerKind.CREATED:
                return Forked(execution_id, version, created=True)
            case AnswerKind.EXISTS:
                await self._reads.run(self._check_same, execution_id, origin_id, version)
                return Forked(execution_id, version, created=False)
            case _:
                raise InvalidArgument(answer.message or f"cannot fork: {answer.kind}")

    def _check_same(self, execution_id: ExecutionId, origin_id: ExecutionId, version: int) -> None:
        created = self._engine.reader.created(execution_id)
        origin = None if created is None else created.forked_from
        if origin is None or (origin.execution_id, origin.version) != (origin_id, version):
            what = "no fork" if origin is None else f"a fork of {origin.execution_id} at version {origin.version}"
            raise Conflict(f"{execution_id} exists already, and is {what}")


def _version(origin: Snapshot, version: int | None) -> int:
    """How much of the log is taken over."""
    execution_id, log = origin.state.execution_id, origin.log
    last = len(replayable(log))
    if version is None:
        return last
    if not 1 <= version <= len(log):
        raise InvalidArgument(
            f"version {version} is no place in the log of {execution_id}, whose events have the versions 0 to"
            f" {len(log) - 1}: choose one from 1 to {last}"
        )
    if version > last:
        raise InvalidArgument(
            f"version {version} of {execution_id} lies after its cancellation was requested, at version {last}; what"
            f" follows was not done by the workflow: choose one from 1 to {last}"
        )
    return version
