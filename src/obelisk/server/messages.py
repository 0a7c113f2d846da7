"""Protobuf messages from the core's data: the one place that knows both.

Decides how each thing is written on the wire, nothing else. Payloads go into `Any` as JSON text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from obelisk.api.ports import Catalogue, ComponentView, FunctionView
from obelisk.api.views import Execution, Progress, Responses, Result
from obelisk.core.backtraces import Backtrace, Symbol
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import (
    DelayRef,
    DeploymentId,
    Digest,
    ExecutionId,
    JoinSetId,
    absolute,
    absolute_delay,
)
from obelisk.core.instants import SECOND_US, Instant
from obelisk.core.names import FunctionName, function_of, interface_of
from obelisk.core.ports import FunctionKind
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.state import Lifecycle, Status
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok, Outcome
from obelisk.proto import obelisk_pb2 as pb
from obelisk.wit.extensions import ExtensionKind

RETURN_VALUE_URL: Final = "urn:obelisk:json:retval:TBD"
_OK_OF_NOTHING: Final = pb.SupportedFunctionResult.OkPayload()
_ERROR_OF_NOTHING: Final = pb.SupportedFunctionResult.ErrorPayload()

_JOIN_SET_KINDS: Final = {
    "o": pb.JoinSetId.JOIN_SET_KIND_ONE_OFF,
    "n": pb.JoinSetId.JOIN_SET_KIND_NAMED,
    "g": pb.JoinSetId.JOIN_SET_KIND_GENERATED,
}
_COMPONENT_TYPES: Final = {
    None: pb.COMPONENT_TYPE_UNSPECIFIED,
    FunctionKind.WORKFLOW: pb.COMPONENT_TYPE_WORKFLOW,
    FunctionKind.ACTIVITY: pb.COMPONENT_TYPE_ACTIVITY,
    FunctionKind.STUB: pb.COMPONENT_TYPE_ACTIVITY_STUB,
}
_FAILURE_KINDS: Final = {
    FailureKind.TIMED_OUT: pb.EXECUTION_FAILURE_KIND_TIMED_OUT,
    FailureKind.NONDETERMINISM_DETECTED: pb.EXECUTION_FAILURE_KIND_NONDETERMINISM_DETECTED,
    FailureKind.OUT_OF_FUEL: pb.EXECUTION_FAILURE_KIND_OUT_OF_FUEL,
    FailureKind.CANCELLED: pb.EXECUTION_FAILURE_KIND_CANCELLED,
    FailureKind.UNCATEGORIZED: pb.EXECUTION_FAILURE_KIND_UNCATEGORIZED,
}
_EXTENSIONS: Final = {
    ExtensionKind.SUBMIT: pb.FUNCTION_EXTENSION_SUBMIT,
    ExtensionKind.AWAIT_NEXT: pb.FUNCTION_EXTENSION_AWAIT_NEXT,
    ExtensionKind.GET: pb.FUNCTION_EXTENSION_GET,
    ExtensionKind.INVOKE: pb.FUNCTION_EXTENSION_INVOKE,
    ExtensionKind.SCHEDULE: pb.FUNCTION_EXTENSION_SCHEDULE,
    ExtensionKind.STUB: pb.FUNCTION_EXTENSION_STUB,
}


# --- small things ----------------------------------------------------------------------------------------------------


def timestamp(at: Instant) -> Timestamp:
    """An instant."""
    return Timestamp(seconds=at // SECOND_US, nanos=at % SECOND_US * 1_000)


def duration(us: int) -> Duration:
    """Microseconds; none is negative here."""
    return Duration(seconds=us // SECOND_US, nanos=us % SECOND_US * 1_000)


def json_any(value: Json, type_url: str) -> Any:
    """JSON text, told apart by `type_url`."""
    return Any(type_url=type_url, value=bytes(value))


def execution_id(value: ExecutionId) -> pb.ExecutionId:
    """The id as a message."""
    return pb.ExecutionId(id=value)


def function_name(ffqn: FunctionName) -> pb.FunctionName:
    """Interface and function apart."""
    return pb.FunctionName(interface_name=interface_of(ffqn), function_name=function_of(ffqn))


def join_set(value: JoinSetId) -> pb.JoinSetId:
    """Kind and bare name: `o:1-fibo` is one-off `1-fibo`."""
    kind, _, name = value.partition(":")
    return pb.JoinSetId(kind=_JOIN_SET_KINDS[kind], name=name)


def delay_id(of: ExecutionId, delay: DelayRef) -> pb.DelayId:
    """The absolute id of a delay."""
    return pb.DelayId(id=absolute_delay(of, delay))


def digest(value: Digest) -> pb.ContentDigest:
    """A digest as a message."""
    return pb.ContentDigest(digest=value)


def deployment(value: DeploymentId) -> pb.DeploymentId:
    """A deployment's id as a message."""
    return pb.DeploymentId(id=value)


