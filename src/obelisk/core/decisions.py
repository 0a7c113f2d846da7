"""Decisions: what the replay machine says of a host call, and what it wants written.

Decides their shapes only. What comes of a call is decided in `machine`; what becomes of a decision, in the engine.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from obelisk.core import calls
from obelisk.core.calls import LogLine, Reply
from obelisk.core.events import HistoryEvent
from obelisk.core.ids import ChildId, DelayRef, JoinSetId
from obelisk.core.names import FunctionName
from obelisk.core.nondeterminism import Divergence
from obelisk.core.values import Outcome


class Answered(msgspec.Struct, frozen=True):
    """The call is answered; send `reply` to the guest."""

    reply: Reply


class Blocked(msgspec.Struct, frozen=True):
    """Nothing more happens until a response of `join_set` arrives: `deliver` it, then `poll`."""

    join_set: JoinSetId
    closing: bool


class Ended(msgspec.Struct, frozen=True):
    """The execution is over: all of its join sets are closed."""

    outcome: Outcome


class Diverged(msgspec.Struct, frozen=True):
    """The call is not the recorded one."""

    divergence: Divergence


class Unsettled(msgspec.Struct, frozen=True):
    """A new call whose answer depends on another execution: find it out, then `settle_stub` or `settle_schedule`."""

    call: calls.Stub | calls.StubJson | calls.ScheduleJson


class Stopped(msgspec.Struct, frozen=True):
    """Mode *verify* only: the log is used up and the workflow wants something new, which is in `writes`. `decision`: what
    would have come of it live.
    """

    decision: Decision


Decision = Answered | Blocked | Ended | Diverged | Unsettled | Stopped


class Mode(StrEnum):
    """What happens at the end of the log."""

    LIVE = "live"
    """The workflow goes on, and what it does is appended."""
    VERIFY = "verify"
    """The machine stops at the first new event: for replays, advances, and the checks before upgrades and forks."""


class Write(msgspec.Struct, frozen=True):
    """A new event; `answered`: for a `join_next`, whether its response was already there; `exists`: for a `schedule`,
    whether the execution is there already.
    """

    event: HistoryEvent
    answered: bool = False
    exists: bool = False


class Cancel(msgspec.Struct, frozen=True):
    """An outstanding member of a closing join set, to be cancelled: if it is a delay, an activity or a stub, or, of an
    execution that is cancelled itself, whatever it is.
    """

    member: ChildId | DelayRef
    ffqn: FunctionName | None
    """The child's function; None for a delay."""


class Writes(msgspec.Struct):
    """What new calls led to, in order; taken and emptied by the engine."""

    items: list[Write | LogLine] = []
    """Events to append, and log lines between them."""
    cancels: list[Cancel] = []
    """In the order in which to cancel."""
