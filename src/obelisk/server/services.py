"""The services and their rpcs: each reads its request, calls one use case and writes the answer. No rules of their own.

The rpcs that change executions are in `operations`.
"""

# ruff: noqa: N802  (methods are named after their rpcs)

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from obelisk.api.ports import Catalogue
from obelisk.api.service import Service
from obelisk.api.submitting import Submitted
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as pb_grpc
from obelisk.server import events, lines, messages, requests
from obelisk.server.answers import LIST_BYTES_MAX, answering, fitting
from obelisk.server.operations import OperationRpcs

_TRACE_HEADERS: Final = ("traceparent", "tracestate")
_TRACE_LENGTH_MAX: Final = 512
_OUTCOMES: Final = {
    Submitted.CREATED: pb.SubmitResponse.OUTCOME_CREATED,
    Submitted.EXISTS: pb.SubmitResponse.OUTCOME_EXISTS_WITH_SAME_PARAMETERS,
}


class ExecutionRepository(OperationRpcs, pb_grpc.ExecutionRepositoryServicer):
    """Executions."""

    def __init__(self, service: Service, catalogue: Catalogue) -> None:
        OperationRpcs.__init__(self, service, catalogue)
        self._submitting = service.submitting
        self._executions = service.executions
        self._backtraces = service.backtraces
        self._following = service.following
        self._backtraces = service.backtraces
        self._lines = service.lines

    async def GenerateExecutionId(
        self, request: pb.GenerateExecutionIdRequest, context: Any
    ) -> pb.GenerateExecutionIdResponse:
        """A fresh id."""
        async with answering(context):
            return pb.GenerateExecutionIdResponse(execution_id=messages.execution_id(self._submitting.new_id()))

    async def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.SubmitResponse:
        """Creates an execution."""
        async with answering(context):
            execution_id, ffqn, params = requests.submission(request)
            submitted = await self._submitting.submit(
                execution_id, ffqn, params, metadata=_trace_context(context), paused=request.paused
            )
            return pb.SubmitResponse(outcome=_OUTCOMES[submitted])

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> AsyncIterator[pb.GetStatusResponse]:
        """The summary, and what follows it."""
        async with answering(context, streaming=True):
            execution_id = requests.execution_id_in(request)
            wants_result = request.send_finished_status
            if request.follow:
                async with aclosing(self._following.follow(execution_id, with_result=wants_result)) as states:
                    current = await anext(states)
                    yield pb.GetStatusResponse(summary=messages.summary(current))
                    async for current in states:
                        yield pb.GetStatusResponse(current_status=messages.status(current))
            else:
                current = await self._executions.get(execution_id, with_result=wants_result)
                yield pb.GetStatusResponse(summary=messages.summary(current))
            if current.result is not None:
                yield pb.GetStatusResponse(finished_status=messages.finished_status(current.result))

    async def ListExecutions(self, request: pb.ListExecutionsRequest, context: Any) -> pb.ListExecutionsResponse:
        """A page of executions."""
        async with answering(context):
            where, page = requests.executions_filter(request), requests.executions_page(request)
            found = await self._executions.page(where, page, requests.executions_kinds(request))
            if page.newer:  # what does not fit is left off at the far end
                newest_last = fitting(map(messages.summary, reversed(found)))
                return pb.ListExecutionsResponse(executions=reversed(newest_last))
            return pb.ListExecutionsResponse(executions=fitting(map(messages.summary, found)))

    async def ListExecutionEvents(
        self, request: pb.ListExecutionEventsRequest, context: Any
    ) -> pb.ListExecutionEventsResponse:
        """A part of the log."""
        async with answering(context):
            log = await self._executions.log(
                requests.execution_id_in(request),
                request.version_from,
                request.length,
                with_backtraces=request.include_backtrace_id,
            )
            return pb.ListExecutionEventsResponse(
                events=fitting(events.events(log, self._catalogue)), max_version=log.max_version
            )

    async def ListResponses(self, request: pb.ListResponsesRequest, context: Any) -> pb.ListResponsesResponse:
        """A part of the responses."""
        async with answering(context):
            page = await self._executions.responses(
                requests.execution_id_in(request),
                _first(request.cursor_from, including=request.including_cursor),
                request.length,
            )
            found = fitting(messages.response(response, page) for response in page.responses)
            return pb.ListResponsesResponse(responses=found, max_cursor=page.max_seq)

    async def ListExecutionEventsAndResponses(
        self, request: pb.ListExecutionEventsAndResponsesRequest, context: Any
    ) -> pb.ListExecutionEventsAndResponsesResponse:
        """Parts of both, and the state."""
        async with answering(context):
            execution_id = requests.execution_id_in(request)
            log = await self._executions.log(
                execution_id,
                request.version_from,
                request.events_length,
                with_backtraces=request.include_backtrace_id,
            )
            page = await self._executions.responses(
                execution_id,
                _first(request.responses_cursor_from, including=request.responses_including_cursor),
                request.responses_length,
            )
            half = LIST_BYTES_MAX // 2
            return pb.ListExecutionEventsAndResponsesResponse(
                events=fitting(events.events(log, self._catalogue), half),
                responses=fitting((messages.response(response, page) for response in page.responses), half),
                current_status=messages.status(await self._executions.get(execution_id)),
                max_version=log.max_version,
                max_cursor=page.max_seq,
            )

    async def GetBacktrace(self, request: pb.GetBacktraceRequest, context: Any) -> pb.GetBacktraceResponse:
        """Where a workflow was."""
        async with answering(context):
            execution_id = requests.execution_id_in(request)
            found = await self._backtraces.get(execution_id, requests.backtrace_version(request))
            message = pb.GetBacktraceResponse(
                component_id=messages.component_id(found.backtrace.component, found.ffqn, self._catalogue),
                wasm_backtrace=messages.backtrace(found.backtrace),
            )
            if found.recorded_on is not None:
                message.recorded_on.digest = found.recorded_on
            return message

    async def PersistExecutionBacktraces(
        self, request: pb.PersistExecutionBacktracesRequest, context: Any
    ) -> pb.PersistExecutionBacktracesResponse:
        """Where a workflow was at each event."""
        async with answering(context):
            count = await self._backtraces.persist(requests.execution_id_in(request))
            return pb.PersistExecutionBacktracesResponse(persisted_backtrace_count=count)

    async def GetBacktraceSource(
        self, request: pb.GetBacktraceSourceRequest, context: Any
    ) -> pb.GetBacktraceSourceResponse:
        """A source file of a component."""
        async with answering(context):
            requests.require(request, "component_id")
            requests.require(request.component_id, "digest")
            component = requests.digest(request.component_id.digest)
            return pb.GetBacktraceSourceResponse(content=await self._backtraces.source(component, request.file))

    async def ListLogs(self, request: pb.ListLogsRequest, context: Any) -> pb.ListLogsResponse:
        """A page of what was logged."""
        async with answering(context):
            where, page = lines.where_of(request), lines.page_of(request)
            return lines.page(await self._lines.page(where, page), page)


