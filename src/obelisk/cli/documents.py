"""What the server tells, as JSON.

Decides the form once for all messages: ids, function names, join sets and digests are strings, instants RFC 3339, values
are JSON themselves, enums lower-case words, and a choice is an object with one key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.any_pb2 import Any as ProtoAny
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from obelisk.cli import texts
from obelisk.proto import obelisk_pb2 as pb

Document = Any
"""What `json` can write."""


def dumps(document: Document) -> str:
    """Indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def document(message: Message) -> Document:
    """Any message of the API."""
    special = _SPECIAL.get(type(message).DESCRIPTOR.full_name)
    return _plain(message) if special is None else special(message)


def _plain(message: Message) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for field in message.DESCRIPTOR.fields:
        choice = field.containing_oneof
        if field.has_presence and not message.HasField(field.name):
            continue
        value = _field(field, getattr(message, field.name))
        if choice is None or choice.name.startswith("_"):
            found[field.name] = value
        else:
            found[choice.name] = {field.name: value}
    return found


def _field(field: Any, value: Any) -> Document:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_value(field, item) for item in value]
    return _value(field, value)


def _value(field: Any, value: Any) -> Document:
    if field.message_type is not None:
        return document(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        prefix = _enum_prefix(field.enum_type.name)
        return value if known is None else known.name.removeprefix(prefix).lower()
    return value


def _enum_prefix(name: str) -> str:
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in name)
    return words.lstrip("_").upper() + "_"


def _json(message: Any) -> Document:
    try:
        return json.loads(message.value)
    except ValueError:
        return message.value.decode("utf-8", "replace")


def status(message: Any) -> dict[str, Document]:
    """`{"status": "locked", …}`."""
    name = message.WhichOneof("status") or "unknown"
    if name == "finished":
        finished = message.finished
        kind = finished.result_kind.WhichOneof("value")
        return {
            "status": name,
            "finished_at": finished.finished_at.ToJsonString(),
            "result_kind": texts.failure_kind(finished.result_kind.execution_failure_kind)
            if kind == "execution_failure_kind"
            else {"ok": "ok", "error": "err"}[kind],
        }
    return {"status": name, **(_plain(getattr(message, name)) if name != "unknown" else {})}


def result(message: Any) -> dict[str, Document]:
    """`{"ok": …}`, `{"err": …}` or `{"execution_failed": {…}}`."""
    match message.WhichOneof("value"):
        case "ok":
            return {"ok": _json(message.ok.return_value) if message.ok.HasField("return_value") else None}
        case "error":
            return {"err": _json(message.error.return_value) if message.error.HasField("return_value") else None}
        case _:
            failure = message.execution_failure
            return {"execution_failed": {"kind": texts.failure_kind(failure.kind), **_without_kind(failure)}}


def _without_kind(failure: Any) -> dict[str, Document]:
    return {name: value for name, value in _plain(failure).items() if name != "kind"}


def summary(message: Any) -> dict[str, Document]:
    """An execution with its state."""
    return {
        "execution_id": message.execution_id.id,
        "ffqn": texts.ffqn(message.function_name),
        "pending_state": status(message.current_status),
        "created_at": message.created_at.ToJsonString(),
        "first_scheduled_at": message.first_scheduled_at.ToJsonString(),
        "component_digest": message.component_digest.digest,
        "component_type": texts.component_type(message),
        "deployment_id": message.deployment_id.id,
    }


def _event(message: Any) -> dict[str, Document]:
    event = message.WhichOneof("event")
    body = getattr(message, event)
    return {
        "created_at": message.created_at.ToJsonString(),
        "version": message.version,
        "event": {"history_event": {"event": _history(body)}}
        if event == "history_variant"
        else {event: document(body)},
    }


def _history(message: Any) -> dict[str, Document]:
    kind = message.WhichOneof("event")
    return {"type": kind, **_plain(getattr(message, kind))}


def _component_id(message: Any) -> dict[str, Document]:
    return {
        "component_type": texts.component_type(message),
        "name": message.name,
        "digest": message.digest.digest,
    }


def _function(message: Any) -> dict[str, Document]:
    found = _plain(message)
    return {
        "ffqn": texts.ffqn(message.function_name),
        "signature": texts.signature(message),
        **{name: value for name, value in found.items() if name != "function_name"},
    }


def _log_entry(message: Any) -> dict[str, Document]:
    kind = message.WhichOneof("entry")
    body = getattr(message, kind)
    if kind == "stream":
        said = {
            "stream_type": _value(body.DESCRIPTOR.fields_by_name["stream_type"], body.stream_type),
            "payload": base64.b64encode(body.payload).decode(),
        }
    else:
        said = {"level": _value(body.DESCRIPTOR.fields_by_name["level"], body.level), "message": body.message}
    return {
        "type": kind,
        "created_at": message.created_at.ToJsonString(),
        "execution_id": message.execution_id.id,
        "run_id": message.run_id.id or None,
        **said,
    }


_SPECIAL: Final[dict[str, Callable[[Any], Document]]] = {
    Timestamp.DESCRIPTOR.full_name: lambda message: message.ToJsonString(),
    Duration.DESCRIPTOR.full_name: lambda message: message.ToJsonString(),
    ProtoAny.DESCRIPTOR.full_name: _json,
    **{
        type_.DESCRIPTOR.full_name: lambda message: message.id
        for type_ in (pb.ExecutionId, pb.RunId, pb.DelayId, pb.DeploymentId)
    },
    pb.ContentDigest.DESCRIPTOR.full_name: lambda message: message.digest,
    pb.JoinSetId.DESCRIPTOR.full_name: texts.join_set,
    pb.FunctionName.DESCRIPTOR.full_name: texts.ffqn,
    pb.WitType.DESCRIPTOR.full_name: lambda message: message.wit_type,
    pb.ExecutionStatus.DESCRIPTOR.full_name: status,
    pb.ExecutionSummary.DESCRIPTOR.full_name: summary,
    pb.SupportedFunctionResult.DESCRIPTOR.full_name: result,
    pb.ExecutionEvent.DESCRIPTOR.full_name: _event,
    pb.ComponentId.DESCRIPTOR.full_name: _component_id,
    pb.FunctionDetail.DESCRIPTOR.full_name: _function,
    pb.ListLogsResponse.LogEntry.DESCRIPTOR.full_name: _log_entry,
}
