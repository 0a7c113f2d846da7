"""Lines of workflows: on their way from the guest into units.

Decides the place of a line in its execution's log, how many of them a run may say, and which are stored. When they leave
is decided by whoever steps the workflow.

What a workflow may log is counted from its beginning: what a replay says again is not stored, but counts. So it is the same
count wherever the workflow was unloaded in between, and is kept nowhere.

The place of a line must be the same whenever a replay says it again. So it counts from the last event that the guest can
tell from others, not from one like `locked` or `paused`, of which a crash makes one more. Whoever lets a workflow go on
after it was mended wants to hear it again: its lines count from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from obelisk.core.batch import Unit
from obelisk.core.calls import Log, LogLine
from obelisk.core.events import ComponentUpgraded, Created, LogEntry, Resumed
from obelisk.core.instants import Instant
from obelisk.core.lines import Allowance, NewLogLine
from obelisk.core.policy import Limits, LogPolicy
from obelisk.core.state import ExecutionState
from obelisk.engine.effects import EmitLog

_ANCHORS: Final = (Created, Resumed, ComponentUpgraded)


class Lines:
    """What one workflow says while it is in memory."""

    __slots__ = ("_allowance", "_ordinal", "_version", "hears")

    def __init__(self, log: Sequence[LogEntry], limits: Limits) -> None:
        """`log`: as it is when the workflow comes into memory; empty for one that was just created."""
        self._version = next(
            (index + 1 for index in reversed(range(len(log))) if _is_anchor(log[index])),
            1,
        )
        self._ordinal = 0
        self.hears = bool(log)
        """Whether what it says may be a replay of its log; False from the first line on that is none."""
        self._allowance = Allowance(limits.log_run_lines_max, limits.log_run_bytes_max, limits.log_line_bytes_max)

    def event_at(self, version: int) -> None:
        """The guest's last event has this version."""
        self._version = version + 1
        self._ordinal = 0

    def heard(self, line: LogLine, policy: LogPolicy) -> None:
        """A replay says it again: it counts, since what a workflow may log does not begin anew whenever it comes into memory."""
        if not policy.drops(line):
            self._allowance.admit(line)

    def say(self, line: LogLine, state: ExecutionState, policy: LogPolicy, now: Instant, unit: Unit) -> list[EmitLog]:
        """Puts the line into `unit` if it is to be stored; returns what is to be done about it once the unit is durable."""
        if policy.drops(line):
            return []
        return [self._said(each, state, policy, now, unit) for each in self._allowance.admit(line)]

    def end(self, state: ExecutionState, policy: LogPolicy, now: Instant, unit: Unit) -> list[EmitLog]:
        """The run is over: says how many lines were too many."""
        line = self._allowance.close()
        return [] if line is None else [self._said(line, state, policy, now, unit)]

    def _said(self, line: LogLine, state: ExecutionState, policy: LogPolicy, now: Instant, unit: Unit) -> EmitLog:
        place = (self._version, self._ordinal)
        self._ordinal += 1
        if policy.stores(line):
            unit.lines.append(NewLogLine(state.execution_id, now, line, state.run, place))
        forward = None if isinstance(line, Log) else policy.forward_of(line.stream)
        return EmitLog(state.execution_id, *place, now, line, state.run, state.component, forward)


def _is_anchor(entry: LogEntry) -> bool:
    return entry.event.history or isinstance(entry.event, _ANCHORS)
