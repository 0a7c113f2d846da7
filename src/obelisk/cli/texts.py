"""What the server tells, as lines of text."""

from __future__ import annotations

import typing
from typing import Final

from google.protobuf.any_pb2 import Any

from obelisk.proto import obelisk_pb2 as pb

NO_VALUE: Final = "(no return value)"
_KINDS: Final = {
    pb.JoinSetId.JOIN_SET_KIND_ONE_OFF: "o",
    pb.JoinSetId.JOIN_SET_KIND_NAMED: "n",
    pb.JoinSetId.JOIN_SET_KIND_GENERATED: "g",
}


def join_set(of: pb.JoinSetId) -> str:
    """`o:1-fibo`."""
    return f"{_KINDS.get(of.kind, '?')}:{of.name}"


def ffqn(of: pb.FunctionName) -> str:
    """`ns:pkg/ifc.fn`."""
    return f"{of.interface_name}.{of.function_name}"


def json_text(of: Any) -> str:
    """A value as it came."""
    return of.value.decode("utf-8", "replace")


def failure_kind(kind: pb.ExecutionFailureKind.ValueType) -> str:
    """`timed_out`."""
    try:
        name = pb.ExecutionFailureKind.Name(kind)
    except ValueError:
        return f"kind {kind}"
    return name.removeprefix("EXECUTION_FAILURE_KIND_").lower()


def status(of: pb.ExecutionStatus) -> str:
    """One line."""
    match of.WhichOneof("status"):
        case "pending_at":
            return f"Pending at {of.pending_at.scheduled_at.ToJsonString()}"
        case "locked":
            return "Locked"
        case "blocked_by_join_set":
            blocked = of.blocked_by_join_set
            return f"BlockedByJoinSet {join_set(blocked.join_set_id)}{' (closing)' if blocked.closing else ''}"
        case "paused":
            return "Paused"
        case "cancelling":
            return "Cancelling"
        case "parked":
            return f"Parked: {of.parked.reason}" if of.parked.reason else "Parked"
        case "finished":
            return f"Finished: {result_kind(of.finished.result_kind)}"
        case None:
            return "Unknown"


def parked_detail(of: pb.ExecutionStatus) -> str:
    """What else there is to say about a parked execution, below its line: how its log and a replay of it differ."""
    return indented(of.parked.detail)


def indented(text: str) -> str:
    """Lines that belong to the one above."""
    return "".join(f"\n    {line}" for line in text.splitlines())


def result_kind(of: pb.ResultKind) -> str:
    """`OK`, `Error`, `Execution failure (timed_out)`."""
    match of.WhichOneof("value"):
        case "ok":
            return "OK"
        case "error":
            return "Error"
        case _:
            return f"Execution failure ({failure_kind(of.execution_failure_kind)})"


def result(of: pb.SupportedFunctionResult) -> str:
    """`OK: 55`; a failure may have a second line with details."""
    match of.WhichOneof("value"):
        case "ok":
            return f"OK: {json_text(of.ok.return_value) or NO_VALUE}"
        case "error":
            return f"Error: {json_text(of.error.return_value) or NO_VALUE}"
        case _:
            failure = of.execution_failure
            line = f"Execution failure ({failure_kind(failure.kind)})"
            if failure.reason:
                line += f": `{failure.reason}`"
            return f"{line}\ndetail: {failure.detail}" if failure.detail else line


def seconds(us: int) -> str:
    """`1.234s`."""
    return f"{us / 1e6:.3f}s"


def summary(of: pb.ExecutionSummary) -> str:
    """A row of a list."""
    return (
        f"{of.execution_id.id} `{status(of.current_status)}` {ffqn(of.function_name)}"
        f" `{of.first_scheduled_at.ToJsonString()}`"
    )


