"""Lines: what components log, on its way into the store and out of it.

Decides what a stored line is, how much of it is kept (a long one is cut, one that is too many is not stored, and the log
says so), and what a reader may ask for. It does not decide which lines are wanted: that is a component's policy.

Lines are not events: replay never looks at them. They tell a person what happened.
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.core.calls import Log, LogLevel, LogLine, Output, StdStream
from obelisk.core.ids import ExecutionId, RunId
from obelisk.core.instants import Instant

LEVELS: Final = tuple(LogLevel)
"""From the least to the most important."""
STREAMS: Final = tuple(StdStream)
NOTE: Final = "[obelisk] "
"""Begins each line that we add to an execution's log ourselves."""


class NewLogLine(msgspec.Struct, frozen=True, gc=False):
    """A line to store. `place` is given for a workflow's: the version that follows the last event which its guest can tell
    from others, and how many lines precede this one since then. A line whose place is taken is not stored again: it is the
    same line, said again by a replay.
    """

    execution_id: ExecutionId
    created_at: Instant
    line: LogLine
    run: RunId | None = None
    place: tuple[int, int] | None = None


class StoredLogLine(msgspec.Struct, frozen=True, gc=False):
    """A line that was stored. `cursor` rises in the order in which lines became visible; it is never given twice."""

    cursor: int
    execution_id: ExecutionId
    run: RunId | None
    created_at: Instant
    line: LogLine


class LineFilter(msgspec.Struct, frozen=True):
    """Which lines; all conditions must hold. The default is all of one execution."""

    execution_id: ExecutionId
    derived: bool = False
    """Also those of all executions below it."""
    levels: tuple[LogLevel, ...] = LEVELS
    """Of `obelisk:log`."""
    streams: tuple[StdStream, ...] = STREAMS
    after: Instant | None = None
    """Only later ones."""

    def takes(self, line: LogLine) -> bool:
        """Whether the line is of a kind that is wanted."""
        return line.level in self.levels if isinstance(line, Log) else line.stream in self.streams


class LinePage(msgspec.Struct, frozen=True):
    """A page of lines, which are sorted by cursor, the oldest first."""

    length: int = 20
    cursor: int | None = None
    """The page goes on after this one, or ends before it (`older`). None: from the beginning, or to the end."""
    older: bool = False


def lines_of(line: LogLine) -> list[LogLine]:
    """Output taken apart at its ends of lines, which stay; a line of `obelisk:log` is one, whatever it contains."""
    if isinstance(line, Log) or line.data.find(b"\n", 0, -1) < 0:
        return [line]
    *whole, last = line.data.split(b"\n")
    pieces = [data + b"\n" for data in whole] + ([last] if last else [])
    return [Output(line.stream, piece) for piece in pieces]


def size_of(line: LogLine) -> int:
    """Bytes of what is stored of it."""
    return len(line.message.encode("utf-8", "replace")) if isinstance(line, Log) else len(line.data)


def cut(line: LogLine, bytes_max: int) -> LogLine:
    """The line, or as much of it as `bytes_max` allows with a word about the rest."""
    if isinstance(line, Output):
        rest = len(line.data) - bytes_max
        return line if rest <= 0 else Output(line.stream, line.data[:bytes_max] + _rest(rest).encode() + b"\n")
    if len(line.message) * 4 <= bytes_max:
        return line
    data = line.message.encode("utf-8", "replace")
    rest = len(data) - bytes_max
    return line if rest <= 0 else Log(line.level, data[:bytes_max].decode("utf-8", "ignore") + _rest(rest))


def _rest(count: int) -> str:
    return f" … {NOTE}{count} more bytes were cut"


class Allowance:
    """What one run may still log. Not thread-safe: a run has one owner at a time."""

    __slots__ = ("_bytes", "_line_bytes_max", "_lines", "_told", "dropped")

    def __init__(self, lines_max: int, bytes_max: int, line_bytes_max: int) -> None:
        self._lines = lines_max
        self._bytes = bytes_max
        self._line_bytes_max = line_bytes_max
        self._told = False
        self.dropped = 0
        """Lines that were too many."""

    def admit(self, line: LogLine) -> list[LogLine]:
        """What is to be stored of it: its lines, those that are too long cut; of the first one that is too many, a line that
        says so; of more, nothing.
        """
        admitted: list[LogLine] = []
        for each in lines_of(line):
            short = cut(each, self._line_bytes_max)
            size = size_of(short)
            if self._lines > 0 and self._bytes >= size:
                self._lines -= 1
                self._bytes -= size
                admitted.append(short)
                continue
            self._lines = 0  # what is shorter does not get in after what was too long: the log has an end, not holes
            self.dropped += 1
            if not self._told:
                self._told = True
                admitted.append(note("this run has logged as much as one may: what it logs from here on is not stored"))
        return admitted

    def close(self) -> LogLine | None:
        """The run is over: how many lines were too many."""
        dropped, self.dropped = self.dropped, 0
        return note(f"{dropped} lines of this run were not stored") if dropped else None


def note(text: str) -> Log:
    """A line of our own in an execution's log."""
    return Log(LogLevel.WARN, NOTE + text)
