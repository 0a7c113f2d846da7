"""Lines of components: where each goes, and the buffer of those that wait to be stored.

Decides what becomes of a line at once: the server's log (`logs`), the server's own streams (`streams`), the store. Lines of
workflows are stored with the events around them, by the engine; those of activities wait here for the engine thread, which
stores them with its next commit, or soon without one. Whoever logs never waits: what finds no room is dropped, and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from obelisk.core.calls import Log, LogLine
from obelisk.core.ids import Digest, ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.lines import Allowance, NewLogLine, note, size_of
from obelisk.core.names import FunctionName
from obelisk.core.policy import Forward, Limits, LogPolicy
from obelisk.core.ports import FunctionInfo
from obelisk.engine.effects import EmitLog, StartAttempt
from obelisk.runtime.logs import component_line
from obelisk.runtime.streams import Streams

BATCH_LINES_MAX: Final = 200
"""Lines of activities in one commit; the next one has more."""
BATCH_BYTES_MAX: Final = 512 << 10
WAIT_S: Final = 0.02
"""How long lines of activities wait for a commit that happens anyway, before they get one of their own."""
_DROPPED_RUNS_MAX: Final = 1_000
_LINE_COST: Final = 200
"""Bytes that a line takes in memory beside its text."""

_NO_LOGS: Final = LogPolicy(store_min_level=None, stdout=Forward.NONE, stderr=Forward.NONE)


class LineBuffer:
    """Lines that wait to be stored. Any thread puts them in, the engine thread takes them out."""

    def __init__(self, limits: Limits, wake: Callable[[], None]) -> None:
        """`wake`: called when there is something, after there was nothing."""
        self._lines_max = limits.log_buffer_lines_max
        self._bytes_max = limits.log_buffer_bytes_max
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[NewLogLine] = deque()
        self._bytes = 0
        self._since_s = 0.0
        self._dropped: dict[tuple[ExecutionId, RunId | None], tuple[int, Instant]] = {}

    def put(self, line: NewLogLine) -> None:
        """Adds a line, or drops it when there is no room."""
        size = size_of(line.line) + _LINE_COST
        with self._lock:
            if len(self._waiting) >= self._lines_max or self._bytes + size > self._bytes_max:
                run = (line.execution_id, line.run)
                count, _ = self._dropped.get(run, (0, line.created_at))
                if count or len(self._dropped) < _DROPPED_RUNS_MAX:
                    self._dropped[run] = (count + 1, line.created_at)
                return
            was_empty = not self._waiting
            if was_empty:
                self._since_s = time.monotonic()
            self._waiting.append(line)
            self._bytes += size
        if was_empty:
            self._wake()

    def take(self) -> list[NewLogLine]:
        """The lines of the next batch, the oldest first, and what is to be said of those that were dropped."""
        with self._lock:
            taken: list[NewLogLine] = []
            size = 0
            while self._waiting and len(taken) < BATCH_LINES_MAX and size < BATCH_BYTES_MAX:
                line = self._waiting.popleft()
                size += size_of(line.line) + _LINE_COST
                taken.append(line)
            self._bytes -= size
            self._since_s = time.monotonic()
            dropped, self._dropped = self._dropped, {}
        for (execution_id, run), (count, at) in dropped.items():
            text = f"{count} lines were not stored: more was logged than could be written"
            taken.append(NewLogLine(execution_id, at, note(text), run))
        return taken

    def give_back(self, lines: list[NewLogLine]) -> None:
        """They were not stored after all."""
        with self._lock:
            self._waiting.extendleft(reversed(lines))
            self._bytes += sum(size_of(line.line) + _LINE_COST for line in lines)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def due_in_s(self) -> float | None:
        """Seconds until the lines should wait no longer; None: there are none."""
        if not self._waiting:
            return None
        if len(self._waiting) >= BATCH_LINES_MAX:
            return 0.0
        return max(0.0, self._since_s + WAIT_S - time.monotonic())


class Known(Protocol):
    """What components have said of their lines."""

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as component `component` has it."""
        ...

    def name_of(self, component: Digest) -> str:
        """What a component is called."""
        ...


Tell = Callable[[LogLine, ExecutionId, RunId | None, Digest, Instant], None]
"""Hears of a line: who has said it, on which component, and when."""


class ComponentLines:
    """All lines of all components of a process."""

    def __init__(
        self,
        known: Known,
        limits: Limits,
        buffer: LineBuffer,
        streams: Streams,
        now: Callable[[], Instant],
        also: Tell | None = None,
    ) -> None:
        """`also`: told of each line that is not dropped, once a workflow's is durable."""
        self._known = known
        self._limits = limits
        self._buffer = buffer
        self._streams = streams
        self._now = now
        self._also = also

    def emitted(self, effect: EmitLog) -> None:
        """A line of a workflow, which is stored by now if it is to be."""
        self._tell(effect.line, effect.execution_id, effect.run, effect.component, effect.created_at, effect.forward)

    def of_attempt(self, effect: StartAttempt) -> AttemptLines:
        """Where the lines of an attempt go."""
        info = self._known.pinned(effect.component, effect.ffqn)
        return AttemptLines(self, effect, _NO_LOGS if info is None else info.policy.logs)

    def _tell(
        self,
        line: LogLine,
        execution_id: ExecutionId,
        run: RunId | None,
        component: Digest,
        at: Instant,
        forward: Forward | None,
    ) -> None:
        if self._also is not None:
            self._also(line, execution_id, run, component, at)
        if isinstance(line, Log):
            component_line(line, execution_id, run)
        elif forward in {Forward.STDOUT, Forward.STDERR}:
            prefix = f"[{self._known.name_of(component)} {execution_id} {line.stream}] "
            self._streams.write(prefix, line.data, is_error=forward is Forward.STDERR)


class AttemptLines(msgspec.Struct, eq=False):
    """The lines of one attempt at an activity: call it with each. One owner at a time, on any thread."""

    _lines: ComponentLines
    _effect: StartAttempt
    _policy: LogPolicy
    _allowance: Allowance | None = None

    def __call__(self, line: LogLine) -> None:
        """One line, or output."""
        if self._policy.drops(line):
            return
        if self._allowance is None:
            limits = self._lines._limits
            self._allowance = Allowance(limits.log_run_lines_max, limits.log_run_bytes_max, limits.log_line_bytes_max)
        for each in self._allowance.admit(line):
            self._put(each)

    def close(self) -> None:
        """The attempt is over."""
        note = None if self._allowance is None else self._allowance.close()
        if note is not None:
            self._put(note)

    def _put(self, line: LogLine) -> None:
        lines, effect, policy = self._lines, self._effect, self._policy
        forward = None if isinstance(line, Log) else policy.forward_of(line.stream)
        at = lines._now()
        lines._tell(line, effect.execution_id, effect.run, effect.component, at, forward)
        if policy.stores(line):
            lines._buffer.put(NewLogLine(effect.execution_id, at, line, effect.run))