def event(of: pb.ExecutionEvent) -> str:
    """A row of a log, and one for each HTTP request of an attempt that ended with it."""
    row = f"{of.version} `{of.created_at.ToJsonString()}` {_event(of)}"
    ending = getattr(of, of.WhichOneof("event") or "", None)
    return "\n".join([row, *map(_http_trace, getattr(ending, "http_client_traces", ()))])


def _http_trace(of: pb.HttpClientTrace) -> str:
    match of.WhichOneof("result"):
        case "status":
            result = str(of.status)
        case "error":
            result = of.error.replace("\n", "\n      ")
        case _:
            result = "no response"
    took_us = (of.finished_at.ToNanoseconds() - of.sent_at.ToNanoseconds()) // 1000
    took = f" in {seconds(took_us)}" if of.HasField("finished_at") else ""
    return f"    `{of.sent_at.ToJsonString()}` {of.method} {of.uri}{took}: {result}"


def _event(of: pb.ExecutionEvent) -> str:
    match of.WhichOneof("event"):
        case "created":
            return f"Created({ffqn(of.created.function_name)}, `{json_text(of.created.params)}`)"
        case "locked":
            return f"Locked({of.locked.run_id}, until `{of.locked.lock_expires_at.ToJsonString()}`)"
        case "unlocked":
            return f"Unlocked({of.unlocked.reason}, until `{of.unlocked.backoff_expires_at.ToJsonString()}`)"
        case "temporarily_failed":
            failed = of.temporarily_failed
            return f"TemporarilyFailed({failed.reason}, until `{failed.backoff_expires_at.ToJsonString()}`)"
        case "temporarily_timed_out":
            return f"TemporarilyTimedOut(until `{of.temporarily_timed_out.backoff_expires_at.ToJsonString()}`)"
        case "finished":
            return f"Finished({result(of.finished.value).splitlines()[0]})"
        case "parked":
            return f"Parked({of.parked.reason})"
        case "cancellation_requested":
            requested = of.cancellation_requested
            return (
                f"CancellationRequested({_failure(requested.failure)})" if requested.HasField("failure") else _name(of)
            )
        case "component_upgrade_finished":
            upgraded = of.component_upgrade_finished
            forced = ", without a check" if upgraded.success.manual.force else ""
            return f"ComponentUpgradeFinished({upgraded.component_digest.digest}{forced})"
        case "history_variant":
            return _history(of.history_variant)
        case _:
            return _name(of)


def _name(of: pb.ExecutionEvent | pb.ExecutionEvent.HistoryEvent) -> str:
    """The kind of an event that has nothing else to say."""
    kind = of.WhichOneof("event")
    return "Unknown" if kind is None else "".join(word.capitalize() for word in kind.split("_"))


def _failure(of: pb.SupportedFunctionResult.ExecutionFailure) -> str:
    return f"{failure_kind(of.kind)}: {of.reason}" if of.reason else failure_kind(of.kind)


def _history(of: pb.ExecutionEvent.HistoryEvent) -> str:
    match of.WhichOneof("event"):
        case "persist":
            return f"Persist({of.persist.kind.WhichOneof('variant')}, `{json_text(of.persist.data)}`)"
        case "join_set_created":
            return f"JoinSetCreated({join_set(of.join_set_created.join_set_id)})"
        case "join_set_request":
            request = of.join_set_request
            if request.WhichOneof("join_set_request") == "delay_request":
                delay = request.delay_request
                return f"DelayRequest({delay.delay_id.id}, expires at `{delay.expires_at.ToJsonString()}`)"
            child = request.child_execution_request
            return (
                f"ChildExecutionRequest({child.child_execution_id.id}, {ffqn(child.function_name)},"
                f" `{json_text(child.params)}`{_refusal(child)})"
            )
        case "join_next":
            closing = ", closing" if of.join_next.closing else ""
            return f"JoinNext({join_set(of.join_next.join_set_id)}{closing})"
        case "join_next_too_many":
            return f"JoinNextTooMany({join_set(of.join_next_too_many.join_set_id)})"
        case "join_next_try":
            tried = of.join_next_try
            outcome = pb.ExecutionEvent.HistoryEvent.JoinNextTry.Outcome.Name(tried.outcome).lower()
            return f"JoinNextTry({join_set(tried.join_set_id)}, {outcome})"
        case "schedule":
            schedule = of.schedule
            when = f", at `{schedule.due_at.ToJsonString()}`" if schedule.HasField("due_at") else ""
            return (
                f"Schedule({schedule.execution_id.id}, {ffqn(schedule.function_name)}, `{json_text(schedule.params)}`"
                f"{when}{_refusal(schedule)})"
            )
        case "stub":
            return f"Stub({of.stub.execution_id.id}{_refusal(of.stub) or ', ok'})"
        case None:
            return _name(of)


