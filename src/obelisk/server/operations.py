"""The rpcs that change executions: each reads its request, calls one use case and writes the answer.

Decides the form, nothing else; what a client may send back of a replay is the business of `captured`.
"""

# ruff: noqa: N802  (methods are named after their rpcs)

from __future__ import annotations

import logging
from typing import Any, Final

from obelisk.api.errors import ApiError, InvalidArgument, NotAvailable, NotReady
from obelisk.api.operations import Cancelled, DelayCancelled
from obelisk.api.ports import Catalogue
from obelisk.api.replaying import STEPS_MAX
from obelisk.api.service import Service
from obelisk.api.views import Advanced, Mismatch, Replay
from obelisk.core.ids import ExecutionId
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as pb_grpc
from obelisk.server import messages, requests
from obelisk.server.answers import answering, fitting
from obelisk.server.captured import Sent, captured

_log: Final = logging.getLogger(__name__)
_CANCELLED: Final = {
    Cancelled.REQUESTED: pb.CancelExecutionResponse.CANCEL_EXECUTION_OUTCOME_CANCELLATION_REQUESTED,
    Cancelled.FINISHED: pb.CancelExecutionResponse.CANCEL_EXECUTION_OUTCOME_ALREADY_FINISHED,
    Cancelled.CANCELLING: pb.CancelExecutionResponse.CANCEL_EXECUTION_OUTCOME_ALREADY_CANCELLING,
}
_DELAY_CANCELLED: Final = {
    DelayCancelled.CANCELLED: pb.CancelDelayResponse.CANCEL_DELAY_OUTCOME_CANCELLED,
    DelayCancelled.FINISHED: pb.CancelDelayResponse.CANCEL_DELAY_OUTCOME_ALREADY_FINISHED,
}
_NO_DELAYS: Final = "delays cannot be paused in this version; pause the execution that awaits it, which then stands still when it expires"


class OperationRpcs:
    """The part of `ExecutionRepository` that changes executions, and the replay that comes before."""

    def __init__(self, service: Service, catalogue: Catalogue) -> None:
        self._operations = service.operations
        self._replaying = service.replaying
        self._backtraces = service.backtraces
        self._catalogue = catalogue

    async def Stub(self, request: pb.StubRequest, context: Any) -> pb.StubResponse:
        """Gives a result."""
        async with answering(context):
            execution_id = requests.execution_id_in(request)
            if request.execution_failed:
                if request.HasField("return_value"):
                    raise InvalidArgument("`return_value` and `execution_failed` exclude each other; give one of them")
                await self._operations.give_failure(execution_id)
            else:
                requests.require(request, "return_value")
                await self._operations.give_result(execution_id, request.return_value.value)
            return pb.StubResponse()

    async def CancelExecution(self, request: pb.CancelExecutionRequest, context: Any) -> pb.CancelExecutionResponse:
        """Ends an execution."""
        async with answering(context):
            outcome = await self._operations.cancel(requests.execution_id_in(request))
            return pb.CancelExecutionResponse(outcome=_CANCELLED[outcome])

    async def CancelDelay(self, request: pb.CancelDelayRequest, context: Any) -> pb.CancelDelayResponse:
        """Ends a delay."""
        async with answering(context):
            outcome = await self._operations.cancel_delay(requests.delay_id_in(request))
            return pb.CancelDelayResponse(outcome=_DELAY_CANCELLED[outcome])

    async def PauseExecution(self, request: pb.PauseExecutionRequest, context: Any) -> pb.PauseExecutionResponse:
        """Lets it stand still."""
        async with answering(context):
            await self._operations.pause(requests.execution_id_in(request))
            return pb.PauseExecutionResponse()

    async def UnpauseExecution(self, request: pb.UnpauseExecutionRequest, context: Any) -> pb.UnpauseExecutionResponse:
        """Lets it go on."""
        async with answering(context):
            await self._operations.unpause(requests.execution_id_in(request))
            return pb.UnpauseExecutionResponse()

    async def PauseDelay(self, request: pb.PauseDelayRequest, context: Any) -> pb.PauseDelayResponse:
        """Not in this version."""
        async with answering(context):
            raise NotAvailable(_NO_DELAYS)
        raise AssertionError("the call was ended")

    async def UnpauseDelay(self, request: pb.UnpauseDelayRequest, context: Any) -> pb.UnpauseDelayResponse:
        """Not in this version."""
        async with answering(context):
            raise NotAvailable(_NO_DELAYS)
        raise AssertionError("the call was ended")

    # --- what a replay comes before ----------------------------------------------------------------------------------

    async def ReplayExecution(self, request: pb.ReplayExecutionRequest, context: Any) -> pb.ReplayExecutionResponse:
        """What it comes to."""
        async with answering(context):
            replay = await self._replaying.replay(requests.execution_id_in(request))
            return self._replayed(replay)

    def _replayed(self, replay: Replay) -> pb.ReplayExecutionResponse:
        state = replay.snapshot.state
        message = pb.ReplayExecutionResponse(
            component_id=messages.component_id(replay.component, state.ffqn, self._catalogue),
            next_version=replay.next_version,
        )
        writes = fitting(captured(replay, self._catalogue))
        if replay.problem:
            message.replay_failed.error = replay.problem
            message.replay_failed.captured_writes.extend(writes)
        elif replay.is_finished and replay.end is not None:
            function = self._catalogue.function(state.ffqn)
            message.finished.result.CopyFrom(messages.outcome(replay.end, function))
        elif writes:
            message.advanceable.captured_writes.extend(writes)
        else:
            message.blocked.SetInParent()
        return message

    async def AdvanceExecution(self, request: pb.AdvanceExecutionRequest, context: Any) -> pb.AdvanceExecutionResponse:
        """Makes true what a replay showed."""
        async with answering(context):
            execution_id = requests.execution_id_in(request)
            pause_children = request.pause_submitted_executions
            if request.captured_writes:
                sent = Sent(list(request.captured_writes))
                version, answer = sent.version, await self._advance_by(execution_id, sent, pause_children)
            elif request.HasField("expected_version"):
                version = request.expected_version
                answer = _advanced(
                    await self._replaying.advance(execution_id, version, request.steps, pause_children=pause_children)
                )
            else:
                raise NotReady(
                    "`captured_writes` is empty: send a beginning of what ReplayExecution shows, or"
                    " `expected_version` and `steps`"
                )
            if request.persist_backtrace and answer.WhichOneof("result") == "success":
                await self._persist_backtraces(execution_id, version)
            return answer

    async def _persist_backtraces(self, execution_id: ExecutionId, since: int) -> None:
        """Of what was written. Where that is not possible they are made when somebody looks: the execution is advanced anyhow."""
        try:
            await self._backtraces.persist(execution_id, since=since)
        except ApiError as error:
            _log.warning("no backtraces are kept of what %s was advanced by: %s", execution_id, error)

    async def _advance_by(
        self, execution_id: ExecutionId, sent: Sent, pause_children: bool
    ) -> pb.AdvanceExecutionResponse:
        if len(sent) > STEPS_MAX:
            raise InvalidArgument(f"{len(sent)} captured writes are too many at once; send at most {STEPS_MAX}")
        state = await self._replaying.paused(execution_id)
        if sent.version != state.next_version:
            return _advanced(Mismatch(state.next_version))
        replay = await self._replaying.replay(execution_id, steps_max=len(sent), at=sent.at)
        if replay.next_version != sent.version:
            return _advanced(Mismatch(replay.next_version))
        if not sent.agrees_with(list(captured(replay, self._catalogue))):
            message = pb.AdvanceExecutionResponse()
            message.error.replay_mismatch.SetInParent()
            return message
        return _advanced(
            await self._replaying.advance(
                execution_id, sent.version, len(sent), pause_children=pause_children or sent.pause_children
            )
        )

    async def UpgradeExecutionComponent(
        self, request: pb.UpgradeExecutionComponentRequest, context: Any
    ) -> pb.UpgradeExecutionComponentResponse:
        """Moves it to another component."""
        async with answering(context):
            expected, new = request.expected_component_digest, request.new_component_digest
            await self._replaying.upgrade(
                requests.execution_id_in(request),
                expected=requests.digest(expected) if request.HasField("expected_component_digest") else None,
                target=requests.digest(new) if request.HasField("new_component_digest") else None,
                skip_check=request.skip_determinism_check,
            )
            return pb.UpgradeExecutionComponentResponse()


