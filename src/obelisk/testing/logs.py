"""Logs of executions as text and as plain data, for reports of the simulator.

Decides how an event and a response are shown to a user; nothing here judges them. Instants are milliseconds since the
world began.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from obelisk.core.batch import Snapshot
from obelisk.core.events import ChildRequested, DelayRequested, Event, encode_event, kind_of
from obelisk.core.responses import ChildFinished, Response, member_of
from obelisk.core.values import Err, Failure, Ok, Outcome

_BORING: Final = frozenset(
    {"event", "component", "deployment", "executor", "run", "scheduled_at", "lock_expires_at", "run_expires_at"}
)
"""Fields that differ from run to run, or say nothing to a reader of a log."""
_TEXT_MAX: Final = 300


class LoggedEvent(msgspec.Struct, frozen=True):
    """An event of a log, or a response that an execution received (then `response` is its number)."""

    ms: float
    kind: str
    fields: dict[str, Any]
    version: int | None = None
    response: int | None = None

    def __str__(self) -> str:
        number = f"{self.version:4}" if self.response is None else f"  ←{self.response}"
        fields = " ".join(f"{name}={_short(value)}" for name, value in self.fields.items())
        return f"{number} {self.ms:12.3f} ms  {self.kind}  {fields}".rstrip()


def log_of(snapshot: Snapshot, epoch: int) -> list[LoggedEvent]:
    """The events of an execution in their order, with each response where it arrived."""
    responses = list(snapshot.responses)
    requested: set[tuple[str, bool]] = set()
    found: list[LoggedEvent] = []
    for entry in snapshot.log:
        while responses and member_of(responses[0]) in requested and responses[0].created_at <= entry.created_at:
            found.append(_response(responses.pop(0), epoch))
        ms = (entry.created_at - epoch) / 1_000
        found.append(LoggedEvent(ms, kind_of(entry.event), _fields(entry.event), entry.version))
        match entry.event:
            case ChildRequested(child):
                requested.add((child, False))
            case DelayRequested(delay):
                requested.add((delay, True))
    return found + [_response(response, epoch) for response in responses]


def outcome_text(outcome: Outcome | None) -> str:
    """How an execution ended, in JSON."""
    return "nothing" if outcome is None else msgspec.json.encode(outcome_json(outcome)).decode()


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """`{"ok": …}`, `{"err": …}` or `{"execution_failed": {…}}`."""
    match outcome:
        case Ok(value):
            return {"ok": value or None}
        case Err(value):
            return {"err": value or None}
        case Failure(kind, reason, detail):
            return {"execution_failed": {"kind": kind, "reason": reason, "detail": detail}}


def _response(response: Response, epoch: int) -> LoggedEvent:
    body = response.body
    fields: dict[str, Any] = {"join_set": response.join_set}
    if isinstance(body, ChildFinished):
        fields |= {"child": body.child, "outcome": outcome_json(body.outcome)}
    else:
        fields |= {"delay": body.delay, "ok": body.ok}
    return LoggedEvent((response.created_at - epoch) / 1_000, "response", fields, response=response.seq)


def _fields(event: Event) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(encode_event(event))
    return {name: value for name, value in plain.items() if name not in _BORING and value not in (None, {}, "")}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"
