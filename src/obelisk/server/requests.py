"""Requests as they come over the wire, read and checked.

Decides what of a request makes sense at all; whether it can be done is the use case's business. Raises `InvalidArgument`.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from obelisk.api.errors import InvalidArgument
from obelisk.core.ids import (
    DelayId,
    DeploymentId,
    Digest,
    ExecutionId,
    InvalidId,
    parse_delay_id,
    parse_digest,
    parse_execution_id,
)
from obelisk.core.instants import SECOND_US, Instant
from obelisk.core.names import FunctionName, InvalidName, function_name
from obelisk.core.ports import FunctionKind
from obelisk.core.reading import ExecutionFilter, Page, StateFilter
from obelisk.core.tracing import FIRST, LAST
from obelisk.proto import obelisk_pb2 as pb

PAGE_LENGTH: Final = 20
"""Of a list of executions whose request says nothing."""

_SECONDS_MIN: Final = -62_135_596_800
_SECONDS_MAX: Final = 253_402_300_799
"""The years 1 to 9999: what a `Timestamp` may be."""

_Filter = pb.ListExecutionsRequest
_STATES: Final = {
    _Filter.EXECUTION_STATE_FILTER_LOCKED: StateFilter.LOCKED,
    _Filter.EXECUTION_STATE_FILTER_PENDING: StateFilter.PENDING,
    _Filter.EXECUTION_STATE_FILTER_SCHEDULED: StateFilter.SCHEDULED,
    _Filter.EXECUTION_STATE_FILTER_BLOCKED: StateFilter.BLOCKED,
    _Filter.EXECUTION_STATE_FILTER_FINISHED: StateFilter.FINISHED,
    _Filter.EXECUTION_STATE_FILTER_FINISHED_OK: StateFilter.FINISHED_OK,
    _Filter.EXECUTION_STATE_FILTER_FINISHED_ERROR: StateFilter.FINISHED_ERR,
    _Filter.EXECUTION_STATE_FILTER_FINISHED_EXECUTION_FAILURE: StateFilter.FINISHED_FAILURE,
    _Filter.EXECUTION_STATE_FILTER_PAUSED: StateFilter.PAUSED,
    _Filter.EXECUTION_STATE_FILTER_CANCELLING: StateFilter.CANCELLING,
    _Filter.EXECUTION_STATE_FILTER_PARKED: StateFilter.PARKED,
}
_KINDS: Final = {
    pb.COMPONENT_TYPE_WORKFLOW: FunctionKind.WORKFLOW,
    pb.COMPONENT_TYPE_ACTIVITY: FunctionKind.ACTIVITY,
    pb.COMPONENT_TYPE_ACTIVITY_STUB: FunctionKind.STUB,
}


def require(request: Message, field: str) -> None:
    """Refuses a request in which `field` is not set."""
    if not request.HasField(field):
        raise InvalidArgument(f"argument `{field}` must exist")


def execution_id_in(request: Message, field: str = "execution_id") -> ExecutionId:
    """The execution id that the request must have."""
    require(request, field)
    return execution_id(getattr(request, field))


def execution_id(message: pb.ExecutionId) -> ExecutionId:
    """An execution id."""
    try:
        return parse_execution_id(message.id)
    except InvalidId as error:
        raise InvalidArgument(str(error)) from None


def delay_id_in(request: Message) -> DelayId:
    """The delay id that the request must have."""
    require(request, "delay_id")
    try:
        return parse_delay_id(getattr(request, "delay_id").id)  # noqa: B009 - of several types that have it
    except InvalidId as error:
        raise InvalidArgument(str(error)) from None


def ffqn(message: pb.FunctionName) -> FunctionName:
    """A function's name."""
    try:
        return function_name(message.interface_name, message.function_name)
    except InvalidName as error:
        raise InvalidArgument(str(error)) from None


