"""Executions: submitting them, and reading what became of them.

Decides what a door may ask and what is refused; every answer comes from the store, never from the engine's memory.
Following one that still runs is the business of `following`.
"""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from typing import Final

import msgspec

from obelisk.api.errors import Conflict, InvalidArgument, NotAvailable, NotFound, Overloaded, Stopping
from obelisk.api.ports import Engine, FunctionView, InboxFull, ShuttingDown
from obelisk.api.reads import Reads
from obelisk.api.views import Execution, Log, Responses, Result
from obelisk.core.events import LogEntry, Parked
from obelisk.core.ids import ExecutionId, absolute, is_top_level
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.responses import ChildFinished
from obelisk.core.transitions import ExecutionState, Lifecycle
from obelisk.core.values import Json
from obelisk.engine.effects import AnswerKind
from obelisk.wit.reader import InvalidJson, ValueMismatch

LENGTH_MAX: Final = 65_535
"""The longest list that may be asked for."""
ROWS_MAX: Final = 10_000
"""The longest list that is given; a longer one comes in pages."""


class Submitted(StrEnum):
    """What became of a submission."""

    CREATED = "created"
    EXISTS = "exists"
    """The same had been submitted before; nothing was changed."""


class Executions:
    """Use cases of executions. On the event loop's thread."""

    def __init__(self, engine: Engine, reads: Reads) -> None:
        self._engine = engine
        self._reads = reads

    def new_id(self) -> ExecutionId:
        """A fresh top-level id."""
        return self._engine.new_execution_id()

    async def submit(
        self,
        execution_id: ExecutionId,
        ffqn: FunctionName,
        params: bytes,
        *,
        metadata: dict[str, str] | None = None,
        paused: bool = False,
    ) -> Submitted:
        """Creates an execution with the id that the client chose; `params` is a JSON array.

        Durable when it returns. The same again (id, function, parameters) is no error, so a client that lost the answer
        may repeat it. `InvalidArgument`, `NotFound`, `Conflict`, `NotAvailable`, `Overloaded` or `Stopping`.
        """
        if not is_top_level(execution_id):
            raise InvalidArgument(f"{execution_id} is a derived id; only top-level executions can be submitted")
        if paused:
            raise NotAvailable("an execution cannot be submitted as paused in this version; submit it without")
        canonical = self._check(ffqn, params)
        try:
            answer = await self._engine.submit(execution_id, ffqn, canonical, metadata or {}, None)
        except InboxFull as error:
            raise Overloaded(f"{error}; try again later") from None
        except ShuttingDown:
            raise Stopping from None
        match answer:
            case AnswerKind.CREATED:
                return Submitted.CREATED
            case AnswerKind.FUNCTION_NOT_FOUND:
                raise self._unknown(ffqn)
            case AnswerKind.EXISTS:
                return await self._reads.run(self._same, execution_id, ffqn, canonical)

    def _check(self, ffqn: FunctionName, params: bytes) -> Json:
        catalogue = self._engine.catalogue
        function = catalogue.function(ffqn)
        if function is None or not function.submittable:
            raise self._unknown(ffqn)
        try:
            return catalogue.check_params(ffqn, params)
        except InvalidJson as error:
            raise InvalidArgument(f"params are not JSON: {error}") from None
        except ValueMismatch as error:
            raise InvalidArgument(f"{error}; {ffqn} is {function.signature}") from None

    def _unknown(self, ffqn: FunctionName) -> NotFound:
        known = [
            function.ffqn
            for component in self._engine.catalogue.components()
            for function in component.exports
            if function.submittable
        ]
        near = get_close_matches(ffqn, known, n=1)
        hint = f"; did you mean {near[0]}?" if near and near[0] != ffqn else ""
        return NotFound(f"function not found: no deployed component exports {ffqn}{hint}")

    def _same(self, execution_id: ExecutionId, ffqn: FunctionName, params: Json) -> Submitted:
        created = self._engine.reader.created(execution_id)
        if created is not None and created.ffqn == ffqn and bytes(created.params) == bytes(params):
            return Submitted.EXISTS
        what = "with other parameters" if created is not None and created.ffqn == ffqn else "of another function"
        raise Conflict(f"{execution_id} exists already, as an execution {what}")

    # --- reading -------------------------------------------------------------------------------------------------

    async def get(self, execution_id: ExecutionId, *, with_result: bool = False) -> Execution:
        """The execution as it is now; `with_result`: and how it ended, if it has. `NotFound`."""
        return await self._reads.run(self._read, execution_id, with_result)

    def _read(self, execution_id: ExecutionId, with_result: bool) -> Execution:
        state = self._engine.reader.state(execution_id)
        if state is None:
            raise _no_execution(execution_id)
        execution = self.shown(state)
        if not with_result or not execution.is_finished:
            return execution
        final = self._engine.reader.result(execution_id)
        assert final is not None
        result = Result(final, self._engine.catalogue.function(state.ffqn))
        return msgspec.structs.replace(execution, result=result)

    def shown(self, state: ExecutionState) -> Execution:
        """A state row with what else a list shows; blocks when the execution is parked."""
        reason = ""
        if state.lifecycle is Lifecycle.PARKED:
            last = self._engine.reader.events(state.execution_id, state.next_version - 1, 1)
            if last and isinstance(last[0].event, Parked):
                reason = last[0].event.reason
        return Execution(state, self._kind(state), reason)

    def _kind(self, state: ExecutionState) -> FunctionKind | None:
        components = self._engine.catalogue.components()
        for component in components:
            if component.digest == state.component:
                return component.kind
        # An older version of a component: another one that exports the function now is most likely of the same kind.
        for component in components:
            if any(function.ffqn == state.ffqn for function in component.exports):
                return component.kind
        return None

    async def page(self, where: ExecutionFilter, page: Page) -> list[Execution]:
        """A page of executions, newest first. `InvalidArgument` for one that is too long."""
        _check_length(page.length)
        page = msgspec.structs.replace(page, length=min(page.length, ROWS_MAX))

        def read() -> list[Execution]:
            return [self.shown(state) for state in self._engine.reader.executions(where, page, self._engine.now())]

        return await self._reads.run(read)

    async def log(self, execution_id: ExecutionId, version_from: int, length: int) -> Log:
        """Log entries from `version_from` on, ascending. `NotFound` or `InvalidArgument`."""
        _check_length(length)

        def read() -> Log:
            reader = self._engine.reader
            entries: list[LogEntry] = reader.events(execution_id, version_from, min(length, ROWS_MAX))
            created, state = reader.created(execution_id), reader.state(execution_id)
            if created is None or state is None:
                raise _no_execution(execution_id)
            return Log(execution_id, created, entries, state.next_version - 1)

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


def _no_execution(execution_id: ExecutionId) -> NotFound:
    return NotFound(f"entity not found: there is no execution {execution_id}")


def _check_length(length: int) -> None:
    if length > LENGTH_MAX:
        raise InvalidArgument(f"a list of {length} is too long; ask for at most {LENGTH_MAX} and for the rest later")
