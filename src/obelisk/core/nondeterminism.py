"""Nondeterminism: how a workflow's call is compared with the recorded event, and how a difference is told.

Decides which fields of each event count. What is not named here may differ: instants that a schedule led to, the lock's
expiry, and recorded random values, which replay returns instead of drawing them again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.core.events import (
    ChildRequested,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinSetCreated,
    Persist,
    kind_of,
)
from obelisk.core.values import Json

_COMPARED: Final[dict[type[msgspec.Struct], tuple[str, ...]]] = {
    JoinSetCreated: ("join_set",),
    ChildRequested: ("child", "ffqn", "params"),
    DelayRequested: ("delay", "schedule_at"),
    JoinNext: ("join_set", "ffqn", "closing"),
    JoinNextTooMany: ("join_set", "ffqn"),
    Persist: ("kind",),
}


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
    return all(getattr(call, field) == getattr(recorded, field) for field in _COMPARED[kind])


def difference(call: HistoryEvent, recorded: HistoryEvent, version: int) -> Divergence:
    """The difference, field by field."""
    if type(call) is not type(recorded):
        lines = [f"event: recorded {kind_of(recorded)}, now {kind_of(call)}"]
        lines += [f"recorded {field}: {_show(getattr(recorded, field))}" for field in _COMPARED[type(recorded)]]
        lines += [f"now {field}: {_show(getattr(call, field))}" for field in _COMPARED[type(call)]]
    else:
        lines = [
            f"{field}: recorded {_show(was)}, now {_show(now)}"
            for field in _COMPARED[type(call)]
            if (was := getattr(recorded, field)) != (now := getattr(call, field))
        ]
    return Divergence(version, "\n".join(lines))


def left_over(recorded: HistoryEvent, version: int) -> Divergence:
    """The workflow returned, or blocked, although its log goes on."""
    fields = ", ".join(f"{field} {_show(getattr(recorded, field))}" for field in _COMPARED[type(recorded)])
    return Divergence(version, f"the log goes on with {kind_of(recorded)} ({fields}), now the workflow does not")


def _show(value: object) -> str:
    return bytes(value).decode() if isinstance(value, Json) else msgspec.json.encode(value).decode()