def _advanced(advanced: Advanced | Mismatch) -> pb.AdvanceExecutionResponse:
    message = pb.AdvanceExecutionResponse()
    if isinstance(advanced, Mismatch):
        message.error.version_mismatch.expected = advanced.next_version
        return message
    message.success.SetInParent()
    result = advanced.execution.result
    if result is not None:
        message.success.finished.CopyFrom(messages.outcome(result.final.outcome, result.function))
    return message


class ExecutionRepair(pb_grpc.ExecutionRepairServicer):
    """What to do about executions that cannot go on as they are."""

    def __init__(self, service: Service) -> None:
        self._operations = service.operations
        self._forking = service.forking

    async def ForkExecution(self, request: pb.ForkExecutionRequest, context: Any) -> pb.ForkExecutionResponse:
        """A new execution that goes on from an earlier point."""
        async with answering(context):
            new = "new_execution_id"
            forked = await self._forking.fork(
                requests.execution_id_in(request),
                request.at_version if request.HasField("at_version") else None,
                requests.execution_id_in(request, new) if request.HasField("new_execution_id") else None,
                paused=request.paused,
            )
            outcomes = pb.ForkExecutionResponse
            return pb.ForkExecutionResponse(
                execution_id=messages.execution_id(forked.execution_id),
                at_version=forked.version,
                outcome=outcomes.OUTCOME_CREATED if forked.created else outcomes.OUTCOME_EXISTS,
            )

    async def ResumeExecution(self, request: pb.ResumeExecutionRequest, context: Any) -> pb.ResumeExecutionResponse:
        """Lets a parked execution go on."""
        async with answering(context):
            await self._operations.resume(requests.execution_id_in(request))
            return pb.ResumeExecutionResponse()

    async def FailExecution(self, request: pb.FailExecutionRequest, context: Any) -> pb.FailExecutionResponse:
        """Ends a parked execution."""
        async with answering(context):
            reason = request.reason if request.HasField("reason") else None
            await self._operations.fail(requests.execution_id_in(request), reason)
            return pb.FailExecutionResponse()