def submission(request: pb.SubmitRequest) -> tuple[ExecutionId, FunctionName, bytes]:
    """What is to be submitted: an id, a function, parameters."""
    chosen = execution_id_in(request)
    require(request, "function_name")
    require(request, "params")
    return chosen, ffqn(request.function_name), request.params.value


def digest(message: pb.ContentDigest) -> Digest:
    """A content digest."""
    try:
        return parse_digest(message.digest)
    except InvalidId as error:
        raise InvalidArgument(str(error)) from None


def deployment(message: pb.DeploymentId) -> DeploymentId:
    """A deployment's id."""
    if not message.id.startswith("Dep_"):
        raise InvalidArgument(f"{message.id!r} is not a deployment id; expected Dep_ and a ULID")
    return DeploymentId(message.id)


def backtrace_version(request: pb.GetBacktraceRequest) -> int:
    """Which backtrace is asked for."""
    match request.WhichOneof("filter"):
        case "specific":
            return request.specific.version
        case "last":
            return LAST
        case _:
            return FIRST


def instant(message: Timestamp) -> Instant:
    """A point in time; nanoseconds are cut off."""
    if not _SECONDS_MIN <= message.seconds <= _SECONDS_MAX or not 0 <= message.nanos < 1_000_000_000:
        raise InvalidArgument(
            f"{message.seconds} seconds and {message.nanos} nanoseconds since 1970 are not a timestamp;"
            " expected one of the years 1 to 9999, and nanoseconds below a second"
        )
    return Instant(message.seconds * SECOND_US + message.nanos // 1_000)


def executions_filter(request: pb.ListExecutionsRequest) -> ExecutionFilter:
    """The conditions of a list of executions."""
    return ExecutionFilter(
        top_level_only=request.top_level_only,
        id_prefix=request.execution_id_prefix or None,
        ffqn_prefix=_ffqn_prefix(request),
        hide_finished=request.hide_finished,
        states=tuple(_STATES[state] for state in request.state_filters if state in _STATES),
        components=(digest(request.component_digest),) if request.HasField("component_digest") else (),
        deployment=deployment(request.deployment_id) if request.HasField("deployment_id") else None,
    )


def executions_kinds(request: pb.ListExecutionsRequest) -> tuple[FunctionKind, ...]:
    """Kinds of components; none: all."""
    known = set(request.component_type_filters)
    if not known <= _KINDS.keys():
        names = ", ".join(map(pb.ComponentType.Name, _KINDS))
        raise InvalidArgument(f"`component_type_filters` has {sorted(known - _KINDS.keys())}; expected any of {names}")
    return tuple(_KINDS[kind] for kind in sorted(known))


def _ffqn_prefix(request: pb.ListExecutionsRequest) -> str | None:
    if not request.HasField("function_filter"):
        return request.function_name_prefix or None
    scope = request.function_filter
    match scope.WhichOneof("scope"):
        case "package_name":
            return f"{scope.package_name}/"
        case "interface_name":
            return f"{scope.interface_name}."
        case "function_name":
            return scope.function_name
        case None:
            raise InvalidArgument("argument `function_filter.scope` must exist")


def executions_page(request: pb.ListExecutionsRequest) -> Page:
    """Which part of the list is asked for."""
    match request.WhichOneof("pagination"):
        case "newer_than":
            asked: pb.ListExecutionsRequest.NewerThan | pb.ListExecutionsRequest.OlderThan = request.newer_than
            newer = True
        case "older_than":
            asked, newer = request.older_than, False
        case None:
            return Page(length=PAGE_LENGTH)
    cursor: tuple[Instant, None] | ExecutionId | None = None
    match asked.cursor.WhichOneof("cursor"):
        case "execution_id":
            cursor = execution_id(asked.cursor.execution_id)
        case "created_at":
            cursor = (instant(asked.cursor.created_at), None)
        case None:
            pass
    return Page(length=asked.length, cursor=cursor, newer=newer, including_cursor=asked.including_cursor)
