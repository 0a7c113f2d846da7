"""Replay: a guest runs against a log from its beginning, and nothing is written.

Decides what is learnt from it: that the log replays and the workflow waits, has ended, or would now do something new (and
what); or where it leaves the log. Replays, upgrade checks, forks, single steps and the simulator's invariants all use
this; it is the machine in mode *verify* and nothing else. It does not know where log and guest come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from obelisk.core.batch import Snapshot
from obelisk.core.calls import LogLine, ScheduleJson, Stub, StubJson
from obelisk.core.decisions import Answered, Blocked, Decision, Diverged, Ended, Mode, Stopped, Unsettled, Write
from obelisk.core.events import CancellationRequested, ChildRequested, Created, DelayRequested, Finished, LogEntry
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.machine import Machine, Typing, no_typing
from obelisk.core.nondeterminism import Divergence
from obelisk.core.ports import Called, Guest, Returned, Step, Trapped, Yielded
from obelisk.core.responses import Response, member_of
from obelisk.core.values import Outcome

IDLE_CALLS_MAX: Final = 1_000_000
"""Host calls in a row that neither meet an event of the log nor write one. A workflow that goes on like that runs for
ever, which nobody waits for."""


class Replayed(msgspec.Struct, frozen=True):
    """What a replay came to. One of `outcome` and `divergence` at most is given; neither: it waits, or stopped."""

    outcome: Outcome | None = None
    """How the workflow ended."""
    divergence: Divergence | None = None
    """Where it left the log."""
    new: tuple[tuple[Write, ...], ...] = ()
    """What it would write next, by host call."""
    lines: tuple[LogLine, ...] = ()
    """Log lines beyond the end of the log."""
    unsettled: Stub | StubJson | ScheduleJson | None = None
    """The last new call, when its answer depends on another execution."""
    gave_up: bool = False
    """It used too much CPU between two host calls, or made too many that leave no trace."""


def replayable(log: Sequence[LogEntry]) -> Sequence[LogEntry]:
    """The part of a log that a guest caused: history events after a cancellation are the platform's."""
    for index, entry in enumerate(log):
        if isinstance(entry.event, CancellationRequested):
            return log[:index]
    return log


def before(snapshot: Snapshot, version: int) -> Snapshot:
    """The execution as far as its guest had come before `version`, which is at least 1: its part of the log without the end,
    and the responses to what it had asked for by then. The state is left as it is.
    """
    log = [entry for entry in replayable(snapshot.log)[:version] if not isinstance(entry.event, Finished)]
    asked: set[tuple[str, bool]] = set()
    for entry in log:
        match entry.event:
            case ChildRequested(child):
                asked.add((child, False))
            case DelayRequested(delay):
                asked.add((delay, True))
    responses = [response for response in snapshot.responses if member_of(response) in asked]
    return msgspec.structs.replace(snapshot, log=log, responses=responses)


def replay(
    execution_id: ExecutionId,
    log: Sequence[LogEntry],
    responses: Iterable[Response],
    guest: Guest,
    now: Instant,
    *,
    typing: Typing = no_typing,
    calls_max: int = 1,
    idle_calls_max: int = IDLE_CALLS_MAX,
    may_go_on: Callable[[], bool] = lambda: True,
    watch: Callable[[int], bool] | None = None,
) -> Replayed:
    """Replays `log` on a guest that was not started, and closes it. Goes on for up to `calls_max` new host calls that write
    something, made at `now`. `may_go_on`: asked whenever the guest used up a slice of CPU. `watch`: told after each step of
    the guest that is as recorded, while it still waits in its call, how many events were met or written by then; True ends
    the replay.
    """
    created = log[0].event
    assert isinstance(created, Created)
    now = max(now, log[-1].created_at)  # so that a schedule which was refused at the end of the log is refused again
    machine = Machine(execution_id, replayable(log), responses, Mode.VERIFY, typing)
    new: list[tuple[Write, ...]] = []
    lines: list[LogLine] = []
    idle_calls = 0

    def take() -> tuple[Write, ...]:
        items = machine.take_writes().items
        lines.extend(item for item in items if isinstance(item, LogLine))
        return tuple(item for item in items if isinstance(item, Write))

    def came_to(
        outcome: Outcome | None = None,
        divergence: Divergence | None = None,
        unsettled: Stub | StubJson | ScheduleJson | None = None,
        *,
        gave_up: bool = False,
    ) -> Replayed:
        take()
        return Replayed(outcome, divergence, tuple(new), tuple(lines), unsettled, gave_up)

    try:
        decision = _take_step(machine, guest, guest.start(created.params), now, may_go_on)
        while True:
            if watch is not None and not isinstance(decision, Diverged) and watch(machine.events):
                return came_to()
            if isinstance(decision, Stopped):
                new.append(take())
                decision = decision.decision
                if len(new) >= calls_max:
                    return came_to(unsettled=decision.call if isinstance(decision, Unsettled) else None)
            match decision:
                case Answered(reply):
                    met = machine.events
                    decision = _take_step(machine, guest, guest.send(reply), now, may_go_on)
                    idle_calls = idle_calls + 1 if machine.events == met else 0
                    if idle_calls > idle_calls_max:
                        return came_to(gave_up=True)
                case Ended(outcome):
                    return came_to(outcome)
                case Diverged(divergence):
                    return came_to(divergence=divergence)
                case None:
                    return came_to(gave_up=True)
                case Unsettled(call):
                    return came_to(unsettled=call)
                case Blocked() | Stopped():
                    return came_to()
    finally:
        guest.close()


def _take_step(
    machine: Machine, guest: Guest, step: Step, now: Instant, may_go_on: Callable[[], bool]
) -> Decision | None:
    """What a step of the guest means; None when it computes for too long."""
    while isinstance(step, Yielded):
        if not may_go_on():
            return None
        step = guest.resume()
    match step:
        case Called(call):
            return machine.step(call, now)
        case Returned(outcome) | Trapped(outcome):
            return machine.end(outcome, now)
