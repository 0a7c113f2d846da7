"""Backtraces: where in its code a workflow was when it left an event of its log.

Decides which event is meant, on which component it is looked at, and what is kept: a backtrace is made by a replay when
somebody asks for it, on the component that the workflow ran on at that event, and kept in the database from then on. When
that component is not loaded any more, another one that replays the log is taken instead, which the answer says; that is not
kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress

from obelisk.api.asking import asking
from obelisk.api.errors import InvalidArgument, NotFound, ReplayFailed
from obelisk.api.executions import info_of
from obelisk.api.ports import Engine
from obelisk.api.reads import Reads
from obelisk.api.replaying import KINDS, Replaying
from obelisk.api.views import BacktraceOf, Persisting
from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Snapshot
from obelisk.core.events import kind_of
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.core.replay import Replayed
from obelisk.core.tracing import FIRST, LAST, Found, components_of, recorded_by_calls, written_on


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
        await self._reads.run(self._engine.keep_backtraces, execution_id, [made])
        return BacktraceOf(state.ffqn, made)

    async def persist(self, execution_id: ExecutionId, *, since: int = 0) -> int:
        """Makes and keeps the backtraces of the host calls that none is kept of yet; how many. See `persisting`."""
        count = 0
        async with aclosing(self.persisting(execution_id, since=since)) as pieces:
            async for piece in pieces:
                count = piece.count
        return count

    async def persisting(self, execution_id: ExecutionId, *, since: int = 0) -> AsyncGenerator[Persisting, None]:
        """The same, telling how far it has come, at the end too. Only of events from `since` on. One replay for each component that
        the execution ran on. Where it fails, or is closed, those that were made before are kept. Raises what `get` does.
        """
        snapshot = await self._snapshot(execution_id)
        missing = await self._reads.run(self._missing, snapshot, since)
        end = len(snapshot.log)
        count = gone = 0
        pieces: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
        for component, versions in missing:
            if not self._is_loaded(snapshot, component):
                gone += len(versions)
                continue
            replay = asyncio.create_task(self._trace_all(snapshot, component, versions, pieces))
            try:
                while (piece := await pieces.get()) is not None:
                    made, version = piece
                    count += made
                    yield Persisting(count, version, end, gone)
                await replay
            finally:
                replay.cancel()
                await asyncio.gather(replay, return_exceptions=True)
        yield Persisting(count, end, end, gone)

    async def _snapshot(self, execution_id: ExecutionId) -> Snapshot:
        """Of a workflow."""
        snapshot = await self._replaying.snapshot(execution_id)
        info = info_of(self._engine.catalogue, snapshot.state)
        if info is not None and info.kind is not FunctionKind.WORKFLOW:
            raise InvalidArgument(
                f"only workflows have backtraces; {execution_id} is an execution of {KINDS[info.kind]}"
            )
        return snapshot

    def _missing(self, snapshot: Snapshot, since: int) -> list[tuple[Digest, frozenset[int]]]:
        """The events of host calls without a backtrace, by the component that left them, in order; none when none are kept."""
        execution_id = snapshot.state.execution_id
        if not self._engine.keep_backtraces(execution_id, []):
            return []
        kept: set[int] = set()
        for first, end in self._engine.reader.backtraces(execution_id, since, len(snapshot.log)):
            kept.update(range(first, end))
        components = components_of(snapshot.log)
        found: dict[Digest, list[int]] = {}
        for version in recorded_by_calls(snapshot.log):
            if version >= since and version not in kept:
                found.setdefault(components[version], []).append(version)
        return [(component, frozenset(versions)) for component, versions in found.items()]

    async def _trace_all(
        self,
        snapshot: Snapshot,
        component: Digest,
        versions: frozenset[int],
        pieces: asyncio.Queue[tuple[int, int] | None],
    ) -> None:
        """Keeps what is made; `pieces`: how many it was, and up to which event, then None."""
        execution_id, loop = snapshot.state.execution_id, asyncio.get_running_loop()

        def keep(made: list[Backtrace]) -> None:
            self._engine.keep_backtraces(execution_id, made)
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(pieces.put_nowait, (len(made), made[-1].end))

        try:
            with asking():
                replayed = await self._engine.trace_all(snapshot, component, versions, self._engine.now(), keep)
        finally:
            pieces.put_nowait(None)
        problem = _strayed(replayed)
        if problem:
            raise ReplayFailed(f"replay failed: {problem}")

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
    return _strayed(found.replayed)


def _strayed(replayed: Replayed) -> str:
    """Why a replay did not come further; empty when it did."""
    if replayed.divergence is not None:
        return f"nondeterminism detected at version {replayed.divergence.version}:\n{replayed.divergence.detail}"
    if replayed.gave_up:
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