def component_id(of: Digest, ffqn: FunctionName, catalogue: Catalogue) -> pb.ComponentId:
    """The component with that digest; without a name when it is not deployed any more."""
    components = catalogue.components()
    for component in components:
        if component.digest == of:
            return deployed_component_id(component)
    kind = next((one.kind for one in components if any(view.ffqn == ffqn for view in one.exports)), None)
    return pb.ComponentId(component_type=_COMPONENT_TYPES[kind], digest=digest(of))


def deployed_component_id(component: ComponentView) -> pb.ComponentId:
    """Type, name and digest of a deployed component."""
    return pb.ComponentId(
        component_type=_COMPONENT_TYPES[component.kind],
        name=component.name,
        digest=digest(component.digest),
        is_program=component.program is not None,
    )


def backtrace(of: Backtrace) -> pb.WasmBacktrace:
    """A stack, the innermost frame first."""
    return pb.WasmBacktrace(
        frames=[
            pb.FrameInfo(module=frame.module, func_name=frame.func_name, symbols=map(_symbol, frame.symbols))
            for frame in of.frames
        ],
        version_min_including=of.first,
        version_max_excluding=of.end,
    )


def _symbol(of: Symbol) -> pb.FrameSymbol:
    return pb.FrameSymbol(func_name=of.func_name, file=of.file, line=of.line, col=of.col)


# --- states ----------------------------------------------------------------------------------------------------------


def status(execution: Execution) -> pb.ExecutionStatus:
    """What the execution is doing. Being parked, paused or cancelled hides the rest."""
    state = execution.state
    message = pb.ExecutionStatus(component_digest=digest(state.component))
    match state.status, state.lifecycle:
        case Status.FINISHED, _:
            assert state.finished_at is not None
            message.finished.finished_at.CopyFrom(timestamp(state.finished_at))
            message.finished.result_kind.CopyFrom(result_kind(state.finish_kind or ""))
        case _, Lifecycle.PARKED:
            message.parked.SetInParent()
            if execution.parked_reason:
                message.parked.reason = execution.parked_reason
            if execution.parked_detail:
                message.parked.detail = execution.parked_detail
        case _, Lifecycle.PAUSED:
            message.paused.SetInParent()
        case _, Lifecycle.CANCELLING:
            message.cancelling.SetInParent()
        case Status.PENDING, _:
            message.pending_at.scheduled_at.CopyFrom(timestamp(state.pending_at))
        case Status.LOCKED, _:
            message.locked.run_id.id = state.run or ""
            message.locked.lock_expires_at.CopyFrom(timestamp(state.lock_expires_at))
        case Status.BLOCKED, _:
            assert state.blocked_on is not None
            message.blocked_by_join_set.join_set_id.CopyFrom(join_set(state.blocked_on))
            message.blocked_by_join_set.lock_expires_at.CopyFrom(timestamp(state.lock_expires_at))
            message.blocked_by_join_set.closing = state.closing
    return message


def result_kind(finish_kind: str) -> pb.ResultKind:
    """`ok`, `err`, or the kind of a failure."""
    match finish_kind:
        case "ok":
            return pb.ResultKind(ok=pb.ResultKind.Ok())
        case "err":
            return pb.ResultKind(error=pb.ResultKind.Error())
        case _:
            return pb.ResultKind(execution_failure_kind=_FAILURE_KINDS[FailureKind(finish_kind)])


def summary(execution: Execution) -> pb.ExecutionSummary:
    """A row of a list."""
    state = execution.state
    return pb.ExecutionSummary(
        execution_id=execution_id(state.execution_id),
        function_name=function_name(state.ffqn),
        current_status=status(execution),
        created_at=timestamp(state.created_at),
        first_scheduled_at=timestamp(state.first_scheduled_at),
        component_digest=digest(state.component),
        deployment_id=deployment(state.deployment),
        component_type=_COMPONENT_TYPES[execution.kind],
        is_program=execution.is_program,
    )