class ExecutionCalls(pb_grpc.ExecutionCallsServicer):
    """Executions as calls."""

    def __init__(self, service: Service) -> None:
        self._calling = service.calling

    async def SubmitAndWait(self, request: pb.SubmitRequest, context: Any) -> pb.SubmitAndWaitResponse:
        """Creates an execution and waits for its end."""
        async with answering(context):
            execution_id, ffqn, params = requests.submission(request)
            submitted, execution = await self._calling.call(
                execution_id, ffqn, params, metadata=_trace_context(context), paused=request.paused
            )
            assert execution.result is not None, "it has finished"
            return pb.SubmitAndWaitResponse(
                outcome=_OUTCOMES[submitted], finished_status=messages.finished_status(execution.result)
            )


class FunctionRepository(pb_grpc.FunctionRepositoryServicer):
    """Functions."""

    def __init__(self, service: Service) -> None:
        self._components = service.components

    async def ListComponents(self, request: pb.ListComponentsRequest, context: Any) -> pb.ListComponentsResponse:
        """Components of the active deployment."""
        async with answering(context):
            found = self._components.list(
                extensions=request.extensions,
                ffqn=requests.ffqn(request.function_name) if request.HasField("function_name") else None,
                digest=requests.digest(request.component_digest) if request.HasField("component_digest") else None,
                deployment=(requests.deployment(request.deployment_id) if request.HasField("deployment_id") else None),
            )
            return pb.ListComponentsResponse(components=map(messages.component, found))

    async def GetWit(self, request: pb.GetWitRequest, context: Any) -> pb.GetWitResponse:
        """The WIT of a component."""
        async with answering(context):
            return pb.GetWitResponse(content=await self._components.wit(requests.digest(request.component_digest)))


class ExecutionChanges(pb_grpc.ExecutionChangesServicer):
    """Change streams."""

    def __init__(self, service: Service) -> None:
        self._backtraces = service.backtraces
        self._following = service.following
        self._lines = service.lines

    async def WatchExecutions(
        self, request: pb.WatchExecutionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchExecutionsResponse]:
        """A tree and its changes."""
        async with (
            answering(context, streaming=True),
            aclosing(self._following.watch(requests.execution_id_in(request))) as changes,
        ):
            async for change in changes:
                yield pb.WatchExecutionsResponse(
                    executions=map(messages.progress, change.progress),
                    snapshot_complete=change.snapshot_complete,
                    sent_at=messages.timestamp(change.at),
                )

    async def FollowLogs(self, request: pb.ListLogsRequest, context: Any) -> AsyncIterator[pb.ListLogsResponse]:
        """What was logged, and what is."""
        async with answering(context, streaming=True):
            where, cursor = lines.where_of(request), lines.page_of(request).cursor
            async with aclosing(self._lines.follow(where, cursor)) as found:
                async for piece in found:
                    for message in lines.pieces(piece):
                        yield message

    async def PersistBacktraces(
        self, request: pb.PersistExecutionBacktracesRequest, context: Any
    ) -> AsyncIterator[pb.PersistBacktracesResponse]:
        """Where a workflow was at each event, and how far that has come."""
        async with (
            answering(context, streaming=True),
            aclosing(self._backtraces.persisting(requests.execution_id_in(request))) as pieces,
        ):
            async for piece in pieces:
                yield pb.PersistBacktracesResponse(
                    persisted_backtrace_count=piece.count,
                    version=piece.version,
                    next_version=piece.end,
                    events_of_gone_components=piece.gone,
                )


def _first(cursor: int, *, including: bool) -> int:
    return cursor if including else cursor + 1


def _trace_context(context: Any) -> dict[str, str]:
    """The caller's W3C trace context, as metadata of the execution."""
    return {
        f"tracing:{key}": value
        for key, value in context.invocation_metadata() or ()
        if key in _TRACE_HEADERS and isinstance(value, str) and len(value) <= _TRACE_LENGTH_MAX
    }
