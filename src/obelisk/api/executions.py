"""Executions: reading what became of them.

Decides what a door may ask; every answer comes from the store, never from the engine's memory. Following one that still
runs is the business of `following`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.api.errors import InvalidArgument, NotFound
from obelisk.api.ports import Catalogue, Engine, FunctionView
from obelisk.api.reads import Reads
from obelisk.api.views import Execution, Log, Responses, Result
from obelisk.core.events import LogEntry, Parked
from obelisk.core.ids import ExecutionId, absolute
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.core.reading import Change, ExecutionFilter, FinalResult, Page
from obelisk.core.responses import ChildFinished
from obelisk.core.state import ExecutionState, Lifecycle

LENGTH_MAX: Final = 65_535
"""The longest list that may be asked for."""
ROWS_MAX: Final = 10_000
"""The longest list that is given; a longer one comes in pages."""
_LAST: Final = 4
"""The last events of a parked execution, among which is why it was."""


class Executions:
    """Use cases of executions. On the event loop's thread."""

    def __init__(self, engine: Engine, reads: Reads) -> None:
        self._engine = engine
        self._reads = reads

    async def get(self, execution_id: ExecutionId, *, with_result: bool = False) -> Execution:
        """The execution as it is now; `with_result`: and how it ended, if it has. `NotFound`."""
        return await self._reads.run(self._read, execution_id, with_result)

    def _read(self, execution_id: ExecutionId, with_result: bool) -> Execution:
        state = self._engine.reader.state(execution_id)
        if state is None:
            raise no_execution(execution_id)
        execution = self.shown(state)
        if not with_result or not execution.is_finished:
            return execution
        final = self._engine.reader.result(execution_id)
        assert final is not None
        return self._with(final, execution)

    def told(self, change: Change, *, with_result: bool = False) -> Execution | None:
        """The same of a row that was just committed, without a look at the store; None when it takes one."""
        state = change.state
        if state.lifecycle is Lifecycle.PARKED:  # why it is, is in its log
            return None
        execution = self.shown(state)
        if not with_result or not execution.is_finished:
            return execution
        final = change.final
        return None if final is None else self._with(final, execution)

    def _with(self, final: FinalResult, execution: Execution) -> Execution:
        function = self._engine.catalogue.function(execution.state.ffqn)
        return msgspec.structs.replace(execution, result=Result(final, function))

    def shown(self, state: ExecutionState) -> Execution:
        """A state row with what else a list shows; blocks when the execution is parked."""
        info = info_of(self._engine.catalogue, state)
        execution = Execution(state, None) if info is None else Execution(state, info.kind, info.is_program)
        if state.lifecycle is not Lifecycle.PARKED:
            return execution
        for entry in reversed(
            self._engine.reader.events(state.execution_id, max(0, state.next_version - _LAST), _LAST)
        ):
            if isinstance(entry.event, Parked):
                why = entry.event
                return msgspec.structs.replace(
                    execution, parked_reason=why.reason, parked_detail=why.detail, parked_kind=why.kind
                )
        return execution

    async def page(self, where: ExecutionFilter, page: Page, kinds: tuple[FunctionKind, ...] = ()) -> list[Execution]:
        """A page of executions, newest first; `kinds`: only those of components of one of these kinds, as far as they are
        loaded. `InvalidArgument` for a page that is too long.
        """
        _check_length(page.length)
        page = msgspec.structs.replace(page, length=min(page.length, ROWS_MAX))
        if kinds:
            of_kinds = {digest for kind in kinds for digest in self._engine.catalogue.digests_of(kind)}
            components = tuple(sorted(of_kinds.intersection(where.components) if where.components else of_kinds))
            if not components:
                return []
            where = msgspec.structs.replace(where, components=components)

        def read() -> list[Execution]:
            return [self.shown(state) for state in self._engine.reader.executions(where, page, self._engine.now())]

        return await self._reads.run(read)

    async def log(
        self, execution_id: ExecutionId, version_from: int, length: int, *, with_backtraces: bool = False
    ) -> Log:
        """Log entries from `version_from` on, ascending. `NotFound` or `InvalidArgument`."""
        _check_length(length)

        def read() -> Log:
            reader = self._engine.reader
            entries: list[LogEntry] = reader.events(execution_id, version_from, min(length, ROWS_MAX))
            created, state = reader.created(execution_id), reader.state(execution_id)
            if created is None or state is None:
                raise no_execution(execution_id)
            kept: list[tuple[int, int]] = []
            if with_backtraces and entries:
                kept = reader.backtraces(execution_id, entries[0].version, entries[-1].version + 1)
            return Log(execution_id, created, entries, state.next_version - 1, kept)

        return await self._reads.run(read)

    async def responses(self, execution_id: ExecutionId, seq_from: int, length: int) -> Responses:
        """Responses with seq >= `seq_from`, ascending; none for an unknown execution. `InvalidArgument`."""
        _check_length(length)

        def read() -> Responses:
            reader = self._engine.reader
            responses = reader.responses(execution_id, seq_from, min(length, ROWS_MAX))
            children = [
                absolute(execution_id, response.body.child)
                for response in responses
                if isinstance(response.body, ChildFinished)
            ]
            functions: dict[ExecutionId, FunctionView] = {}
            for child in reader.states(children):
                function = self._engine.catalogue.function(child.ffqn)
                if function is not None:
                    functions[child.execution_id] = function
            state = reader.state(execution_id)
            return Responses(execution_id, responses, functions, 0 if state is None else state.response_count)

        return await self._reads.run(read)


def info_of(catalogue: Catalogue, state: ExecutionState) -> FunctionInfo | None:
    """The function of an execution, on its own component; when that is not loaded any more, on the one that exports it
    now, which is most likely of the same kind.
    """
    return catalogue.pinned(state.component, state.ffqn) or catalogue.active(state.ffqn)


def no_execution(execution_id: ExecutionId) -> NotFound:
    """The refusal of an id that belongs to nobody."""
    return NotFound(f"entity not found: there is no execution {execution_id}")


def _check_length(length: int) -> None:
    if length > LENGTH_MAX:
        raise InvalidArgument(f"a list of {length} is too long; ask for at most {LENGTH_MAX} and for the rest later")