_Refusable = (
    pb.ExecutionEvent.HistoryEvent.JoinSetRequest.ChildExecutionRequest
    | pb.ExecutionEvent.HistoryEvent.Schedule
    | pb.ExecutionEvent.HistoryEvent.Stub
)


def _refusal(of: _Refusable) -> str:
    """Why it could not be done; empty: it was."""
    if of.WhichOneof("result") != "error":
        return ""
    error: typing.Any = of.error
    kind = error.Kind.Name(error.kind).removeprefix("KIND_").lower()
    return f", {kind}: {error.detail}" if error.detail else f", {kind}"


def replay(of: pb.ReplayExecutionResponse) -> str:
    """What a replay came to; a line, and below it what belongs to it."""
    match of.WhichOneof("outcome"):
        case "advanceable":
            writes = of.advanceable.captured_writes
            return f"outcome: advanceable, {len(writes)} writes" + indented("\n".join(map(captured, writes)))
        case "finished":
            return f"outcome: finished\nresult: {result(of.finished.result)}"
        case "blocked":
            return "outcome: blocked"
        case "replay_failed":
            first, _, rest = of.replay_failed.error.partition("\n")
            return f"outcome: replay_failed, error: {first}" + indented(rest)
        case None:
            return "outcome: unknown"


def captured(of: pb.CapturedWrite) -> str:
    """A row of what a replay shows: the version of its first event, and its events."""
    kind = of.WhichOneof("write")
    if kind is None:
        return "Unknown"
    body = getattr(of, kind)
    match kind:
        case "append":
            events = [_event(body.event)]
        case "append_finished":
            events = [f"Finished({result(body.event.value).splitlines()[0]})"]
        case _:
            events = [_event(event) for event in body.events]
    return f"{body.version} {', '.join(events)}"


def response(of: pb.ResponseWithCursor) -> str:
    """A row of the responses."""
    event = of.event
    if event.WhichOneof("response") == "delay_finished":
        delay = event.delay_finished
        body = f"DelayFinished({delay.delay_id.id}, {'expired' if delay.success else 'cancelled'})"
    else:
        child = event.child_execution_finished
        body = f"ChildExecutionFinished({child.child_execution_id.id}, {result(child.value).splitlines()[0]})"
    return f"{of.cursor} `{event.created_at.ToJsonString()}` {join_set(event.join_set_id)} {body}"


def component_type(of: pb.ComponentId | pb.ExecutionSummary) -> str:
    """As in configurations."""
    if of.component_type == pb.COMPONENT_TYPE_ACTIVITY:
        return "activity_exec" if of.is_program else "activity_wasm"
    return pb.ComponentType.Name(of.component_type).removeprefix("COMPONENT_TYPE_").lower()


def signature(of: pb.FunctionDetail) -> str:
    """`func(n: u8) -> result<u64>`."""
    params = ", ".join(f"{param.name}: {param.type.wit_type}" for param in of.params)
    returned = f" -> {of.return_type.wit_type}" if of.HasField("return_type") else ""
    return f"func({params}){returned}"
