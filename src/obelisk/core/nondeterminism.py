"""Nondeterminism: how a workflow's call is compared with the recorded event, and how a difference is told.

Decides which fields of each event count. What is not named here may differ: instants that a schedule led to, the lock's
expiry, what the platform answered (random values, ids, what `join-next-try` found, why a request was rejected: replay
returns the record instead of finding out again). What a guest gave as JSON is compared as it was given.
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.core.events import (
    ChildRejected,
    ChildRequested,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Persist,
    Scheduled,
    ScheduleRejected,
    Stubbed,
    kind_of,
)
from obelisk.core.values import Json

_COMPARED: Final[dict[type[msgspec.Struct], tuple[str, ...]]] = {
    JoinSetCreated: ("join_set",),
    ChildRequested: ("child", "ffqn", "params", "timeout_us"),
    ChildRejected: ("child", "ffqn", "params", "timeout_us"),
    DelayRequested: ("delay", "schedule_at"),
    JoinNext: ("join_set", "ffqn", "closing"),
    JoinNextTooMany: ("join_set", "ffqn"),
    JoinNextTry: ("join_set",),
    Persist: ("kind",),
    Scheduled: ("execution_id", "ffqn", "params", "schedule_at", "timeout_us"),
    ScheduleRejected: ("execution_id", "ffqn", "params", "schedule_at", "timeout_us"),
    Stubbed: ("target", "retval_hash"),
}


SHOWN_MAX: Final = 1_000
"""Characters of a value that are shown."""
_CONTEXT: Final = 100
"""Characters that are shown before the first difference of two long values."""


class Divergence(msgspec.Struct, frozen=True):
    """Where a replay left the recorded log, and how."""

    version: int
    """Version of the recorded event that was not met."""
    detail: str
    """One line a field: `params: recorded [10], now [11]`."""


def same(call: HistoryEvent, recorded: HistoryEvent) -> bool:
    """Whether the event that the workflow would cause now is the recorded one."""
    kind = type(call)
    if kind is not type(recorded):
        return False
    return all(_of(call, field) == _of(recorded, field) for field in _COMPARED[kind])


def difference(call: HistoryEvent, recorded: HistoryEvent, version: int) -> Divergence:
    """The difference, field by field."""
    if type(call) is not type(recorded):
        lines = [f"event: recorded {kind_of(recorded)}, now {kind_of(call)}"]
        lines += [f"recorded {field}: {_show(value)}" for field, value in _fields(recorded)]
        lines += [f"now {field}: {_show(value)}" for field, value in _fields(call)]
    else:
        lines = [
            f"{field}: " + _two(_text(was), _text(now))
            for field in _COMPARED[type(call)]
            if (was := _of(recorded, field)) != (now := _of(call, field))
        ]
    return Divergence(version, "\n".join(lines))


def left_over(recorded: HistoryEvent, version: int) -> Divergence:
    """The workflow returned, or blocked, although its log goes on."""
    fields = ", ".join(f"{field} {_show(value)}" for field, value in _fields(recorded))
    return Divergence(version, f"the log goes on with {kind_of(recorded)} ({fields}), now the workflow does not")


def _of(event: HistoryEvent, field: str) -> object:
    """The value of a field that counts. Of parameters given as JSON: as the guest wrote them, in normal form."""
    return getattr(event, "given", None) or getattr(event, field) if field == "params" else getattr(event, field)


def _fields(event: HistoryEvent) -> list[tuple[str, object]]:
    """The fields that count and say something."""
    named = [(field, _of(event, field)) for field in _COMPARED[type(event)]]
    return [(field, value) for field, value in named if field != "timeout_us" or value is not None]


def _text(value: object) -> str:
    return bytes(value).decode() if isinstance(value, Json) else msgspec.json.encode(value).decode()


def _show(value: object) -> str:
    return _cut(_text(value), 0)


def _cut(text: str, begin: int) -> str:
    """At most `SHOWN_MAX` characters, from `begin` on."""
    end = begin + SHOWN_MAX
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"


def _two(was: str, now: str) -> str:
    """Two values, the part where they begin to differ if they are long."""
    is_long = max(len(was), len(now)) > SHOWN_MAX
    begin = max(0, _common(was, now) - _CONTEXT) if is_long else 0
    return f"recorded {_cut(was, begin)}, now {_cut(now, begin)}"


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
