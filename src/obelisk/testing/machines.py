"""A replay machine driven by hand: for tests that say host call by host call what happens.

Keeps what an engine would keep for it: the log that comes of its writes, and its responses by number. It does not run a
guest, and nothing answers by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from obelisk.core.calls import Call
from obelisk.core.decisions import Answered, Cancel, Decision, Mode, Stopped, Write
from obelisk.core.events import HistoryEvent, LogEntry
from obelisk.core.ids import ChildId, DelayRef, ExecutionId, join_set_of
from obelisk.core.instants import Instant
from obelisk.core.machine import Machine, Typing, no_typing
from obelisk.core.names import FunctionName
from obelisk.core.ports import Rejection, Typed
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.values import Json, Ok, Outcome

ROOT: Final = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
"""The execution whose machine it is."""
NOW: Final = Instant(1_000)
"""When host calls are made."""
LATER: Final = Instant(5_000)
"""When responses are written."""
RUN: Final = Instant(9_000)
"""`run_expires_at` of what is written."""
OK: Final = Ok(Json(b"55"))


def unasked(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    """For replays: the record has the answer."""
    raise AssertionError(f"{ffqn} was looked up although the record has the answer")


def child(member: ChildId | str, outcome: Outcome = OK) -> Response:
    """A child has ended."""
    child_id = ChildId(member)
    return Response(0, LATER, join_set_of(child_id), ChildFinished(child_id, 2, outcome))


def delay(member: DelayRef | str, *, ok: bool = True) -> Response:
    """A delay has expired, or was cancelled."""
    delay_ref = DelayRef(member)
    return Response(0, LATER, join_set_of(delay_ref), DelayFinished(delay_ref, ok))


class Taken(NamedTuple):
    """What a machine has written."""

    events: list[HistoryEvent]
    answered: list[bool]
    """Of each event: whether it is an await that was answered at once."""
    cancels: list[Cancel]


NOTHING: Final = Taken([], [], [])


class DrivenMachine:
    """A machine with its log and its responses."""

    def __init__(
        self,
        mode: Mode = Mode.LIVE,
        log: Iterable[LogEntry] = (),
        responses: Iterable[Response] = (),
        typing: Typing = no_typing,
    ) -> None:
        self.log = list(log)
        self.responses = list(responses)
        self.machine: Final = Machine(ROOT, self.log, self.responses, mode, typing)
        self.machine.run_expires_at = RUN

    def step(self, *some: Call) -> Decision:
        """Makes host calls, one after the other; what the last one comes to. The others must be answered at once."""
        *before, last = some
        for call in before:
            decision = self.machine.step(call, NOW)
            assert isinstance(decision, Answered | Stopped), decision
        return self.machine.step(last, NOW)

    def poll(self) -> Decision:
        """Goes on with what blocks."""
        return self.machine.poll(NOW)

    def deliver(self, *responses: Response) -> None:
        """Writes responses, and lets the machine know."""
        for response in responses:
            numbered = msgspec.structs.replace(response, seq=len(self.responses) + 1)
            self.responses.append(numbered)
            self.machine.deliver(numbered)

    def take(self) -> Taken:
        """What was written since the last time, log lines left out; it is in the log now."""
        writes = self.machine.take_writes()
        items = [item for item in writes.items if isinstance(item, Write)]
        self.log += [LogEntry(version, NOW, item.event) for version, item in enumerate(items, len(self.log))]
        return Taken([item.event for item in items], [item.answered for item in items], writes.cancels)

    def reloaded(self, mode: Mode = Mode.LIVE, typing: Typing = unasked) -> DrivenMachine:
        """A fresh machine with what is durable of this one."""
        return DrivenMachine(mode, self.log, self.responses, typing)

    def abandon(self, outcome: Outcome) -> Decision:
        """Ends it without its guest."""
        return self.machine.abandon(outcome, NOW)


def entries(events: Sequence[HistoryEvent], at: Instant = NOW) -> list[LogEntry]:
    """A log of these events."""
    return [LogEntry(version, at, event) for version, event in enumerate(events)]