def progress(of: Progress) -> pb.ExecutionProgress:
    """An execution of a watched tree."""
    state = of.execution.state
    return pb.ExecutionProgress(
        summary=summary(of.execution),
        first_started_at=None if of.first_started_at is None else timestamp(of.first_started_at),
        finished_at=None if state.finished_at is None else timestamp(state.finished_at),
        failures=state.failures,
    )


def outcome(of: Outcome, function: FunctionView | None) -> pb.SupportedFunctionResult:
    """How an execution ended; `function` says the types of payloads."""
    match of:
        case Ok(value):
            if not value:
                return pb.SupportedFunctionResult(ok=_OK_OF_NOTHING)
            return pb.SupportedFunctionResult(
                ok=pb.SupportedFunctionResult.OkPayload(return_value=json_any(value, RETURN_VALUE_URL)),
                wit_type_inline=None if function is None else function.ok_type,
            )
        case Err(value):
            if not value:
                return pb.SupportedFunctionResult(error=_ERROR_OF_NOTHING)
            return pb.SupportedFunctionResult(
                error=pb.SupportedFunctionResult.ErrorPayload(return_value=json_any(value, RETURN_VALUE_URL)),
                wit_type_inline=None if function is None else function.err_type,
            )
        case Failure():
            return pb.SupportedFunctionResult(execution_failure=failure(of))


def failure(of: Failure) -> pb.SupportedFunctionResult.ExecutionFailure:
    """Why the platform ended an execution."""
    return pb.SupportedFunctionResult.ExecutionFailure(
        kind=_FAILURE_KINDS[of.kind], reason=of.reason or None, detail=of.detail or None
    )


def finished_status(result: Result) -> pb.FinishedStatus:
    """How an execution ended, with its times."""
    final = result.final
    return pb.FinishedStatus(
        created_at=timestamp(final.created_at),
        scheduled_at=timestamp(final.scheduled_at),
        finished_at=timestamp(final.finished_at),
        value=outcome(final.outcome, result.function),
    )


# --- responses -------------------------------------------------------------------------------------------------------


def response(of: Response, page: Responses) -> pb.ResponseWithCursor:
    """One of the responses of `page`."""
    event = pb.JoinSetResponseEvent(created_at=timestamp(of.created_at), join_set_id=join_set(of.join_set))
    match of.body:
        case ChildFinished(child, _, result):
            child_id = absolute(page.execution_id, child)
            event.child_execution_finished.child_execution_id.id = child_id
            event.child_execution_finished.value.CopyFrom(outcome(result, page.functions.get(child_id)))
        case DelayFinished(delay, ok):
            event.delay_finished.delay_id.CopyFrom(delay_id(page.execution_id, delay))
            event.delay_finished.success = ok
    return pb.ResponseWithCursor(event=event, cursor=of.seq)


# --- components ------------------------------------------------------------------------------------------------------


def component(of: ComponentView) -> pb.Component:
    """A deployed component with its functions."""
    message = pb.Component(
        component_id=deployed_component_id(of),
        exports=map(function_detail, of.exports),
        imports=map(function_detail, of.imports),
    )
    if of.program is not None:
        message.program_digest.CopyFrom(digest(of.program))
    return message


def function_detail(of: FunctionView) -> pb.FunctionDetail:
    """A function with its types as texts."""
    message = pb.FunctionDetail(
        function_name=function_name(of.ffqn),
        params=[pb.FunctionParameter(type=wit_type(text), name=name) for name, text in of.params],
        submittable=of.submittable,
    )
    if of.return_type is not None:
        message.return_type.CopyFrom(wit_type(of.return_type))
    if of.extension is not None:
        message.extension = _EXTENSIONS[of.extension]
    return message


def wit_type(text: str) -> pb.WitType:
    """A type; all three texts are the same."""
    return pb.WitType(wit_type=text, type_wrapper=text, wit_type_inline=text)


def http_traces(traces: Iterable[HttpTrace]) -> list[pb.HttpClientTrace]:
    """Requests of an attempt. With an error there is no status: one that failed while its body came has both."""
    messages = []
    for trace in traces:
        message = pb.HttpClientTrace(sent_at=timestamp(trace.sent_at), uri=trace.uri, method=trace.method)
        if trace.finished_at is not None:
            message.finished_at.CopyFrom(timestamp(trace.finished_at))
        if trace.error is not None:
            message.error = trace.error if trace.status is None else f"status {trace.status}, then {trace.error}"
        elif trace.status is not None:
            message.status = trace.status
        messages.append(message)
    return messages
