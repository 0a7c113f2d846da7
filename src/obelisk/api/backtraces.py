"""Backtraces: where in its code a workflow was when it left an event of its log.

Decides which event is meant, on which component it is looked at, and what is kept: a backtrace is made by a replay when
somebody asks for it, on the component that the workflow ran on at that event, and kept in the database from then on. When
that component is not loaded any more, another one that replays the log is taken instead, which the answer says; that is not
kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from obelisk.api.asking import asking
from obelisk.api.errors import InvalidArgument, NotFound, ReplayFailed
from obelisk.api.executions import info_of
from obelisk.api.ports import Engine
from obelisk.api.reads import Reads
from obelisk.api.replaying import KINDS, Replaying
from obelisk.api.views import BacktraceOf
from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Snapshot
from obelisk.core.events import kind_of
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.core.tracing import FIRST, LAST, Found, recorded_by_calls, written_on

PERSISTED_MAX: Final = 1_000
"""Backtraces that one `persist` makes."""


class Backtraces:
    """On the event loop's thread. All of it may raise `NotFound`."""

    def __init__(self, engine: Engine, replaying: Replaying, reads: Reads) -> None:
        self._engine = engine
        self._replaying = replaying
        self._reads = reads

    async def get(self, execution_id: ExecutionId, version: int) -> BacktraceOf:
        """The backtrace of the host call that left event `version`; also `FIRST` or `LAST`. Also raises `InvalidArgument`,
        `ReplayFailed`, `Overloaded` or `Stopping`.
        """
        kept = await self._reads.run(self._kept, execution_id, version)
        if kept is not None:
            return kept  # without its log, which may be long
        snapshot = await self._snapshot(execution_id)
        state = snapshot.state
        recorded = recorded_by_calls(snapshot.log)
        if not recorded:
            raise NotFound(f"backtrace not found: {execution_id} has made no host call yet that left an event")
        wanted = recorded[0] if version == FIRST else version
        known = recorded[-1] if version == LAST else wanted
        if known != version and (kept := await self._reads.run(self._kept, execution_id, known)) is not None:
            return kept
        if wanted >= len(snapshot.log):
            raise NotFound(f"backtrace not found: the log of {execution_id} ends with version {len(snapshot.log) - 1}")
        component = written_on(snapshot.log, known)
        made = await self._trace(snapshot, component, wanted)
        if isinstance(made, Found):
            raise _no_call(snapshot, wanted, made)
        if made.component != component:
            return BacktraceOf(state.ffqn, made, component)
        await self._reads.run(self._engine.keep_backtrace, execution_id, made)
        return BacktraceOf(state.ffqn, made)

    async def persist(self, execution_id: ExecutionId) -> int:
        """Makes and keeps the backtraces of the host calls that none is kept of yet, at most `PERSISTED_MAX` of them; how many. Each
        takes a replay or two. Where it fails, or is cancelled, those that were made before are kept. Raises what `get` does.
        """
        snapshot = await self._snapshot(execution_id)
        made_until = count = 0
        for version in recorded_by_calls(snapshot.log):
            if version < made_until or await self._reads.run(self._kept, execution_id, version) is not None:
                continue
            component = written_on(snapshot.log, version)
            made = await self._trace(snapshot, component, version)
            if isinstance(made, Found):
                continue
            made_until = made.end
            if made.component == component:
                if not await self._reads.run(self._engine.keep_backtrace, execution_id, made):
                    break
                count += 1
                if count == PERSISTED_MAX:
                    break
        return count

    async def _snapshot(self, execution_id: ExecutionId) -> Snapshot:
        """Of a workflow."""
        snapshot = await self._replaying.snapshot(execution_id)
        info = info_of(self._engine.catalogue, snapshot.state)
        if info is not None and info.kind is not FunctionKind.WORKFLOW:
            raise InvalidArgument(
                f"only workflows have backtraces; {execution_id} is an execution of {KINDS[info.kind]}"
            )
        return snapshot

    def _kept(self, execution_id: ExecutionId, version: int) -> BacktraceOf | None:
        reader = self._engine.reader
        backtrace = None if version in (FIRST, LAST) else reader.backtrace(execution_id, version)
        state = None if backtrace is None else reader.state(execution_id)
        return None if backtrace is None or state is None else BacktraceOf(state.ffqn, backtrace)

    async def _trace(self, snapshot: Snapshot, component: Digest, version: int) -> Backtrace | Found:
        """On `component`, or what may stand for it; what was found when no host call left the event."""
        gone = (
            "" if self._is_loaded(snapshot, component) else f"{component}, which it ran on then, is not loaded any more"
        )
        for info in self._candidates(snapshot, component):
            with asking():
                found = await self._engine.trace(snapshot, info.component, version, self._engine.now())
            if isinstance(found, Backtrace):
                return found
            problem = _left(found, version)
            if not problem:
                return found
            if not gone:
                raise ReplayFailed(f"replay failed: {problem}")
            gone += f"; on {info.component}: {problem}"
        raise NotFound(f"backtrace not found: {gone or 'no component exports its function'}")

    def _is_loaded(self, snapshot: Snapshot, component: Digest) -> bool:
        return self._engine.catalogue.pinned(component, snapshot.state.ffqn) is not None

    def _candidates(self, snapshot: Snapshot, component: Digest) -> Iterator[FunctionInfo]:
        """The component that it ran on then; else the one that it runs on now, and the active one."""
        state, catalogue = snapshot.state, self._engine.catalogue
        own = catalogue.pinned(component, state.ffqn)
        others = (
            [] if own is not None else [catalogue.pinned(state.component, state.ffqn), catalogue.active(state.ffqn)]
        )
        seen: set[Digest] = set()
        for info in (own, *others):
            if info is not None and info.kind is FunctionKind.WORKFLOW and info.component not in seen:
                seen.add(info.component)
                yield info

    async def source(self, component: Digest, file: str) -> str:
        """The source code in `file`, a path in the debug information of a component, as the configuration names it."""
        text = await self._reads.run(self._engine.source, component, file)
        if text is None:
            raise NotFound(
                f"backtrace source not found: no source of {component} is kept for {file!r}; name it in backtrace.sources of"
                " its [[workflow]]"
            )
        return text


def _left(found: Found, version: int) -> str:
    """Why a replay did not come as far as the event; empty when it did."""
    if found.nearest is not None and version != LAST and found.nearest > version:
        return ""
    divergence = found.replayed.divergence
    if divergence is not None:
        return f"nondeterminism detected at version {divergence.version}:\n{divergence.detail}"
    if found.replayed.gave_up:
        return "the workflow computed for too long between two host calls, or called the host without leaving a trace"
    return ""


def _no_call(snapshot: Snapshot, version: int, found: Found) -> NotFound:
    """The refusal of an event that no host call left."""
    if version == LAST:
        return NotFound(f"backtrace not found: {snapshot.state.execution_id} has made no host call that left an event")
    event = snapshot.log[version].event
    if found.closing:
        what = "closes a join set after the function has returned: there is no stack any more"
    else:
        what = "was not left by a host call of the workflow"
    near = "" if found.nearest is None else f"; the nearest one that was is version {found.nearest}"
    if found.closing and near:
        near = f"; the last one that a host call left is version {found.nearest}"
    return NotFound(f"backtrace not found: version {version} ({kind_of(event)}) {what}{near}")
