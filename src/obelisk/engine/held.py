"""Held: what the engine keeps in memory of one execution whose lease it holds.

Nothing here is truth: an entry may be torn down at any time (eviction, a refused unit, a crash) and is then rebuilt from
the store. Everybody who reads an entry must ask `is_trusted` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from obelisk.core.batch import Snapshot
from obelisk.core.calls import Reply, ScheduleJson, Stub, StubJson
from obelisk.core.events import Created
from obelisk.core.ids import DelayRef, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.machine import Machine
from obelisk.core.ports import FunctionKind, Guest, Step
from obelisk.core.responses import Response
from obelisk.core.state import ExecutionState
from obelisk.core.values import Failure, Json
from obelisk.engine.inputs import Input
from obelisk.engine.lines import Lines


class Phase(StrEnum):
    """What is in memory of an execution, and who has it."""

    COLD = "cold"
    """The state row only."""
    LOADING = "loading"
    """A `Load` is under way."""
    READY = "ready"
    """In the queue of workflows to be stepped, or of activities to be started."""
    BLOCKED = "blocked"
    """A workflow whose guest (if it has not returned) waits for a response."""
    AWAY = "away"
    """A workflow whose guest is on the CPU lane."""
    LOOKING = "looking"
    """A workflow that waits for what the store has of another execution."""


class Advance(msgspec.Struct):
    """A paused workflow is let do a few steps."""

    token: int | None
    """Whom to answer when it stands still again."""
    steps: int
    """Host calls that write something, and that it may still make."""
    pause_children: bool


class Seen(msgspec.Struct, frozen=True):
    """What the store had of another execution when it was looked at; None: nothing."""

    execution_id: ExecutionId
    snapshot: Snapshot | None


class Held(msgspec.Struct, eq=False):
    """One execution. For an activity, only the state row and the parameters matter."""

    state: ExecutionState
    execution_id: ExecutionId
    kind: FunctionKind | None
    """None: its component is not loaded."""
    phase: Phase = Phase.COLD
    params: Json | None = None
    timeout_us: int | None = None
    """Of an activity: the deadline that its caller set."""
    trace_context: Mapping[str, str] = {}
    """What its attempts send along, and its children inherit."""
    ends_as: Failure | None = None
    """When it is being cancelled: what it ends as; None: as cancelled."""
    delays: dict[DelayRef, Instant] = {}
    """Delays that are not resolved yet."""
    is_trusted: bool = True
    """False between a refused unit and the reload that follows."""
    held_back: list[Input] = []
    """Inputs that wait for the reload."""
    late: list[Response] = []
    """Responses that came since it was loaded or while it was; the snapshot may have them or not."""
    wants_lock: bool = False
    """Whether its next run must begin with a fresh `locked`, although its row says locked: the run was lost."""
    last_unit: int = -1
    """The unit of the current tick that touched it last; -1: none."""

    # of workflows
    snapshot: Snapshot | None = None
    """What was loaded to make a machine of, when its turn comes."""
    machine: Machine | None = None
    lines: Lines | None = None
    """Those that it says; there whenever the machine is."""
    guest: Guest | None = None
    has_begun: bool = False
    """Whether the guest of this machine was started; it may have returned since."""
    generation: int = 0
    """Counts guests, so that a step of a guest that was dropped meanwhile is not taken for one of this."""
    step: Step | None = None
    """A step that came back from the CPU lane and was not looked at yet."""
    reply: Reply | None = None
    """A reply that the guest was not sent yet."""
    asks: Stub | StubJson | ScheduleJson | None = None
    """A call that waits for what is known of another execution."""
    seen: Seen | None = None
    """What was found out for it."""
    advance: Advance | None = None

    def begin_as(self, created: Created) -> None:
        """Takes from `created` what runs of it need."""
        self.params = created.params
        self.timeout_us = created.timeout_us
        self.trace_context = created.trace_context

    def end_advance(self) -> int | None:
        """It is not advanced any more; returns whom to answer, if anybody waits for that."""
        advance, self.advance = self.advance, None
        return None if advance is None else advance.token

    def unload(self) -> None:
        """Forgets guest and machine. A guest that is on the CPU lane is closed when it comes back."""
        if self.guest is not None and self.phase is not Phase.AWAY:
            self.guest.close()
        self.guest = None
        self.machine = None
        self.lines = None
        self.snapshot = None
        self.late = []
        self.has_begun = False
        self.step = None
        self.reply = None
        self.asks = None
        self.seen = None
        self.generation += 1
        self.phase = Phase.COLD
