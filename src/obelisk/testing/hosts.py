"""Hosts of activities without a world around them.

Decides what an attempt is told in the simulator: a clock of its own that starts where the world's does, goes on by a
microsecond each time it is asked, and is over at once with every wait; randomness that follows from a seed; no files, no
network, and output that is kept. So what an activity returns is a function of its parameters and that seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from obelisk.core.calls import Log, LogLevel, LogLine, StdStream
from obelisk.testing.world import EPOCH
from obelisk.wasm.wasi.host import Answer
from obelisk.wasm.wasi.output import Lines, LogOutput
from obelisk.wasm.wasi.streams import EmptyInput

_US_NS: Final = 1_000


class LoggingHost:
    """Of an activity that imports `obelisk:log` and nothing else: keeps the lines; there is nothing else to have."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.is_closed = False

    def log(self, level: LogLevel, message: str) -> None:
        """A line of `obelisk:log`."""
        self.lines.append(Log(level, message))

    def close(self) -> None:
        """The run is over."""
        self.is_closed = True


class Deadline:
    """Ready when its host's clock has come to that."""

    def __init__(self, host: SimulatedHost, monotonic_ns: int) -> None:
        self._host: Final = host
        self.at_ns: Final = monotonic_ns

    def ready(self) -> bool:
        """See `Pollable`."""
        return self._host.now_ns >= self.at_ns

    async def wait(self) -> None:
        """See `Pollable`."""
        self._host.forward_to(self.at_ns)


class SimulatedHost(LoggingHost):
    """Implements `obelisk.wasm.wasi.host.Host`; nothing that it answers is still to come. There is neither a thread nor a loop,
    and no attribute for what only a real world has: files, a network, HTTP.
    """

    def __init__(self, seed: str, environment: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__()
        self.arguments: tuple[str, ...] = ()
        self.environment = environment
        self.now_ns = EPOCH * _US_NS
        self.waited_ns = 0
        """How much of the time was spent waiting."""
        self._seed: Final = seed.encode()
        self._drawn = 0
        self._outputs: Final = {stream: LogOutput(Lines(stream), self.lines.append) for stream in StdStream}

    @property
    def stdin(self) -> EmptyInput:
        """See `Host`."""
        return EmptyInput()

    @property
    def stdout(self) -> LogOutput:
        """See `Host`."""
        return self._outputs[StdStream.STDOUT]

    @property
    def stderr(self) -> LogOutput:
        """See `Host`."""
        return self._outputs[StdStream.STDERR]

    def wall_now(self) -> Answer:
        """See `Host`. Who waits by asking again and again comes to an end, too."""
        self.now_ns += _US_NS
        return self.now_ns

    monotonic_now = wall_now

    def at(self, monotonic_ns: int) -> Deadline:
        """See `Host`."""
        return Deadline(self, monotonic_ns)

    def random_bytes(self, count: int) -> Answer:
        """See `Host`."""
        self._drawn += 1
        return hashlib.shake_256(b"%b\0%d" % (self._seed, self._drawn)).digest(count)

    def poll(self, pollables: Sequence[Any]) -> Answer:
        """See `Host`. What is not ready is a deadline: the clock goes on to the earliest."""
        ready = _ready(pollables)
        if not ready:
            self.forward_to(min(pollable.at_ns for pollable in pollables))
            ready = _ready(pollables)
        return ready

    def forward_to(self, monotonic_ns: int) -> None:
        """Waits until then: that is over at once."""
        waited_ns = max(0, monotonic_ns - self.now_ns)
        self.now_ns += waited_ns
        self.waited_ns += waited_ns


def _ready(pollables: Sequence[Any]) -> list[int]:
    return [index for index, pollable in enumerate(pollables) if pollable.ready()]
