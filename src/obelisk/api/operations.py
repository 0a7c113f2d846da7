"""Operations: what an operator, or whoever has the result of a stub activity, does to an execution.

Decides what is refused before the engine is asked, and what its answer means to the caller. Whether the execution's state
allows it, the engine decides. Of what has ended the engine knows nothing any more: that is read from the store.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from obelisk.api.asking import asking
from obelisk.api.errors import Conflict, InvalidArgument, Moved, NotFound
from obelisk.api.executions import Executions, info_of, no_execution
from obelisk.api.ports import Answer, AnswerKind, Engine, GiveResult
from obelisk.api.reads import Reads
from obelisk.core.batch import (
    CancelDelayRequest,
    CancelRequest,
    FailRequest,
    PauseRequest,
    RequestBody,
    ResumeRequest,
    UnpauseRequest,
)
from obelisk.core.events import DelayRequested, LogEntry, RejectReason
from obelisk.core.ids import DelayId, DelayRef, ExecutionId, is_top_level, split_delay
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection
from obelisk.core.responses import DelayFinished
from obelisk.core.state import ExecutionState, Status
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok, Outcome
from obelisk.wit.outcomes import EXECUTION_FAILED

_PAGE: Final = 1_000


class Cancelled(StrEnum):
    """What became of a cancellation."""

    REQUESTED = "requested"
    """It is durable that the execution is to end; its end follows."""
    FINISHED = "finished"
    """It had ended before."""
    CANCELLING = "cancelling"
    """It was to end already."""


class DelayCancelled(StrEnum):
    """What became of the cancellation of a delay."""

    CANCELLED = "cancelled"
    """It is over, now or since it was cancelled before."""
    FINISHED = "finished"
    """It had expired."""


class Operations:
    """On the event loop's thread. All of it may raise `NotFound`, `InvalidArgument`, `Overloaded`, `Moved` or `Stopping`."""

    def __init__(self, engine: Engine, executions: Executions, reads: Reads) -> None:
        self._engine = engine
        self._executions = executions
        self._reads = reads

    # --- ending ------------------------------------------------------------------------------------------------------

    async def cancel(self, execution_id: ExecutionId) -> Cancelled:
        """Ends an execution, and all that derives from it, as cancelled."""
        answer = await self._ask(execution_id, CancelRequest())
        match answer.kind:
            case AnswerKind.DONE | AnswerKind.REQUESTED:
                return Cancelled.REQUESTED
            case AnswerKind.ALREADY:
                return Cancelled.CANCELLING
            case AnswerKind.FINISHED:
                return Cancelled.FINISHED
            case _:
                raise _refused(answer)

    async def cancel_delay(self, delay_id: DelayId) -> DelayCancelled:
        """Ends a delay before it expires; who awaits it hears that it was cancelled."""
        execution_id, delay = split_delay(delay_id)
        answer = await self._ask(execution_id, CancelDelayRequest(delay))
        match answer.kind:
            case AnswerKind.DONE | AnswerKind.REQUESTED:
                return DelayCancelled.CANCELLED
            case AnswerKind.REFUSED:
                raise _refused(answer)
        ended = await self._reads.run(self._delay_response, execution_id, delay)
        if ended is None:
            if await self._reads.run(self._has_delay, execution_id, delay):
                raise Moved(f"{delay_id} is about to end; look again")
            raise NotFound(f"entity not found: {execution_id} has no delay {delay_id}")
        return DelayCancelled.FINISHED if ended.ok else DelayCancelled.CANCELLED

    def _delay_response(self, execution_id: ExecutionId, delay: DelayRef) -> DelayFinished | None:
        seq = 1
        while True:
            page = self._engine.reader.responses(execution_id, seq, _PAGE)
            for response in page:
                if isinstance(response.body, DelayFinished) and response.body.delay == delay:
                    return response.body
            if len(page) < _PAGE:
                return None
            seq += len(page)

    def _has_delay(self, execution_id: ExecutionId, delay: DelayRef) -> bool:
        version = 0
        while True:
            page: list[LogEntry] = self._engine.reader.events(execution_id, version, _PAGE)
            if any(isinstance(entry.event, DelayRequested) and entry.event.delay == delay for entry in page):
                return True
            if len(page) < _PAGE:
                return False
            version += len(page)

    # --- standing still ----------------------------------------------------------------------------------------------

    async def pause(self, execution_id: ExecutionId) -> None:
        """Lets it stand still: responses are taken in, nothing is run."""
        await self._change(execution_id, PauseRequest(), "pause", "execution is already paused")

    async def unpause(self, execution_id: ExecutionId) -> None:
        """Lets a paused execution go on."""
        await self._change(execution_id, UnpauseRequest(), "unpause", "execution is not paused")

    async def resume(self, execution_id: ExecutionId) -> None:
        """Lets a parked execution go on: what kept it from it is mended."""
        await self._change(execution_id, ResumeRequest(), "resume", "execution is not parked")

    async def fail(self, execution_id: ExecutionId, reason: str | None = None) -> None:
        """Ends a parked execution, and all that derives from it, as a failure."""
        parked = await self._executions.get(execution_id)
        because = parked.parked_reason
        kind = parked.parked_kind or FailureKind.UNCATEGORIZED
        failure = Failure(kind, reason or f"given up: {because}", parked.parked_detail)
        await self._change(execution_id, FailRequest(failure), "fail", "execution is not parked")

    async def _change(self, execution_id: ExecutionId, body: RequestBody, verb: str, already: str) -> None:
        answer = await self._ask(execution_id, body)
        match answer.kind:
            case AnswerKind.DONE | AnswerKind.REQUESTED:
                return
            case AnswerKind.ALREADY:
                raise InvalidArgument(f"cannot {verb}, {already}")
            case AnswerKind.FINISHED:
                raise InvalidArgument(f"cannot {verb}, execution has finished")
            case _:
                raise _refused(answer)

    # --- stub activities ---------------------------------------------------------------------------------------------

    async def give_result(self, execution_id: ExecutionId, result: bytes) -> None:
        """Ends an execution of a stub activity; `result` is `{"ok": …}` or `{"err": …}` in JSON, of the type that its
        function returns. The same again is no error; another one is a `Conflict`.
        """
        info = await self._stub(execution_id)
        typed = self._engine.catalogue.typed_result(info.component, info.ffqn, Json(result))
        if isinstance(typed, Rejection):
            if typed.reason is RejectReason.FUNCTION_NOT_FOUND:
                raise _no_stub(info.ffqn)
            function = self._engine.catalogue.function(info.ffqn)
            returns = "" if function is None else f"; {info.ffqn} returns {function.return_type}"
            raise InvalidArgument(
                f'the result does not fit: {typed.message}{returns}: write {{"ok": …}} or {{"err": …}}'
            )
        answer = await self._ask(execution_id, GiveResult(typed))
        match answer.kind:
            case AnswerKind.DONE | AnswerKind.REQUESTED | AnswerKind.ALREADY:
                return
            case AnswerKind.FINISHED | AnswerKind.CONFLICT:
                await self._reads.run(self._check_same, execution_id, typed)
            case _:
                raise _refused(answer)

    async def give_failure(self, execution_id: ExecutionId) -> None:
        """Ends an execution of a stub activity with the error that callers get of one that failed."""
        info = await self._stub(execution_id)
        payload = "null" if info.err_form is ErrForm.NONE else f'"{EXECUTION_FAILED}"'
        await self.give_result(execution_id, f'{{"err":{payload}}}'.encode())

    async def _stub(self, execution_id: ExecutionId) -> FunctionInfo:
        if is_top_level(execution_id):
            raise InvalidArgument(
                f"{execution_id} is a top-level execution; results are given to those that a workflow called"
            )
        state = await self._state(execution_id)
        info = info_of(self._engine.catalogue, state)
        if info is None or info.kind is not FunctionKind.STUB:
            raise _no_stub(state.ffqn)
        return info

    def _check_same(self, execution_id: ExecutionId, given: Ok | Err) -> None:
        final = self._engine.reader.result(execution_id)
        if final is None:
            raise Moved(f"{execution_id} is about to end; look again")
        if not _equal(final.outcome, given):
            raise Conflict(f"{execution_id} has ended already, with another result: {_shown(final.outcome)}")

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _state(self, execution_id: ExecutionId) -> ExecutionState:
        state = await self._reads.run(self._engine.reader.state, execution_id)
        if state is None:
            raise no_execution(execution_id)
        return state

    async def _ask(self, execution_id: ExecutionId, body: RequestBody | GiveResult) -> Answer:
        """The engine's answer. What has ended is answered from the store: the engine does not know it any more."""
        state = await self._state(execution_id)
        if state.status is Status.FINISHED:
            return Answer(0, AnswerKind.FINISHED)
        with asking():
            answer = await self._engine.operate(execution_id, body)
        if answer.kind is AnswerKind.NOT_FOUND:
            raise no_execution(execution_id)
        if answer.kind is AnswerKind.OUTDATED:
            raise Moved(f"{execution_id} went on meanwhile; look again")
        return answer


def _refused(answer: Answer) -> InvalidArgument:
    return InvalidArgument(answer.message or f"refused: {answer.kind}")


def _no_stub(ffqn: str) -> NotFound:
    return NotFound(f"function not found: {ffqn} is no stub activity that is deployed; only those take results")


def _equal(one: Outcome, other: Ok | Err) -> bool:
    return type(one) is type(other) and not isinstance(one, Failure) and bytes(one.value) == bytes(other.value)


def _shown(outcome: Outcome) -> str:
    match outcome:
        case Ok(value):
            return f"ok {bytes(value).decode()}".rstrip()
        case Err(value):
            return f"err {bytes(value).decode()}".rstrip()
        case Failure(kind, reason):
            return f"{kind}: {reason}" if reason else str(kind)
