"""The host of an activity that imports `obelisk:log` and nothing else."""

from __future__ import annotations

from obelisk.core.calls import Log, LogLevel


class LoggingHost:
    """Keeps the lines; there is nothing else to have."""

    def __init__(self) -> None:
        self.lines: list[Log] = []
        self.is_closed = False

    def log(self, level: LogLevel, message: str) -> None:
        """A line of `obelisk:log`."""
        self.lines.append(Log(level, message))

    def close(self) -> None:
        """The run is over."""
        self.is_closed = True
